// Commitments to personal and large fields, so that the values can be erased and the log still verifies.
// Never keeps a value longer than the command that sealed it.

import { hash, randomBytes } from "node:crypto";
import { type LogEntry, LogEntrySchema, type Opening, OpeningSchema, type Sealed, SealedSchema } from "@brevet/protocol/brevet/v1/log";
import { create, type DescField, type DescMessage, isMessage, type Message } from "@bufbuild/protobuf";
import { isReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import type { Seal } from "./draft.ts";

/** Bytes of a salt. */
export const SALT_BYTES = 32;

/** Source of salts of {@link SALT_BYTES} bytes; injected, so that simulations replay. */
export type NewSalt = () => Uint8Array;

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;

export const randomSalt: NewSalt = () => new Uint8Array(randomBytes(SALT_BYTES));

/** HMAC-SHA-256(salt, value) (RFC 2104). Two plain hashes take 3 µs; a key object for each salt, as `createHmac` makes one, 14. */
export function commitment(salt: Uint8Array, value: Uint8Array): Uint8Array {
  const key = salt.length > BLOCK_BYTES ? hash("sha256", salt, "buffer") : salt;
  const inner = new Uint8Array(BLOCK_BYTES + value.length);
  const outer = new Uint8Array(BLOCK_BYTES + HASH_BYTES);
  for (let i = 0; i < BLOCK_BYTES; i += 1) {
    const byte = key[i] ?? 0;
    inner[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  }
  inner.set(value, BLOCK_BYTES);
  outer.set(hash("sha256", inner, "buffer"), BLOCK_BYTES);
  return new Uint8Array(hash("sha256", outer, "buffer"));
}

/** Seals values and remembers what opens them, until the entry that has the commitment asks for it. */
export class Sealer {
  readonly #openings = new Map<string, Opening>();
  readonly #newSalt: NewSalt;

  constructor(newSalt: NewSalt) {
    this.#newSalt = newSalt;
  }

  readonly seal: Seal = (value) => {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : new Uint8Array(value);
    const salt = this.#newSalt();
    const committed = commitment(salt, bytes);
    this.#openings.set(hex(committed), create(OpeningSchema, { salt, value: bytes }));
    return create(SealedSchema, { commitment: committed });
  };

  /** The openings of an entry's commitments, as far as they were sealed here; each only once. */
  take(entry: LogEntry): { readonly openings: Opening[]; readonly commitments: Uint8Array[] } {
    const openings: Opening[] = [];
    const commitments = this.#openings.size === 0 ? [] : commitmentsOf(entry).filter((committed) => this.#openings.has(hex(committed)));
    for (const committed of commitments) {
      const opening = this.#openings.get(hex(committed));
      if (opening) openings.push(opening);
      this.#openings.delete(hex(committed));
    }
    return { openings, commitments };
  }
}

/** All commitments in an entry, in the order of its fields. */
export function commitmentsOf(entry: LogEntry): Uint8Array[] {
  const found: Uint8Array[] = [];
  collect(LogEntrySchema, entry, found);
  return found;
}

function collect(schema: DescMessage, message: Message, found: Uint8Array[]): void {
  if (isMessage(message, SealedSchema)) {
    found.push((message satisfies Sealed).commitment);
    return;
  }
  const fields = sealingFields(schema);
  if (fields.length === 0) return;
  const view = reflect(schema, message);
  for (const { field, inner } of fields) {
    if (!view.isSet(field)) continue;
    if (field.fieldKind === "message") collect(inner, view.get(field).message, found);
    else if (field.fieldKind === "list" && field.listKind === "message")
      for (const item of view.get(field)) if (isReflectMessage(item)) collect(inner, item.message, found);
  }
}

// Only the fields that lead to a commitment are walked; which ones is worked out once per message type.
const sealing = new Map<string, readonly { readonly field: DescField; readonly inner: DescMessage }[]>();

function sealingFields(schema: DescMessage): readonly { readonly field: DescField; readonly inner: DescMessage }[] {
  const known = sealing.get(schema.typeName);
  if (known) return known;
  const fields = schema.fields.flatMap((field) => {
    const inner = field.fieldKind === "message" || (field.fieldKind === "list" && field.listKind === "message") ? field.message : undefined;
    return inner && (inner.typeName === SealedSchema.typeName || sealingFields(inner).length > 0) ? [{ field, inner }] : [];
  });
  sealing.set(schema.typeName, fields);
  return fields;
}

/** Lower-case hexadecimal: bytes as a key. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
