// The bytes of a state file: a head that says how much of the file counts, then records, each of a kind and a length.
// Owns the layout and its seal; never touches a file, and does not know what records mean.
import { createHash, createHmac, type Hash, timingSafeEqual } from "node:crypto";

/** What a record holds. */
export const RecordKind = { about: 1, message: 2, clock: 3, pin: 4 } as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** One record. */
export interface StateRecord {
  readonly kind: RecordKind;
  readonly payload: Uint8Array;
}

/** The first bytes; the digit is the format's version. */
const MAGIC = Buffer.from("BREVETG1");
const SEAL_BYTES = 32;
/** Before the first record. */
export const HEAD_BYTES = MAGIC.length + 8 + SEAL_BYTES;
const KINDS: ReadonlySet<number> = new Set(Object.values(RecordKind));

/** A record as bytes. */
export function encodeRecord(kind: RecordKind, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(5 + payload.length);
  new DataView(bytes.buffer).setUint32(0, payload.length);
  bytes[4] = kind;
  bytes.set(payload, 5);
  return bytes;
}

/**
 * The head of a file: the file counts up to `length`, and `records` has digested all records up to there. It is written after them, in
 * place, and is shorter than any disk's sector: what stands behind `length` was never finished, and a file that ends before it was cut.
 */
export function encodeHead(length: number, records: Hash, key: Uint8Array): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES);
  MAGIC.copy(head);
  head.writeBigUInt64BE(BigInt(length), MAGIC.length);
  seal(head.subarray(0, MAGIC.length + 8), records.copy().digest(), key).copy(head, MAGIC.length + 8);
  return head;
}

/** The records of a file, or why it is refused. */
export function decodeState(bytes: Uint8Array, key: Uint8Array): readonly StateRecord[] | string {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.length < HEAD_BYTES) return "it is cut short";
  if (!file.subarray(0, MAGIC.length).equals(MAGIC)) return "it is of another version of the guard, or no state of a guard at all";
  const length = Number(file.readBigUInt64BE(MAGIC.length));
  if (length < HEAD_BYTES || length > file.length) return "it is cut short";
  const digest = createHash("sha256").update(file.subarray(HEAD_BYTES, length)).digest();
  const sealed = seal(file.subarray(0, MAGIC.length + 8), digest, key);
  if (!timingSafeEqual(sealed, file.subarray(MAGIC.length + 8, HEAD_BYTES))) return "it was changed, or sealed with another key";
  const records: StateRecord[] = [];
  for (let at = HEAD_BYTES; at < length; ) {
    const end = at + 5 <= length ? at + 5 + file.readUInt32BE(at) : Infinity;
    const kind = file[at + 4];
    if (end > length || !isKind(kind)) return "its records cannot be read";
    records.push({ kind, payload: file.subarray(at + 5, end) });
    at = end;
  }
  return records;
}

function isKind(kind: number | undefined): kind is RecordKind {
  return kind !== undefined && KINDS.has(kind);
}

function seal(head: Uint8Array, digest: Uint8Array, key: Uint8Array): Buffer {
  return createHmac("sha256", key).update(head).update(digest).digest();
}
