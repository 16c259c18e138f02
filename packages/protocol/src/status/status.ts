// Denials on the wire: encoded within the budget that every gRPC client survives, and read back without trusting what was received.
// Owns the trailer block's size and the order in which details are given up; never decides anything, never throws on what it reads.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { ElevationRequired } from "../gen/brevet/v1/error_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { MAX_MESSAGE_BYTES, MAX_TRAILER_BYTES, RETRY_PUSHBACK_TRAILER, STATUS_DETAILS_TRAILER } from "../names.ts";
import { catalogue, type ReasonName } from "../reason/catalogue.ts";
import type { Denial, FieldViolation, HelpLink } from "./denial.ts";
import { type DetailParts, detailParts, packDetails } from "./details.ts";
import { unpackDetails } from "./received.ts";
import { percentEncodedLength, sanitise } from "./sanitise.ts";

/** What a transport sends. `code` and `message` are the same inside `details`. */
export interface EncodedStatus {
  /** gRPC status code. */
  readonly code: number;
  /** At most 400 bytes of UTF-8; the transport percent-encodes it. */
  readonly message: string;
  /** Serialized google.rpc.Status, for `grpc-status-details-bin`. */
  readonly details: Uint8Array;
  /** Value of `grpc-retry-pushback-ms`: "-1" where a blind retry cannot help. */
  readonly pushback: string | undefined;
}

/** What a client made of a status. Everything in it came from the other side: a hint, sanitised and capped. */
export interface ReceivedStatus {
  readonly code: number;
  readonly message: string;
  /** Absent unless the status carries an ErrorInfo of the domain `brevet.dev` with a reason of the catalogue. */
  readonly reason?: ReasonName;
  readonly metadata: Readonly<Record<string, string>>;
  readonly offer?: ElevationRequired;
  readonly retryDelayMs?: number;
  readonly help: readonly HelpLink[];
  readonly fieldViolations: readonly FieldViolation[];
}

const MAX_RECEIVED_BYTES = 64 * 1024;
const MAX_RECEIVED_MESSAGE_BYTES = 4096;
const ENTRY_BYTES = 32;

/** Encodes a denial. The same denial gives the same bytes. */
export function encodeDenial(denial: Denial): EncodedStatus {
  const entry = catalogue[denial.reason];
  const code =
    denial.code !== undefined && Number.isInteger(denial.code) && denial.code > 0 && denial.code <= 16 ? denial.code : entry.code;
  const prefix = `${denial.reason}: `;
  const message = sanitise(denial.message.startsWith(prefix) ? denial.message : prefix + denial.message, MAX_MESSAGE_BYTES);
  const pushback = entry.retry === "backoff" ? undefined : "-1";
  const parts = detailParts(denial);
  let details = serialize(code, message, parts);
  while (trailerBytes({ code, message, details, pushback }) > MAX_TRAILER_BYTES && giveUpSomething(parts)) {
    details = serialize(code, message, parts);
  }
  return { code, message, details, pushback };
}

/** Size of the trailers of a status as HTTP/2 counts it (RFC 9113, 6.5.2): Σ(name + value + 32), the details as base64. */
export function trailerBytes(status: EncodedStatus): number {
  const pushback = status.pushback === undefined ? 0 : RETRY_PUSHBACK_TRAILER.length + status.pushback.length + ENTRY_BYTES;
  return (
    "grpc-status".length +
    String(status.code).length +
    ENTRY_BYTES +
    "grpc-message".length +
    percentEncodedLength(status.message) +
    ENTRY_BYTES +
    STATUS_DETAILS_TRAILER.length +
    4 * Math.ceil(status.details.length / 3) +
    ENTRY_BYTES +
    pushback
  );
}

/** Reads a status. Never throws: what cannot be parsed, or says another code inside than outside, is read as a status without details. */
export function readStatus(code: number, message: string, details: Uint8Array | undefined): ReceivedStatus {
  const plain = { code, message: sanitise(message, MAX_RECEIVED_MESSAGE_BYTES), metadata: {}, help: [], fieldViolations: [] };
  if (details === undefined || details.length > MAX_RECEIVED_BYTES) return plain;
  try {
    const status = fromBinary(StatusSchema, details);
    return status.code === code ? { ...plain, ...unpackDetails(status.details) } : plain;
  } catch {
    return plain;
  }
}

function serialize(code: number, message: string, parts: DetailParts): Uint8Array {
  return toBinary(StatusSchema, create(StatusSchema, { code, message, details: packDetails(parts) }));
}

/** Gives up the least useful thing that is left; false when only ErrorInfo and RetryInfo are. */
function giveUpSomething(parts: DetailParts): boolean {
  const offered = parts.offer?.entitlements.length ?? 0;
  if (parts.help.length > 1) parts.help = parts.help.slice(0, 1);
  else if (parts.preconditions.length > 0) parts.preconditions = [];
  else if (parts.offer && offered > 1) {
    parts.offer.entitlements.pop();
    parts.offer.more += 1;
  } else if (parts.fieldViolations.length > 1) parts.fieldViolations = parts.fieldViolations.slice(0, -1);
  else if (parts.help.length > 0) parts.help = [];
  else if (parts.fieldViolations.length > 0) parts.fieldViolations = [];
  else if (parts.offer) parts.offer = undefined;
  else return false;
  return true;
}
