// The public keys of one issuer as they were published, and the signatures that they made. Immutable: keys that change make
// another set, so that what was verified with an old key is forgotten with it.
import type { JwsForm, ReasonName } from "@brevet/protocol";
import { type CryptoKey, compactVerify, errors, importJWK, type JWK } from "jose";

/** Algorithms of identity tokens: asymmetric ones only (RFC 7518, RFC 8037, RFC 9864). */
export const IDENTITY_ALGORITHMS: ReadonlySet<string> = new Set([
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
]);

const CURVES: Readonly<Record<string, string>> = { ES256: "P-256", ES384: "P-384", ES512: "P-521", EdDSA: "Ed25519", Ed25519: "Ed25519" };
const PUBLIC_MEMBERS = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"] as const;
const MAX_KEYS = 64;
const MAX_TRIES = 8;
const MAX_REMEMBERED = 4096;

/** Whether a signature is good, or the reason why not. */
export type SignatureVerdict = { readonly ok: true } | { readonly ok: false; readonly reason: ReasonName; readonly problem: string };

type Form = Extract<JwsForm, { ok: true }>;

/** Keys of one issuer. */
export class KeySet {
  /** A JWK set (JSON) of public members only: what guards get. */
  readonly json: string;
  readonly #keys: readonly JWK[];
  readonly #imported = new Map<string, Promise<CryptoKey | Uint8Array>>();
  readonly #verified = new Set<string>();

  private constructor(keys: readonly JWK[]) {
    this.#keys = keys;
    this.json = JSON.stringify({ keys });
  }

  /** Reads a JWK set; keys that sign nothing here are left out. Throws TypeError for what is no JWK set or has no usable key. */
  static read(text: string): KeySet {
    const set: unknown = JSON.parse(text);
    if (typeof set !== "object" || set === null || !("keys" in set) || !Array.isArray(set.keys)) throw new TypeError("not a JWK set");
    const list: readonly unknown[] = set.keys;
    const keys = list.slice(0, MAX_KEYS).flatMap((key) => publicKey(key) ?? []);
    if (keys.length === 0) throw new TypeError("the JWK set has no key that signs tokens");
    return new KeySet(keys);
  }

  /** Whether a token that names no key, or this one, may be signed by a key of the set. */
  has(kid: string | undefined): boolean {
    return kid === undefined || this.#keys.some((key) => key.kid === kid);
  }

  /** Verifies the signature of a token whose form was read and whose algorithm is one of {@link IDENTITY_ALGORITHMS}. */
  async verify(token: string, form: Form): Promise<SignatureVerdict> {
    if (this.#verified.has(token)) return { ok: true };
    const { kid, alg } = form;
    const named = kid === undefined ? this.#keys : this.#keys.filter((key) => key.kid === kid);
    const fitting = named.filter((key) => fits(key, alg));
    if (named.length === 0 || (kid === undefined && fitting.length === 0))
      return { ok: false, reason: "IDENTITY_KEY_UNKNOWN", problem: "its issuer publishes no such key" };
    if (fitting.length === 0)
      return { ok: false, reason: "IDENTITY_ALGORITHM_REJECTED", problem: "the key that it names is for another algorithm" };
    for (const key of fitting.slice(0, MAX_TRIES)) {
      if (!(await this.#isSignedBy(token, key, alg))) continue;
      if (this.#verified.size >= MAX_REMEMBERED) this.#verified.clear();
      this.#verified.add(token);
      return { ok: true };
    }
    return { ok: false, reason: "IDENTITY_SIGNATURE_INVALID", problem: "the signature is not that of the named key" };
  }

  async #isSignedBy(token: string, key: JWK, alg: string): Promise<boolean> {
    const name = `${alg} ${this.#keys.indexOf(key)}`;
    let imported = this.#imported.get(name);
    if (imported === undefined) this.#imported.set(name, (imported = importJWK(key, alg)));
    try {
      await compactVerify(token, await imported, { algorithms: [alg] });
      return true;
    } catch (error) {
      // A key that cannot be used, too short for instance, made no good signature either.
      if (error instanceof errors.JOSEError || error instanceof TypeError || error instanceof DOMException) return false;
      throw error;
    }
  }
}

function publicKey(value: unknown): JWK | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const given = value as Readonly<Record<string, unknown>>;
  const { kty, use } = given;
  if ((kty !== "RSA" && kty !== "EC" && kty !== "OKP") || (use !== undefined && use !== "sig")) return undefined;
  const members = PUBLIC_MEMBERS.flatMap((name) => (typeof given[name] === "string" ? [[name, given[name]] as const] : []));
  return { ...Object.fromEntries(members), kty };
}

function fits(key: JWK, alg: string): boolean {
  const sameName =
    key.alg === undefined || key.alg === alg || (alg === "EdDSA" && key.alg === "Ed25519") || (alg === "Ed25519" && key.alg === "EdDSA");
  if (!sameName) return false;
  if (alg.startsWith("RS") || alg.startsWith("PS")) return key.kty === "RSA";
  return key.kty === (alg.startsWith("ES") ? "EC" : "OKP") && key.crv === CURVES[alg];
}
