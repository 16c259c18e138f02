// Who calls: one bearer token or one client certificate, verified and mapped to a principal, each failure with its exact reason.
// Owns the cache of tokens seen before. Never fetches a key, and never repeats a token's text.
import { mapClaims, mapDevelopmentClaims, mapSpiffe, type PrincipalFacts } from "@brevet/policy";
import { type JsonObject, parseJws, type ReasonName } from "@brevet/protocol";
import { compactVerify } from "jose";
import { BoundedMap, TailCache } from "./bounded.ts";
import { type ClientCertificate, type GuardedCall, type GuardRefusal, isoTime, refuse } from "./call.ts";
import { FailureLimit } from "./failures.ts";
import type { Knowledge, KnownIssuer, KnownKeys, KnownPolicy } from "./knowledge.ts";

/** Leeway for the times of foreign tokens; Brevet's own have none. */
const LEEWAY_MS = 30_000;
const MAX_TOKENS = 10_000;
/** Kept apart, so that bad tokens never push good ones out. */
const MAX_REFUSED = 1000;
const MAX_WAITING = 1000;
const BUSY_RETRY_MS = 1000;

/** Algorithms with a public key; shared secrets and `none` are never accepted. */
const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
const TYPES = new Set(["jwt", "at+jwt", "application/jwt", "application/at+jwt"]);

/** Found out before any signature is checked: they use up nothing of what a peer's failures may cost. */
const CHEAP: ReadonlySet<ReasonName> = new Set<ReasonName>(["IDENTITY_KEY_UNKNOWN", "IDENTITY_ALGORITHM_REJECTED"]);

/** A verified caller, or why there is none. */
export type Identified = { readonly ok: true; readonly principal: PrincipalFacts } | { readonly ok: false; readonly refusal: GuardRefusal };

/** What does not change about one token while keys and policy stay. */
interface Checked {
  readonly outcome: Identified;
  readonly startMs: number;
  readonly endMs: number;
}

/** Verifies identities for one audience. */
export class Identities {
  readonly #authorityAudience: string;
  readonly #limit: FailureLimit;
  /** Of those in {@link #checked}, the ones that come all the time. */
  readonly #recent = new TailCache<Checked>();
  /** By the value of `authorization`. */
  readonly #checked = new BoundedMap<string, Checked>(MAX_TOKENS);
  /** Those that were good by whatever keys and policy: they are checked anew, however often others at their address fail. */
  readonly #good = new BoundedMap<string, true>(MAX_TOKENS);
  readonly #refused = new BoundedMap<string, Checked>(MAX_REFUSED);
  readonly #waiting = new Map<string, Promise<Checked>>();
  #certificates = new WeakMap<ClientCertificate, Identified>();
  #keys: KnownKeys | undefined;
  #policy: KnownPolicy | undefined;

  constructor(options: { readonly authorityAudience: string; readonly limit?: FailureLimit }) {
    this.#authorityAudience = options.authorityAudience;
    this.#limit = options.limit ?? new FailureLimit();
  }

  /** Tokens remembered. */
  get size(): number {
    return this.#checked.size;
  }

  /** The caller of one call. At once for a token that was seen before, or that is wrong in form; else after its signature was checked. */
  identify(knowledge: Knowledge, policy: KnownPolicy, call: GuardedCall, nowMs: number): Identified | Promise<Identified> {
    if (this.#keys !== knowledge.keys || this.#policy !== policy) this.#forget(knowledge.keys, policy);
    const [header] = call.authorization;
    if (header === undefined) return this.#fromCertificate(policy, call, nowMs);
    const recent = this.#recent.get(header);
    if (recent !== undefined && call.authorization.length === 1) return judgeTimes(recent, nowMs);
    if (call.authorization.length > 1) return failed("IDENTITY_MALFORMED", { problem: "authorization was sent more than once" });
    // By the whole value, which has the token in it: cutting it out on every call would cost as much as the rest of the decision.
    const good = this.#checked.get(header);
    if (good !== undefined) this.#recent.set(header, good);
    const known = good ?? this.#refused.get(header);
    if (known !== undefined) return judgeTimes(known, nowMs);
    return this.#firstLook(knowledge, policy, header, call.peer, nowMs);
  }

  #firstLook(knowledge: Knowledge, policy: KnownPolicy, header: string, peer: string, nowMs: number): Identified | Promise<Identified> {
    const token = bearer(header);
    if (token === undefined) return failed("IDENTITY_MALFORMED", { problem: "authorization is not one Bearer token" });
    const waiting = this.#waiting.get(header);
    if (waiting !== undefined) return waiting.then((checked) => judgeTimes(checked, nowMs));
    const waitMs = this.#good.get(header) === true ? 0 : this.#limit.waitMs(peer, nowMs);
    if (waitMs > 0) return tooMany(waitMs);
    const form = parseJws(token);
    const wrong = formProblem(form, knowledge);
    if (wrong !== undefined) return wrong;
    const issuer = form.ok && typeof form.claims.iss === "string" ? knowledge.keys.issuers.get(form.claims.iss) : undefined;
    if (!form.ok || issuer === undefined) return failed("IDENTITY_ISSUER_UNKNOWN", {});
    if (issuer.keys === undefined)
      return { ok: false, refusal: { ...refuse("KEYS_UNAVAILABLE", { issuer: issuer.issuer }), retryDelayMs: BUSY_RETRY_MS } };
    if (this.#waiting.size >= MAX_WAITING) return tooMany(BUSY_RETRY_MS);
    const check = this.#check(policy, issuer, issuer.keys, token, form.claims);
    this.#waiting.set(header, check);
    return check.then(
      (checked) => {
        this.#waiting.delete(header);
        if (checked.outcome.ok) this.#good.set(header, true);
        if (!checked.outcome.ok && !CHEAP.has(checked.outcome.refusal.reason)) this.#limit.failed(peer, nowMs);
        if (this.#keys === knowledge.keys && this.#policy === policy)
          (checked.outcome.ok ? this.#checked : this.#refused).set(header, checked);
        return judgeTimes(checked, nowMs);
      },
      (error: unknown) => {
        this.#waiting.delete(header);
        throw error;
      },
    );
  }

  async #check(
    policy: KnownPolicy,
    issuer: KnownIssuer,
    keys: NonNullable<KnownIssuer["keys"]>,
    token: string,
    claims: JsonObject,
  ): Promise<Checked> {
    const never = (reason: ReasonName, facts: Record<string, string>): Checked => ({
      outcome: failed(reason, facts),
      startMs: 0,
      endMs: Infinity,
    });
    try {
      await compactVerify(token, keys, { algorithms: ALGORITHMS });
    } catch (error) {
      return never(reasonOf(error), { issuer: issuer.issuer });
    }
    const wrong = audienceProblem(policy, issuer, claims.aud, this.#authorityAudience);
    if (wrong !== undefined) return never("IDENTITY_AUDIENCE_MISMATCH", { expectedAudience: wrong });
    const times = timesOf(claims);
    if (typeof times === "string") return never("IDENTITY_MALFORMED", { problem: times });
    const { compiled } = policy;
    const mapped = issuer.development ? mapDevelopmentClaims(compiled, claims) : mapClaims(compiled, issuer.issuer, claims);
    if (!mapped.ok) return never("IDENTITY_MALFORMED", { problem: mapped.problem });
    return { outcome: { ok: true, principal: mapped.principal }, ...times };
  }

  #fromCertificate(policy: KnownPolicy, call: GuardedCall, nowMs: number): Identified {
    if (policy.compiled.trustDomains.size === 0) return failed("IDENTITY_MISSING", {});
    const certificate = call.certificate?.();
    if (certificate === undefined) return failed("IDENTITY_MISSING", {});
    if (nowMs - LEEWAY_MS >= certificate.notAfterMs) return expired(certificate.notAfterMs, nowMs);
    if (nowMs + LEEWAY_MS < certificate.notBeforeMs) return notYet(certificate.notBeforeMs, nowMs);
    const known = this.#certificates.get(certificate);
    if (known !== undefined) return known;
    const [uri, ...more] = certificate.uris;
    // Exactly one (X.509-SVID, 2): several would let the caller choose who to be.
    const mapped = uri === undefined || more.length > 0 ? undefined : mapSpiffe(policy.compiled, uri);
    const identified: Identified = mapped?.ok
      ? { ok: true, principal: mapped.principal }
      : failed("IDENTITY_MISSING", { problem: mapped?.problem ?? "the client certificate has not exactly one URI" });
    this.#certificates.set(certificate, identified);
    return identified;
  }

  /** Keys or policy changed: what was verified and mapped by the old ones counts no longer. */
  #forget(keys: KnownKeys, policy: KnownPolicy): void {
    this.#keys = keys;
    this.#policy = policy;
    this.#recent.clear();
    this.#checked.clear();
    this.#refused.clear();
    this.#waiting.clear();
    this.#certificates = new WeakMap();
  }
}

/** The token of `Bearer <token>`; the scheme in any case (RFC 9110, 11.1), one space. */
function bearer(header: string): string | undefined {
  return header.length > 7 && header.slice(0, 7).toLowerCase() === "bearer " && !header.includes(",") ? header.slice(7) : undefined;
}

function formProblem(form: ReturnType<typeof parseJws>, knowledge: Knowledge): Identified | undefined {
  if (!form.ok) return failed("IDENTITY_MALFORMED", { problem: form.problem });
  if (!ALGORITHMS.includes(form.alg)) return failed("IDENTITY_ALGORITHM_REJECTED", { algorithm: form.alg });
  if (form.typ !== undefined && !TYPES.has(form.typ.toLowerCase())) return failed("IDENTITY_TYPE_REJECTED", { type: form.typ });
  const { iss } = form.claims;
  if (typeof iss !== "string") return failed("IDENTITY_MALFORMED", { problem: "the claim iss is not a text" });
  return knowledge.keys.issuers.has(iss) ? undefined : failed("IDENTITY_ISSUER_UNKNOWN", { issuer: iss });
}

function reasonOf(error: unknown): ReasonName {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
  if (code === "ERR_JWS_SIGNATURE_VERIFICATION_FAILED") return "IDENTITY_SIGNATURE_INVALID";
  if (code === "ERR_JOSE_ALG_NOT_ALLOWED") return "IDENTITY_ALGORITHM_REJECTED";
  if (code === "ERR_JWS_INVALID") return "IDENTITY_MALFORMED";
  // No key, several without a key id to choose by, or one that cannot be used with the algorithm.
  return "IDENTITY_KEY_UNKNOWN";
}

/** The audience that was expected, if the token is not for it; a token that is also for the authority is for neither. */
function audienceProblem(policy: KnownPolicy, issuer: KnownIssuer, aud: unknown, authorityAudience: string): string | undefined {
  const { compiled } = policy;
  const values: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  const rule = compiled.issuers.find((each) => each.issuer === issuer.issuer);
  const accepted = issuer.development ? [compiled.audience] : (rule?.audiences ?? []);
  const fits = values.some((value) => typeof value === "string" && accepted.includes(value)) && !values.includes(authorityAudience);
  return fits ? undefined : (accepted[0] ?? compiled.audience);
}

function timesOf(claims: JsonObject): { startMs: number; endMs: number } | string {
  const { exp, nbf, iat } = claims;
  if (typeof exp !== "number" || !isTime(exp)) return "the claim exp is not a time";
  if (nbf !== undefined && (typeof nbf !== "number" || !isTime(nbf))) return "the claim nbf is not a time";
  if (iat !== undefined && (typeof iat !== "number" || !isTime(iat))) return "the claim iat is not a time";
  return { startMs: Math.max(nbf ?? 0, iat ?? 0) * 1000, endMs: exp * 1000 };
}

function isTime(seconds: number): boolean {
  return Number.isFinite(seconds) && seconds >= 0 && seconds <= 253_402_300_799;
}

function judgeTimes(checked: Checked, nowMs: number): Identified {
  if (!checked.outcome.ok) return checked.outcome;
  if (nowMs - LEEWAY_MS >= checked.endMs) return expired(checked.endMs, nowMs);
  if (nowMs + LEEWAY_MS < checked.startMs) return notYet(checked.startMs, nowMs);
  return checked.outcome;
}

function expired(endMs: number, nowMs: number): Identified {
  return failed("IDENTITY_EXPIRED", { expiredAt: isoTime(endMs), skewMs: String(Math.round(nowMs - endMs)) });
}

function notYet(startMs: number, nowMs: number): Identified {
  return failed("IDENTITY_NOT_YET_VALID", { validFrom: isoTime(startMs), skewMs: String(Math.round(startMs - nowMs)) });
}

function tooMany(waitMs: number): Identified {
  return { ok: false, refusal: { ...refuse("REQUEST_QUOTA_EXCEEDED", { limit: "failed token checks" }), retryDelayMs: waitMs } };
}

function failed(reason: ReasonName, facts: Readonly<Record<string, string>>): Identified {
  return { ok: false, refusal: refuse(reason, facts) };
}
