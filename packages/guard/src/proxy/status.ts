// Statuses as HTTP/2 headers, the way gRPC writes them, and HTTP/2's own errors as statuses.
// Never makes up a reason: those come from the core.
import type { OutgoingHttpHeaders } from "node:http2";
import {
  BREVET_HEADER_PREFIX,
  type EncodedStatus,
  GrpcCode,
  RETRY_PUSHBACK_TRAILER,
  STATUS_DETAILS_TRAILER,
  WINDOW_ENDS_TRAILER,
} from "@brevet/protocol";
import { READABLE_ENCODINGS } from "./decompress.ts";

/** A status that is no decision: of a call that broke, or could not be read. */
export function plainStatus(code: number, message: string): EncodedStatus {
  return { code, message, details: new Uint8Array(0), pushback: undefined };
}

/** Trailers of a status (gRPC over HTTP/2, Responses). */
export function statusTrailers({ code, message, details, pushback }: EncodedStatus, windowEnds?: string): OutgoingHttpHeaders {
  const trailers: OutgoingHttpHeaders = { "grpc-status": String(code) };
  // Percent-encoding: of UTF-8, as every client decodes it.
  if (message !== "") trailers["grpc-message"] = encodeURI(message);
  if (details.length > 0) trailers[STATUS_DETAILS_TRAILER] = unpadded(details);
  if (pushback !== undefined) trailers[RETRY_PUSHBACK_TRAILER] = pushback;
  if (windowEnds !== undefined) trailers[WINDOW_ENDS_TRAILER] = windowEnds;
  return trailers;
}

/** A Trailers-Only response. */
export function trailersOnly(status: EncodedStatus): OutgoingHttpHeaders {
  const encodings = status.code === GrpcCode.UNIMPLEMENTED ? { "grpc-accept-encoding": READABLE_ENCODINGS } : {};
  return { ":status": 200, "content-type": "application/grpc+proto", ...encodings, ...statusTrailers(status) };
}

/** Headers of an upstream for the caller, names and values in turn: all but `brevet-*`, which a guard alone may say. */
export function headersOn(raw: readonly string[]): readonly string[] {
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i]?.startsWith(BREVET_HEADER_PREFIX)) return raw.filter((_, j) => !raw[j - (j % 2)]?.startsWith(BREVET_HEADER_PREFIX));
  }
  return raw;
}

/** Trailers of an upstream, or the headers of a response that is nothing else, for the caller: likewise. */
export function trailersOn(raw: readonly string[], windowEnds?: string): OutgoingHttpHeaders {
  // A name is whatever a service says: `constructor` too.
  const headers: OutgoingHttpHeaders = Object.create(null) as OutgoingHttpHeaders;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? "";
    if (name.startsWith(BREVET_HEADER_PREFIX)) continue;
    const value = raw[i + 1] ?? "";
    const known = headers[name];
    headers[name] = known === undefined ? value : [...(Array.isArray(known) ? known : [String(known)]), value];
  }
  if (windowEnds !== undefined) headers[WINDOW_ENDS_TRAILER] = windowEnds;
  return headers;
}

/** The code of trailers, or of a Trailers-Only response; UNKNOWN where it says none. */
export function codeOf(status: unknown): number {
  const code = Number(status);
  return typeof status === "string" && /^\d{1,2}$/.test(status) && code <= GrpcCode.UNAUTHENTICATED ? code : GrpcCode.UNKNOWN;
}

/** HTTP/2 error codes that mean more than INTERNAL (gRPC over HTTP/2, Errors). */
const RESETS: Readonly<Record<number, readonly [code: number, name: string]>> = {
  7: [GrpcCode.UNAVAILABLE, "REFUSED_STREAM"],
  8: [GrpcCode.CANCELLED, "CANCEL"],
  11: [GrpcCode.RESOURCE_EXHAUSTED, "ENHANCE_YOUR_CALM"],
  12: [GrpcCode.PERMISSION_DENIED, "INADEQUATE_SECURITY"],
};

/** The status of a call whose upstream reset it with an HTTP/2 error code. */
export function resetStatus(rstCode: number): EncodedStatus {
  const [code, name] = RESETS[rstCode] ?? [GrpcCode.INTERNAL, `error ${rstCode}`];
  return plainStatus(code, `the service reset the call (HTTP/2 ${name})`);
}

function unpadded(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}
