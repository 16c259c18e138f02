// Random identifiers with a prefix that tells what they name. Never derived from content.
import { randomBytes } from "node:crypto";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Kinds of identifiers: elevation, decision, principal, policy proposal, epoch, grant, request (idempotency), guard instance. */
export type IdPrefix = "elv" | "dec" | "prn" | "prp" | "epo" | "gnt" | "req" | "gud";

/** Source of identifiers; injected, so that simulations replay. */
export type NewId = (prefix: IdPrefix) => string;

/**
 * Spells 16 bytes as 26 characters of Crockford's base32, behind the prefix: 128 bits, safe in metadata, URLs and file names, and in the
 * order of the bytes. Throws RangeError for another number of bytes.
 */
export function formatId(prefix: IdPrefix, bytes: Uint8Array): string {
  if (bytes.length !== 16) throw new RangeError("an id is made of 16 bytes");
  let text = "";
  let held = 0;
  // 26 characters hold 130 bits: two zeros lead.
  let heldBits = 2;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    heldBits += 8;
    while (heldBits >= 5) {
      heldBits -= 5;
      text += ALPHABET.charAt(held >> heldBits);
      held &= (1 << heldBits) - 1;
    }
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
