// The authority's own signing keys: the public halves are in the log, the private ones in the store's secrets.
// Never signs anything itself.

import { createPrivateKey, type KeyObject } from "node:crypto";
import { generateSigningKey, type SigningKey } from "@brevet/protocol";
import { KeyPurpose } from "@brevet/protocol/brevet/v1/log";
import type { Store, StoredKey } from "../store/store.ts";

/** Every purpose has a key from the first entry on, one apart from the others. */
export const KEY_PURPOSES = [KeyPurpose.GRANT, KeyPurpose.CHECKPOINT] as const;

/** A fresh Ed25519 key, its private half kept durably before anyone can hear of the public one. */
export async function createKey(store: Store): Promise<SigningKey> {
  const key = generateSigningKey();
  await store.secrets.set(secretName(key.kid), new Uint8Array(key.privateKey.export({ format: "der", type: "pkcs8" })));
  return key;
}

/** The private half of a key; undefined where this store does not have it, or it was destroyed by emptying the secret. */
export async function privateKeyOf(store: Store, kid: string): Promise<KeyObject | undefined> {
  const secret = await store.secrets.get(secretName(kid));
  if (secret === undefined || secret.length === 0) return undefined;
  return createPrivateKey({ key: Buffer.from(secret), format: "der", type: "pkcs8" });
}

/** The key that signs for a purpose: the newest that is in use and whose private half is here. */
export async function signingKey(store: Store, purpose: KeyPurpose): Promise<SigningKey | undefined> {
  for (const key of (await store.keys()).toReversed()) {
    const privateKey = isInUse(key, purpose) ? await privateKeyOf(store, key.kid) : undefined;
    if (privateKey) return { kid: key.kid, privateKey, publicJwk: key.publicJwk };
  }
  return undefined;
}

export function isInUse(key: StoredKey, purpose: KeyPurpose): boolean {
  return key.purpose === purpose && !key.retired && !key.revoked;
}

function secretName(kid: string): string {
  return `key/${kid}`;
}
