// A refusal on its way out of grpc-js: status and trailers, nothing before them.
import type { EncodedStatus } from "@brevet/protocol";
import { RETRY_PUSHBACK_TRAILER, STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import { Metadata, type ServerInterceptingCallInterface } from "@grpc/grpc-js";

/** What grpc-js ends a call with. */
export type SentStatus = Parameters<ServerInterceptingCallInterface["sendStatus"]>[0];

/** The status to send. Sent before any metadata it becomes a Trailers-Only response. */
export function statusObject(encoded: EncodedStatus): SentStatus {
  const metadata = new Metadata();
  if (encoded.details.length > 0) metadata.set(STATUS_DETAILS_TRAILER, Buffer.from(encoded.details));
  if (encoded.pushback !== undefined) metadata.set(RETRY_PUSHBACK_TRAILER, encoded.pushback);
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- the catalogue's codes are gRPC's
  return { code: encoded.code, details: encoded.message, metadata };
}
