// Keys that sign grants: Ed25519 only, named by their RFC 7638 thumbprint. Never holds a key beyond a call, never writes one down.
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import type { JsonObject } from "./json.ts";

/** Members that a thumbprint is taken over, in order (RFC 7638, 3.2; RFC 8037, 2). */
const THUMBPRINT_MEMBERS: Readonly<Record<string, readonly string[]>> = {
  OKP: ["crv", "kty", "x"],
  EC: ["crv", "kty", "x", "y"],
  RSA: ["e", "kty", "n"],
};

/** A public key in JWK form. */
export type PublicJwk = { readonly [name: string]: unknown };

/** A fresh key for signing. */
export interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  /** JSON of the public JWK, with `kid`, `alg` and `use`. */
  readonly publicJwk: string;
}

/** The Ed25519 public keys of a JWK set by thumbprint; other keys are skipped, and a stated `kid` is not believed. Throws TypeError if `json` is no JWK set. */
export function keysOfJwks(json: string): Map<string, KeyObject> {
  const set = parseSet(json);
  const keys = new Map<string, KeyObject>();
  for (const jwk of set) {
    const key = ed25519PublicKey(jwk);
    if (key) keys.set(thumbprint(jwk), key);
  }
  return keys;
}

/** Base64url of the SHA-256 thumbprint (RFC 7638) of an OKP, EC or RSA key. Throws TypeError for anything else. */
export function thumbprint(jwk: PublicJwk): string {
  const members = typeof jwk.kty === "string" && Object.hasOwn(THUMBPRINT_MEMBERS, jwk.kty) ? THUMBPRINT_MEMBERS[jwk.kty] : undefined;
  if (!members?.every((name) => typeof jwk[name] === "string")) throw new TypeError("not a public JWK of type OKP, EC or RSA");
  const canonical = JSON.stringify(Object.fromEntries(members.map((name) => [name, jwk[name]])));
  return createHash("sha256").update(canonical).digest("base64url");
}

/** A new Ed25519 key pair from the system's generator. */
export function generateSigningKey(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const jwk = publicKey.export({ format: "jwk" });
  const kid = thumbprint({ ...jwk });
  return { kid, privateKey, publicJwk: JSON.stringify({ ...jwk, kid, alg: "EdDSA", use: "sig" }) };
}

function parseSet(json: string): readonly JsonObject[] {
  let set: unknown;
  try {
    set = JSON.parse(json);
  } catch {
    throw new TypeError("not a JWK set: not JSON");
  }
  if (typeof set !== "object" || set === null || !("keys" in set) || !Array.isArray(set.keys))
    throw new TypeError("not a JWK set: no keys");
  return set.keys.filter((key): key is JsonObject => typeof key === "object" && key !== null && !Array.isArray(key));
}

function ed25519PublicKey(jwk: JsonObject): KeyObject | undefined {
  const { kty, crv, x } = jwk;
  if (kty !== "OKP" || crv !== "Ed25519" || typeof x !== "string") return undefined;
  try {
    return createPublicKey({ key: { kty, crv, x }, format: "jwk" });
  } catch {
    return undefined;
  }
}
