import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { create, createFileRegistry, fromBinary, fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { file_brevet_v1_elevation } from "../gen/brevet/v1/elevation_pb.ts";
import { file_brevet_v1_policy } from "../gen/brevet/v1/policy_pb.ts";
import { reflectionHandlers } from "./reflection.ts";

const reflection = reflectionHandlers([file_brevet_v1_elevation, file_brevet_v1_policy]);

/** Asks in JSON through the service's own descriptors, so that the hand-written wire code is checked against them. */
function ask(request: JsonValue, version = 0): Record<string, JsonValue> {
  const method = reflection.describedServices[version]?.service.method.serverReflectionInfo;
  assert.ok(method);
  const bytes = toBinary(method.input, fromJson(method.input, request));
  const answer = toJson(method.output, fromBinary(method.output, reflection.answer(bytes)));
  assert.ok(typeof answer === "object" && answer !== null && !Array.isArray(answer));
  assert.deepEqual(answer.originalRequest, request);
  return answer;
}

function filesOf(answer: Record<string, JsonValue>) {
  const { fileDescriptorProto } = answer.fileDescriptorResponse as { fileDescriptorProto: string[] };
  return fileDescriptorProto.map((text) => fromBinary(FileDescriptorProtoSchema, Buffer.from(text, "base64")));
}

for (const version of [0, 1]) {
  test(`services are listed, reflection among them (version ${version})`, () => {
    assert.deepEqual(ask({ listServices: "*" }, version).listServicesResponse, {
      service: [
        { name: "brevet.v1.ElevationService" },
        { name: "brevet.v1.PolicyService" },
        { name: "grpc.reflection.v1.ServerReflection" },
        { name: "grpc.reflection.v1alpha.ServerReflection" },
      ],
    });
  });
}

test("a symbol's file comes with all that it imports, imports first, so that a tool can build it", () => {
  for (const symbol of [
    "brevet.v1.ElevationService",
    "brevet.v1.ElevationService.Approve",
    ".brevet.v1.Elevation",
    "brevet.v1.Elevation.window_end",
    "brevet.v1.ELEVATION_STATE_ACTIVE",
  ]) {
    const files = filesOf(ask({ fileContainingSymbol: symbol }));
    assert.equal(files.at(-1)?.name, "brevet/v1/elevation.proto", symbol);
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: files }));
    assert.ok(registry.getService("brevet.v1.ElevationService"));
  }
});

test("error details are described although no method mentions them", () => {
  for (const symbol of ["google.rpc.ErrorInfo", "google.rpc.Status", "brevet.v1.ElevationRequired"])
    assert.ok(filesOf(ask({ fileContainingSymbol: symbol })).length > 0);
});

test("a file is found by its name", () => {
  assert.equal(filesOf(ask({ fileByFilename: "google/protobuf/duration.proto" })).at(-1)?.package, "google.protobuf");
});

test("what is not there is NOT_FOUND, by name", () => {
  for (const request of [
    { fileContainingSymbol: "x.Nope" },
    { fileByFilename: "nope.proto" },
    { fileContainingExtension: { containingType: "brevet.v1.Elevation", extensionNumber: 5 } },
    { allExtensionNumbersOfType: "x.Nope" },
  ])
    assert.equal((ask(request).errorResponse as { errorCode: number }).errorCode, 5);
});

test("a message without extensions has none", () => {
  assert.deepEqual(ask({ allExtensionNumbersOfType: "brevet.v1.Elevation" }).extensionNumberResponse, undefined);
  assert.deepEqual(ask({ allExtensionNumbersOfType: "brevet.v1.Elevation" }).allExtensionNumbersResponse, {
    baseTypeName: "brevet.v1.Elevation",
  });
});

test("a question that is not understood is INVALID_ARGUMENT, and the conversation goes on", () => {
  assert.equal((ask({ host: "h" }).errorResponse as { errorCode: number }).errorCode, 3);
  const method = reflection.describedServices[0]?.service.method.serverReflectionInfo;
  assert.ok(method);
  const answer = toJson(method.output, fromBinary(method.output, reflection.answer(Uint8Array.of(255, 255, 1))));
  assert.deepEqual(answer, { errorResponse: { errorCode: 3, errorMessage: "not a ServerReflectionRequest" } });
});

test("both shapes of the service answer each request once, then end", async () => {
  const described = reflection.describedServices[1];
  assert.ok(described);
  const { input, output } = described.service.method.serverReflectionInfo;
  const request = fromJson(input, { listServices: "" });
  async function* requests() {
    yield request;
    yield request;
  }
  const answers = [];
  for await (const answer of described.implementation.serverReflectionInfo(requests())) answers.push(toBinary(output, answer));
  assert.equal(answers.length, 2);

  const written: unknown[] = [];
  const call = Object.assign(new EventEmitter(), { write: (one: unknown) => written.push(one), end: () => written.push("end") });
  const raw = reflection.grpcServices[1];
  assert.ok(raw);
  raw.implementation.ServerReflectionInfo(call);
  call.emit("data", toBinary(input, request));
  call.emit("end");
  assert.deepEqual(written, [answers[0], "end"]);
  assert.equal(raw.definition.ServerReflectionInfo.path, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
});
