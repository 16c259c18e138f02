// What a program gets to know of a failed call's status: grpc-js itself gives the message and raw bytes.
import { type ReceivedStatus, readStatus, STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import type { ServiceError, StatusObject } from "@grpc/grpc-js";

/**
 * Reads the error of a grpc-js call: code, message and, where the status carries Brevet's details, `reason`, `metadata` (with
 * `decisionId`), what may be asked for, and links. All of it is the other side's word. Never throws.
 */
export function readError(error: ServiceError): ReceivedStatus {
  return readStatusObject(error);
}

/** The same, of the status that an interceptor sees. */
export function readStatusObject(status: Pick<StatusObject, "code" | "details" | "metadata">): ReceivedStatus {
  const [details] = status.metadata.get(STATUS_DETAILS_TRAILER);
  return readStatus(status.code, status.details, typeof details === "string" ? undefined : details);
}
