// Random identifiers with a prefix that tells what they name. Never derived from content.
import { randomBytes } from "node:crypto";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Kinds of identifiers: elevation, decision, principal, policy proposal, epoch, grant, request (idempotency), guard instance. */
export type IdPrefix = "elv" | "dec" | "prn" | "prp" | "epo" | "gnt" | "req" | "gud";

/** Source of identifiers; injected, so that simulations replay. */
export type NewId = (prefix: IdPrefix) => string;

/** Spells 16 bytes as 26 characters of Crockford's base32, behind the prefix: 128 bits, safe in metadata, URLs and file names. */
export function formatId(prefix: IdPrefix, bytes: Uint8Array): string {
  let value = 0n;
  for (const byte of bytes.subarray(0, 16)) value = (value << 8n) | BigInt(byte);
  let text = "";
  for (let i = 0; i < 26; i += 1) {
    text = ALPHABET[Number(value & 31n)] + text;
    value >>= 5n;
  }
  return `${prefix}_${text}`;
}

const pool = { bytes: Buffer.alloc(0), at: 0 };

/** A fresh identifier from the system's generator. Randomness is drawn in blocks: a decision's id costs well under a microsecond. */
export const newId: NewId = (prefix) => {
  if (pool.at + 16 > pool.bytes.length) {
    pool.bytes = randomBytes(4096);
    pool.at = 0;
  }
  const id = formatId(prefix, pool.bytes.subarray(pool.at, pool.at + 16));
  pool.at += 16;
  return id;
};
