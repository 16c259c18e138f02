// The issuer of `--dev`: signs in made-up people with a code. Random name and keys, kept in the store, which marks it for ever as one for
// development. Answers on loopback only and only to local Host names; never part of a real authority.
import { createHash, createPrivateKey, type KeyObject, randomBytes, timingSafeEqual } from "node:crypto";
import { kindOfName } from "@brevet/policy";
import { type Clock, generateSigningKey } from "@brevet/protocol";
import { SignJWT } from "jose";
import type { Store } from "../store/store.ts";
import { isLoopbackHost } from "./fetch.ts";
import { KeySet } from "./keyset.ts";

const SECRET = "development-issuer";
const ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ";
const TOKEN_SECONDS = 3600;
const LONGEST_TOKEN_SECONDS = 24 * 3600;
const MAX_AUDIENCE = 128;
const MAX_GROUPS = 100;

/** What the store keeps. */
interface Kept {
  /** Part of the issuer's URL. */
  readonly id: string;
  readonly code: string;
  readonly kid: string;
  /** PKCS #8, PEM. */
  readonly privateKey: string;
  /** JSON. */
  readonly publicJwk: string;
}

/** Whom to sign in. */
export interface SignIn {
  /** `user:…`, `workload:…` or `ci:…`. */
  readonly principal: string;
  readonly audience: string;
  readonly groups?: readonly string[];
  /** Who started a workload. */
  readonly initiator?: string;
  /** Seconds; default one hour, at most a day. */
  readonly ttl?: number;
}

/** An answer of the issuer's pages. */
export interface DevelopmentAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Whether the store was ever used with `--dev`. */
export async function isForDevelopment(store: Store): Promise<boolean> {
  return (await store.secrets.get(SECRET)) !== undefined;
}

/** The development issuer of one store. */
export class DevelopmentIssuer {
  readonly code: string;
  /** JWK set. */
  readonly keys: KeySet;
  readonly #kept: Kept;
  readonly #key: KeyObject;
  readonly #clock: Clock;
  #origin = "";

  private constructor(kept: Kept, clock: Clock) {
    this.#kept = kept;
    this.#clock = clock;
    this.code = kept.code;
    this.keys = KeySet.read(JSON.stringify({ keys: [JSON.parse(kept.publicJwk)] }));
    this.#key = createPrivateKey(kept.privateKey);
  }

  /** The issuer of a store; an empty store gets one, and is marked by it. @throws Error for a store with a log of real use. */
  static async open(store: Store, clock: Clock): Promise<DevelopmentIssuer> {
    const stored = await store.secrets.get(SECRET);
    if (stored !== undefined) return new DevelopmentIssuer(JSON.parse(Buffer.from(stored).toString("utf8")) as Kept, clock);
    if ((await store.head()).revision > 0n) throw new Error("this data directory is in real use: it is never opened with --dev");
    const { kid, privateKey, publicJwk } = generateSigningKey();
    const kept: Kept = {
      id: randomText(16),
      code: randomText(12).replaceAll(/(.{4})(?=.)/g, "$1-"),
      kid,
      privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      publicJwk,
    };
    await store.secrets.set(SECRET, Buffer.from(JSON.stringify(kept)));
    return new DevelopmentIssuer(kept, clock);
  }

  /** Where the authority listens: part of the issuer's name from then on. */
  serveAt(origin: string): void {
    this.#origin = origin;
  }

  /** `iss`. */
  get issuer(): string {
    return `${this.#origin}/dev/${this.#kept.id}`;
  }

  /** A token of a made-up person. @throws RangeError for what no policy could map. */
  async token(who: SignIn): Promise<string> {
    return (await this.#sign(who)).token;
  }

  /** Answers a request below `/dev/`; undefined for what is not there. */
  async answer(request: {
    method: string;
    path: string;
    host: string;
    body: string;
    contentType: string;
  }): Promise<DevelopmentAnswer | undefined> {
    if (!isLocalHost(request.host)) return { status: 403, body: { error: "the Host must be local: this authority is for development" } };
    const base = `/dev/${this.#kept.id}`;
    if (request.path === "/dev/token") {
      if (request.method !== "POST") return { status: 405, body: { error: "POST a code, a principal and an audience" } };
      return this.#signIn(request.body, request.contentType);
    }
    if (request.method !== "GET" && request.method !== "HEAD") return undefined;
    if (request.path === `${base}/.well-known/openid-configuration`) return { status: 200, body: this.#discovery() };
    return request.path === `${base}/jwks.json` ? { status: 200, body: JSON.parse(this.keys.json) } : undefined;
  }

  #discovery(): unknown {
    return {
      issuer: this.issuer,
      jwks_uri: `${this.issuer}/jwks.json`,
      token_endpoint: `${this.#origin}/dev/token`,
      response_types_supported: ["none"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["EdDSA"],
    };
  }

  async #signIn(body: string, contentType: string): Promise<DevelopmentAnswer> {
    const fields = readFields(body, contentType);
    if (fields === undefined)
      return { status: 400, body: { error: "send application/json or a form: code, principal, groups, audience, ttlSeconds" } };
    const { code, principal, audience, initiator, ttlSeconds } = fields;
    if (typeof code !== "string" || !sameText(code.trim().toUpperCase(), this.code))
      return { status: 401, body: { error: "the code is not the one that was printed" } };
    if (typeof principal !== "string" || typeof audience !== "string")
      return { status: 400, body: { error: "principal and audience are needed" } };
    const groups = typeof fields.groups === "string" ? fields.groups.split(",").map((group) => group.trim()) : (fields.groups ?? []);
    if (!Array.isArray(groups) || !groups.every((group) => typeof group === "string"))
      return { status: 400, body: { error: "groups must be a list of names" } };
    const ttl = ttlSeconds === undefined || ttlSeconds === "" ? TOKEN_SECONDS : Number(ttlSeconds);
    try {
      const started = typeof initiator === "string" && initiator !== "" ? { initiator } : {};
      const { token, expiresMs } = await this.#sign({
        principal,
        audience,
        groups: groups.filter((group) => group !== ""),
        ttl,
        ...started,
      });
      return { status: 200, body: { token, expiresAt: new Date(expiresMs).toISOString() } };
    } catch (error) {
      if (error instanceof RangeError) return { status: 400, body: { error: error.message } };
      throw error;
    }
  }

  async #sign({ principal, audience, groups = [], initiator, ttl = TOKEN_SECONDS }: SignIn): Promise<{ token: string; expiresMs: number }> {
    if (kindOfName(principal) === undefined) throw new RangeError("principal must be user:…, workload:… or ci:…");
    if (initiator !== undefined && kindOfName(initiator) === undefined)
      throw new RangeError("initiator must be user:…, workload:… or ci:…");
    if (audience === "" || audience.length > MAX_AUDIENCE) throw new RangeError(`audience must be 1 to ${MAX_AUDIENCE} characters`);
    if (groups.length > MAX_GROUPS || groups.some((group) => !/^[^\s\p{C}]{1,200}$/u.test(group)))
      throw new RangeError("groups must be at most 100 names");
    if (!Number.isInteger(ttl) || ttl < 1 || ttl > LONGEST_TOKEN_SECONDS) throw new RangeError("ttlSeconds must be 1 to 86400");
    const issued = Math.floor(this.#clock.wallMs() / 1000);
    const claims = {
      groups: groups.map((group) => (group.startsWith("group:") ? group : `group:${group}`)),
      ...(initiator === undefined ? {} : { initiator }),
    };
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: "EdDSA", kid: this.#kept.kid, typ: "JWT" })
      .setIssuer(this.issuer)
      .setSubject(principal)
      .setAudience(audience)
      .setIssuedAt(issued)
      .setExpirationTime(issued + ttl)
      .sign(this.#key);
    return { token, expiresMs: (issued + ttl) * 1000 };
  }
}

/** Whether the value of a Host header names this machine: anything else may be a web page that had a name pointed here. */
export function isLocalHost(host: string): boolean {
  return URL.canParse(`http://${host}`) && isLoopbackHost(new URL(`http://${host}`).hostname);
}

function readFields(body: string, contentType: string): Readonly<Record<string, unknown>> | undefined {
  const type = contentType.split(";")[0]?.trim().toLowerCase();
  if (type === "application/x-www-form-urlencoded") return Object.fromEntries(new URLSearchParams(body));
  if (type !== "application/json") return undefined;
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function sameText(left: string, right: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(left), digest(right));
}

function randomText(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of randomBytes(length)) if (byte < 240 && text.length < length) text += ALPHABET.charAt(byte % ALPHABET.length);
  }
  return text;
}
