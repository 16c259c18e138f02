// What the benchmarks elevate: one audience, one method, one active elevation.
import { newId } from "@brevet/protocol";
import { type Elevation, ElevationService, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { create, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

/** The deployment. */
export const AUDIENCE = "bench";
/** The protected method. */
export const METHOD = "bench.v1.Bench/Call";

/** Another, that answers with a stream. */
export const STREAM = "bench.v1.Bench/Watch";

/** What the methods are: one message each way, and one message for a stream. */
export function descriptors(): Uint8Array {
  const method = (name: string, serverStreaming: boolean) => ({
    name,
    inputType: ".bench.v1.Any",
    outputType: ".bench.v1.Any",
    serverStreaming,
  });
  const service = { name: "Bench", method: [method("Call", false), method("Watch", true)] };
  const file = { name: "bench.proto", package: "bench.v1", syntax: "proto3", messageType: [{ name: "Any" }], service: [service] };
  return toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [file] }));
}

/** A policy in which group:callers may be elevated to {@link METHOD} and {@link STREAM} by group:approvers. */
export function policyText(): string {
  return `
apiVersion: brevet.dev/v1
audience: ${AUDIENCE}
groups:
  "group:approvers": ["user:ana@example.com", "user:bo@example.com"]
guards: ["workload:bench"]
roles: { admin: ["group:admins"], auditor: ["group:admins"] }
apply: { quorum: 1 }
services:
  bench.v1.Bench:
    default: authenticated
    methods:
      Call: { access: elevated }
      Watch: { access: elevated }
entitlements:
  caller:
    methods: [${METHOD}]
    requesters: ["group:callers"]
    duration: { default: 1h, max: 2h }
    approval: { stages: [{ approvers: ["group:approvers"], quorum: 1 }] }
  watcher:
    methods: [${STREAM}]
    requesters: ["group:callers"]
    duration: { default: 1h, max: 2h }
    approval: { stages: [{ approvers: ["group:approvers"], quorum: 1 }] }
`;
}

/** The API as one made-up person. */
export function clientFor(url: string, token: string): Client<typeof ElevationService> {
  return createClient(
    ElevationService,
    createGrpcTransport({
      baseUrl: url,
      interceptors: [
        (next) => (request) => {
          request.header.set("authorization", `Bearer ${token}`);
          return next(request);
        },
      ],
    }),
  );
}

/** Asks for an elevation, approves it and starts it; each with a token for the authority. */
export async function activate(url: string, requester: string, approver: string): Promise<Elevation> {
  const asking = clientFor(url, requester);
  const { elevation } = await asking.request({ requestId: newId("req"), audience: AUDIENCE, method: METHOD });
  const id = elevation?.id ?? "";
  await clientFor(url, approver).approve({ requestId: newId("req"), id });
  const started = await asking.start({ requestId: newId("req"), id });
  if (started.elevation?.state !== ElevationState.ACTIVE) throw new Error("the elevation did not start");
  return started.elevation;
}
