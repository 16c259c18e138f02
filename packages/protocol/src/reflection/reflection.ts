// gRPC server reflection, v1 and v1alpha, from Protobuf-ES descriptors: answers bytes with bytes, and shows the service in the shape
// that a server wants. Owns the answers; owns no transport. Also carries the error details along, which no method mentions.
import { type DescFile, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { file_brevet_v1_error } from "../gen/brevet/v1/error_pb.ts";
import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb.ts";
import { file_google_rpc_status } from "../gen/google/rpc/status_pb.ts";
import { GrpcCode } from "../reason/code.ts";
import { REFLECTION_PACKAGES, type ReflectionService, reflectionFile, reflectionService } from "./schema.ts";
import { Symbols } from "./symbols.ts";

/** Reflection over a set of files. */
export interface Reflection {
  /** Answers one serialized ServerReflectionRequest of either version with a serialized ServerReflectionResponse. Never throws. */
  answer(request: Uint8Array): Uint8Array;
  /** The reflection services, v1 first, for servers that take descriptors: `router.service(one.service, one.implementation)`. */
  readonly describedServices: readonly DescribedService[];
  /** The same services for servers that take paths and serializers (`server.addService(definition, implementation)`). */
  readonly grpcServices: readonly GrpcService[];
}

/** A service in the shape of Connect. */
export interface DescribedService {
  readonly service: ReflectionService;
  readonly implementation: { readonly serverReflectionInfo: (requests: AsyncIterable<Message>) => AsyncIterable<Message> };
}

/** A service in the shape of grpc-js. */
export interface GrpcService {
  readonly definition: { readonly ServerReflectionInfo: BytesMethod };
  readonly implementation: { readonly ServerReflectionInfo: (call: BytesCall) => void };
}

/** A bidirectional method over raw messages. */
export interface BytesMethod {
  readonly path: string;
  readonly requestStream: true;
  readonly responseStream: true;
  readonly requestSerialize: (value: Uint8Array) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => Uint8Array;
  readonly responseSerialize: (value: Uint8Array) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Uint8Array;
}

/** The part of a bidirectional server call that reflection needs. */
export interface BytesCall {
  on(event: "data", listener: (message: Uint8Array) => void): unknown;
  on(event: "end", listener: () => void): unknown;
  write(message: Uint8Array): unknown;
  end(): unknown;
}

/** Reflection for the services of `files`, which should be all that the server serves. */
export function reflectionHandlers(files: readonly DescFile[]): Reflection {
  const own = REFLECTION_PACKAGES.map(reflectionFile);
  const services = own.map(reflectionService);
  const symbols = new Symbols([...files, ...own, file_google_rpc_status, file_google_rpc_error_details, file_brevet_v1_error]);
  const answer = (request: Uint8Array) => answerRequest(symbols, request);
  return {
    answer,
    describedServices: services.map((service) => describedService(service, answer)),
    grpcServices: services.map((service) => grpcService(service, answer)),
  };
}

function describedService(service: ReflectionService, answer: (request: Uint8Array) => Uint8Array): DescribedService {
  const { input, output } = service.method.serverReflectionInfo;
  return {
    service,
    implementation: {
      async *serverReflectionInfo(requests) {
        for await (const request of requests) yield fromBinary(output, answer(toBinary(input, request)));
      },
    },
  };
}

function grpcService(service: ReflectionService, answer: (request: Uint8Array) => Uint8Array): GrpcService {
  const toBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const method: BytesMethod = {
    path: `/${service.typeName}/ServerReflectionInfo`,
    requestStream: true,
    responseStream: true,
    requestSerialize: toBuffer,
    requestDeserialize: (bytes) => bytes,
    responseSerialize: toBuffer,
    responseDeserialize: (bytes) => bytes,
  };
  return {
    definition: { ServerReflectionInfo: method },
    implementation: {
      ServerReflectionInfo(call) {
        call.on("data", (request) => call.write(answer(request)));
        call.on("end", () => call.end());
      },
    },
  };
}

type Question =
  | { readonly ask: "file" | "symbol" | "extension-numbers"; readonly name: string }
  | { readonly ask: "extension"; readonly name: string; readonly number: number }
  | { readonly ask: "services" }
  | { readonly ask: "nothing" };

// Field numbers are those of grpc/reflection/v1/reflection.proto, see schema.ts.
function answerRequest(symbols: Symbols, request: Uint8Array): Uint8Array {
  const response = new BinaryWriter();
  let question: Question = { ask: "nothing" };
  try {
    const parsed = parseRequest(request);
    question = parsed.question;
    if (parsed.host !== "") response.tag(1, WireType.LengthDelimited).string(parsed.host);
    response.tag(2, WireType.LengthDelimited).bytes(request);
  } catch {
    return fail(response, GrpcCode.INVALID_ARGUMENT, "not a ServerReflectionRequest");
  }
  switch (question.ask) {
    case "services":
      return listServices(response, symbols.services());
    case "file":
      return describe(response, symbols.byFilename(question.name), `file ${question.name}`);
    case "symbol":
      return describe(response, symbols.bySymbol(question.name), `symbol ${question.name}`);
    case "extension":
      return describe(response, symbols.byExtension(question.name, question.number), `extension ${question.number} of ${question.name}`);
    case "extension-numbers": {
      const numbers = symbols.extensionNumbers(question.name);
      if (!numbers) return fail(response, GrpcCode.NOT_FOUND, `message ${question.name} is not known here`);
      response.tag(5, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).string(question.name);
      for (const number of numbers) response.tag(2, WireType.Varint).int32(number);
      return response.join().finish();
    }
    case "nothing":
      break;
  }
  return fail(response, GrpcCode.INVALID_ARGUMENT, "the request asks nothing that is known here");
}

function parseRequest(bytes: Uint8Array): { host: string; question: Question } {
  const reader = new BinaryReader(bytes);
  let host = "";
  let question: Question = { ask: "nothing" };
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1) host = reader.string();
    else if (field === 3) question = { ask: "file", name: reader.string() };
    else if (field === 4) question = { ask: "symbol", name: reader.string() };
    else if (field === 5) question = parseExtension(reader.bytes());
    else if (field === 6) question = { ask: "extension-numbers", name: reader.string() };
    else if (field === 7) {
      reader.string();
      question = { ask: "services" };
    } else reader.skip(type, field);
  }
  return { host, question };
}

function parseExtension(bytes: Uint8Array): Question {
  const reader = new BinaryReader(bytes);
  let name = "";
  let number = 0;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1) name = reader.string();
    else if (field === 2) number = reader.int32();
    else reader.skip(type, field);
  }
  return { ask: "extension", name, number };
}

function listServices(response: BinaryWriter, names: readonly string[]): Uint8Array<ArrayBuffer> {
  response.tag(6, WireType.LengthDelimited).fork();
  for (const name of names) response.tag(1, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).string(name).join();
  return response.join().finish();
}

function describe(response: BinaryWriter, files: readonly Uint8Array[] | undefined, what: string): Uint8Array {
  if (!files) return fail(response, GrpcCode.NOT_FOUND, `${what} is not known here`);
  response.tag(4, WireType.LengthDelimited).fork();
  for (const file of files) response.tag(1, WireType.LengthDelimited).bytes(file);
  return response.join().finish();
}

function fail(response: BinaryWriter, code: number, message: string): Uint8Array {
  response.tag(7, WireType.LengthDelimited).fork().tag(1, WireType.Varint).int32(code);
  return response.tag(2, WireType.LengthDelimited).string(message).join().finish();
}
