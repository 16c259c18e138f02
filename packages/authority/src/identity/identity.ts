// Who calls the authority: bearer identity tokens of the issuers that current policies trust, and client certificates. One identity; each
// audience's policy maps it for itself. Never decides what a caller may do.
import { type CompiledPolicy, type Mapped, mapClaims, mapDevelopmentClaims, mapSpiffe, type PrincipalFacts } from "@brevet/policy";
import type { Clock, Denial } from "@brevet/protocol";
import type { Logger } from "pino";
import { bearerToken, checkToken, LEEWAY_MS } from "./bearer.ts";
import type { Credentials, PresentedCertificate } from "./credentials.ts";
import type { FetchText } from "./fetch.ts";
import { IssuerKeys } from "./issuer.ts";
import type { KeySet } from "./keyset.ts";

/** The current policies, as far as identities need them. */
export interface PoliciesInForce {
  /** All of them. */
  policies(): readonly CompiledPolicy[];
  onChange(listener: () => void): Disposable;
}

/** The issuer of `--dev`, whose tokens name principals directly. */
export interface LocalIssuer {
  readonly issuer: string;
  readonly keys: KeySet;
}

/** Keys of one issuer as guards get them. */
export interface PublishedKeys {
  readonly issuer: string;
  /** JWK set (JSON); "" while they could not be had. */
  readonly jwks: string;
  /** Milliseconds since 1970; 0: never fetched. */
  readonly fetchedMs: number;
  readonly development: boolean;
}

/** An authenticated caller. */
export interface AuthenticatedCaller {
  /** What the audience's policy, as it is now, makes of the identity; undefined: nobody there. */
  principalFor(audience: string): PrincipalFacts | undefined;
  /** Audiences whose policies know the caller, sorted. */
  audiences(): string[];
  /** A name for logs: that of the first audience that knows the caller. */
  readonly name: string;
  /** When what was presented is no longer good, leeway included, milliseconds since 1970. */
  readonly expiresMs: number;
}

/** A caller, or why there is none. */
export type Authentication = { readonly ok: true; readonly caller: AuthenticatedCaller } | { readonly ok: false; readonly denial: Denial };

/** What {@link Identities} stands on. */
export interface IdentitiesOptions {
  readonly policies: PoliciesInForce;
  /** The authority's own audience. */
  readonly audience: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly fetchText: FetchText;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  readonly development?: LocalIssuer;
}

/** Authenticates callers, and keeps the keys of all trusted issuers fresh until disposed. */
export class Identities implements Disposable {
  readonly #options: IdentitiesOptions;
  readonly #subscription: Disposable;
  readonly #listeners = new Set<(issuer: string) => void>();
  readonly #issuers = new Map<string, IssuerKeys>();
  #serviceAudiences: ReadonlySet<string> = new Set();

  constructor(options: IdentitiesOptions) {
    this.#options = options;
    this.#subscription = options.policies.onChange(() => this.#follow());
    this.#follow();
  }

  /** Tells who calls. Waits only for keys of the token's own issuer. */
  async authenticate(credentials: Credentials): Promise<Authentication> {
    const nowMs = this.#options.clock.wallMs();
    const verdict = await (credentials.authorization.length > 0
      ? this.#byToken(credentials.authorization, nowMs)
      : this.#byCertificate(credentials.certificate, nowMs));
    if (verdict.ok) return verdict;
    const { denial } = verdict;
    const seen = credentials.headersSeen.toSorted().join(",").slice(0, 256);
    const about = { serverTime: instant(nowMs), ...(denial.reason === "IDENTITY_MISSING" ? { headersSeen: seen } : {}) };
    return { ok: false, denial: { ...denial, metadata: { ...about, ...denial.metadata } } };
  }

  /** The keys of the issuers that a policy trusts, and the development issuer's. */
  publishedKeys(policy: CompiledPolicy): PublishedKeys[] {
    const { development, clock } = this.#options;
    const own = development
      ? [{ issuer: development.issuer, jwks: development.keys.json, fetchedMs: clock.wallMs(), development: true }]
      : [];
    const named = [...new Set(policy.issuers.map(({ issuer }) => issuer))].map((issuer) => {
      const source = this.#issuers.get(issuer);
      return { issuer, jwks: source?.current()?.json ?? "", fetchedMs: source?.fetchedMs ?? 0, development: false };
    });
    return [...named, ...own];
  }

  /** Calls back with the issuer whose keys changed. */
  onKeysChange(listener: (issuer: string) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    for (const source of this.#issuers.values()) source[Symbol.dispose]();
  }

  async #byToken(values: readonly string[], nowMs: number): Promise<Authentication> {
    const bearer = bearerToken(values);
    if ("problem" in bearer) return deny("IDENTITY_MALFORMED", bearer.problem, { problem: bearer.problem });
    const { audience, development } = this.#options;
    const check = await checkToken(bearer.token, {
      audience,
      serviceAudiences: this.#serviceAudiences,
      nowMs,
      keysOf: async (issuer, kid) => {
        if (issuer === development?.issuer) return development.keys;
        const source = this.#issuers.get(issuer);
        return source && ((await source.keysFor(kid)) ?? "unavailable");
      },
    });
    if (!check.ok) return check;
    const { issuer, claims, expiresMs } = check;
    const map =
      issuer === development?.issuer
        ? (policy: CompiledPolicy) => mapDevelopmentClaims(policy, claims)
        : (policy: CompiledPolicy) => mapClaims(policy, issuer, claims);
    return { ok: true, caller: this.#caller(map, expiresMs + LEEWAY_MS) };
  }

  async #byCertificate(certificate: PresentedCertificate | undefined, nowMs: number): Promise<Authentication> {
    if (certificate === undefined) return deny("IDENTITY_MISSING", "send `authorization: Bearer <token>`, made for the authority");
    if (nowMs >= certificate.validToMs) {
      const expiredAt = instant(certificate.validToMs);
      return deny("IDENTITY_EXPIRED", `the client certificate ended at ${expiredAt}`, { expiredAt });
    }
    if (!certificate.trusted)
      return deny(
        "IDENTITY_MISSING",
        `the client certificate is not accepted (${certificate.problem ?? "not trusted"}), and there is no token`,
      );
    const [uri, ...more] = certificate.uris;
    // SPIFFE X.509-SVID, 2: exactly one URI name.
    if (uri === undefined || more.length > 0)
      return deny("IDENTITY_MISSING", "the client certificate does not carry exactly one URI name, and there is no token");
    return { ok: true, caller: this.#caller((policy) => mapSpiffe(policy, uri), certificate.validToMs) };
  }

  #caller(map: (policy: CompiledPolicy) => Mapped, expiresMs: number): AuthenticatedCaller {
    const inForce = () => this.#options.policies.policies();
    const known = new WeakMap<CompiledPolicy, Mapped>();
    const principalFor = (audience: string): PrincipalFacts | undefined => {
      const policy = inForce().find((each) => each.audience === audience);
      if (policy === undefined) return undefined;
      let mapped = known.get(policy);
      if (mapped === undefined) known.set(policy, (mapped = map(policy)));
      return mapped.ok ? mapped.principal : undefined;
    };
    const audiences = () =>
      inForce()
        .map(({ audience }) => audience)
        .filter((audience) => principalFor(audience) !== undefined)
        .toSorted();
    return {
      principalFor,
      audiences,
      expiresMs,
      get name() {
        const [first] = audiences();
        return (first === undefined ? undefined : principalFor(first)?.name) ?? "";
      },
    };
  }

  /** The issuers of the policies as they are now: those that went are forgotten, with their keys. */
  #follow(): void {
    const { policies, development, clock, fetchText, logger, random } = this.#options;
    const inForce = policies.policies();
    const trusted = new Set(inForce.flatMap((policy) => policy.issuers.map(({ issuer }) => issuer)));
    this.#serviceAudiences = new Set(
      inForce.flatMap((policy) => [policy.audience, ...policy.issuers.flatMap(({ audiences }) => audiences)]),
    );
    for (const [issuer, source] of this.#issuers) {
      if (trusted.has(issuer)) continue;
      source[Symbol.dispose]();
      this.#issuers.delete(issuer);
    }
    for (const issuer of trusted) {
      if (this.#issuers.has(issuer) || issuer === development?.issuer) continue;
      const onChange = () => {
        for (const listener of this.#listeners) listener(issuer);
      };
      this.#issuers.set(issuer, new IssuerKeys({ issuer, clock, fetchText, logger, random, onChange }));
    }
  }
}

function deny(reason: Denial["reason"], message: string, metadata: Record<string, string> = {}): Authentication {
  return { ok: false, denial: { reason, message, metadata } };
}

function instant(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}
