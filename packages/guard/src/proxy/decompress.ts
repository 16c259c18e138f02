// Compressed messages as the guard judges them: decompressed within a bound, and only where every reader would read the same.
// The bytes that go on are the ones that came.
import { crc32, inflate, inflateRaw, type ZlibOptions } from "node:zlib";
import type { WireMessage } from "./messages.ts";

/** The message, or why there is none. */
export type Decompressed =
  | { readonly ok: true; readonly bytes: Buffer }
  | { readonly ok: false; readonly problem: "too large" | "broken" | "unknown encoding" };

/** `grpc-accept-encoding` of a guard that reads messages. */
export const READABLE_ENCODINGS = "identity,deflate,gzip";

const GZIP_HEAD = Buffer.from([0x1f, 0x8b, 8, 0]);
const GZIP_HEAD_BYTES = 10;
const GZIP_TAIL_BYTES = 8;
const BROKEN: Decompressed = { ok: false, problem: "broken" };

/** Gives the message's bytes to `done`, at once where nothing has to be decompressed. `maxBytes`: of what it decompresses to. */
export function decompress(message: WireMessage, encoding: string, maxBytes: number, done: (result: Decompressed) => void): void {
  const { payload } = message;
  if (!message.compressed) return done({ ok: true, bytes: payload });
  if (encoding === "gzip") return gunzip(payload, maxBytes, done);
  if (encoding === "deflate") return expand(inflate, payload, payload.length, maxBytes, done);
  // A compressed message without an encoding is no more readable than one of an unknown one (gRPC compression, Specification 5).
  done(encoding === "identity" ? BROKEN : { ok: false, problem: "unknown encoding" });
}

/**
 * One member, with no optional parts and nothing behind it: libraries differ in what they make of several members, and a guard that
 * reads all of them may judge another message than the service runs.
 */
function gunzip(payload: Buffer, maxBytes: number, done: (result: Decompressed) => void): void {
  const body = payload.length - GZIP_HEAD_BYTES - GZIP_TAIL_BYTES;
  if (body <= 0 || !payload.subarray(0, GZIP_HEAD.length).equals(GZIP_HEAD)) return done(BROKEN);
  expand(inflateRaw, payload.subarray(GZIP_HEAD_BYTES), body, maxBytes, (result) => {
    if (!result.ok) return done(result);
    const tail = payload.subarray(-GZIP_TAIL_BYTES);
    const whole = tail.readUInt32LE(0) === crc32(result.bytes) && tail.readUInt32LE(4) === result.bytes.length;
    done(whole ? result : BROKEN);
  });
}

type Expand = (bytes: Buffer, options: ZlibOptions, done: (error: NodeJS.ErrnoException | null, result: unknown) => void) => void;

/** `consumed`: how many of the bytes have to have been read at the end. */
function expand(algorithm: Expand, bytes: Buffer, consumed: number, maxBytes: number, done: (result: Decompressed) => void): void {
  algorithm(bytes, { info: true, maxOutputLength: Math.max(1, maxBytes) }, (error, result) => {
    if (error !== null && error !== undefined)
      return done(error.code === "ERR_BUFFER_TOO_LARGE" ? { ok: false, problem: "too large" } : BROKEN);
    done(isInfo(result) && result.engine.bytesWritten === consumed ? { ok: true, bytes: result.buffer } : BROKEN);
  });
}

/** What zlib answers with where `info` is set. */
function isInfo(value: unknown): value is { buffer: Buffer; engine: { bytesWritten: number } } {
  return typeof value === "object" && value !== null && "buffer" in value && "engine" in value && Buffer.isBuffer(value.buffer);
}
