// What callers write into requests, checked: spans, instants, texts, payloads. Bounds are the API's (brevet/v1/elevation.proto).
import { createHash } from "node:crypto";
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { invalid, type Refusal, refuse } from "./refusal.ts";

/** A value, or why there is none. */
export type Checked<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly denial: Refusal };

/** No window, extension or start lies further ahead. */
export const LONGEST_MS = 30 * 24 * 3_600_000;
const MAX_TEXT = 1000;
const MAX_RUN_BYTES = 128;
const MAX_PAYLOAD_BYTES = 64 * 1024;
const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/;

/** Milliseconds of a span that is more than nothing and at most 30 days. */
export function spanMs(field: string, duration: Duration): Checked<number> {
  const { seconds, nanos } = duration;
  if (!Number.isInteger(nanos) || Math.abs(nanos) > 999_999_999) return invalid(field, "nanos must be a whole number below 1,000,000,000");
  if (seconds < 0n || nanos < 0) return invalid(field, "must not be negative");
  if (seconds > BigInt(LONGEST_MS / 1000)) return invalid(field, "must be at most 30 days");
  const ms = Number(seconds) * 1000 + Math.floor(nanos / 1_000_000);
  if (ms <= 0) return invalid(field, "must be at least one millisecond");
  if (ms > LONGEST_MS) return invalid(field, "must be at most 30 days");
  return { ok: true, value: ms };
}

/** Milliseconds since 1970 of an instant to come, at most 30 days ahead. */
export function instantMs(field: string, time: Timestamp, nowMs: number): Checked<number> {
  if (!Number.isInteger(time.nanos) || time.nanos < 0 || time.nanos > 999_999_999) {
    return invalid(field, "nanos must be a whole number from 0 to 999,999,999");
  }
  if (time.seconds < BigInt(Math.floor(nowMs / 1000))) return invalid(field, "must not lie in the past");
  if (time.seconds > BigInt(Math.floor((nowMs + LONGEST_MS) / 1000))) return invalid(field, "must be at most 30 days ahead");
  const ms = Number(time.seconds) * 1000 + Math.floor(time.nanos / 1_000_000);
  return ms < nowMs ? invalid(field, "must not lie in the past") : { ok: true, value: ms };
}

/** A person's words: at most 1,000 characters, well-formed. */
export function text(field: string, value: string): Checked<string> {
  if (value.length > 2 * MAX_TEXT || Array.from(value).length > MAX_TEXT) return invalid(field, "must be at most 1,000 characters");
  if (!value.isWellFormed()) return invalid(field, "must be well-formed text");
  return { ok: true, value };
}

/** An idempotency id. */
export function requestId(value: string): Checked<string> {
  return REQUEST_ID.test(value) ? { ok: true, value } : invalid("request_id", "must be 8 to 64 of A-Z a-z 0-9 _ -");
}

/** The name of a pipeline run. */
export function runName(value: string): Checked<string> {
  return Buffer.byteLength(value) > MAX_RUN_BYTES ? invalid("run", "must be at most 128 bytes") : { ok: true, value };
}

/** SHA-256 of a payload-bound request; empty where nothing is bound. */
export function payloadDigest(method: string, bound: boolean, digest: Uint8Array, payload: Uint8Array): Checked<Uint8Array> {
  if (!bound) {
    if (digest.length === 0 && payload.length === 0) return { ok: true, value: digest };
    const field = payload.length > 0 ? "payload" : "payload_digest";
    return invalid(field, `the policy does not bind approvals of ${method} to a request; leave it out`);
  }
  if (digest.length === 0) {
    return refuse(
      "PAYLOAD_REQUIRED",
      `an approval of ${method} covers one exact request: send it as payload, with its SHA-256 as payload_digest`,
      {
        metadata: { method },
        fieldViolations: [{ field: "payload_digest", description: "SHA-256 of the request message, 32 bytes" }],
      },
    );
  }
  if (payload.length > MAX_PAYLOAD_BYTES) return invalid("payload", "must be at most 64 KiB");
  if (digest.length !== 32) return invalid("payload_digest", "must be a SHA-256, 32 bytes");
  if (!sameBytes(digest, createHash("sha256").update(payload).digest())) return invalid("payload_digest", "is not the SHA-256 of payload");
  return { ok: true, value: digest };
}

/** Whether two byte strings are equal. */
export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}
