// The checks of one bearer identity token, in their order, each with its own reason. The first that fails is the answer.
// Never fetches a URL that a token names, never repeats a token's text, and says nothing of any policy.
import { type Denial, type JsonObject, type JwsForm, parseJws, type ReasonName } from "@brevet/protocol";
import { IDENTITY_ALGORITHMS, type KeySet } from "./keyset.ts";

/** Leeway for the clocks of foreign issuers. */
export const LEEWAY_MS = 30_000;

const TYPES = new Set(["jwt", "at+jwt", "application/at+jwt"]);
const KEYS_RETRY_MS = 5000;

/** What a token is held against. */
export interface TokenExpectation {
  /** The authority's own audience. */
  readonly audience: string;
  /** Audiences of services: a token that names one of them was made for that service. */
  readonly serviceAudiences: ReadonlySet<string>;
  readonly nowMs: number;
  /** The keys of an issuer; undefined: it is not known, "unavailable": they could not be had. */
  keysOf(issuer: string, kid: string | undefined): Promise<KeySet | "unavailable" | undefined>;
}

/** A good token's claims, or why it is none. */
export type TokenCheck =
  | { readonly ok: true; readonly issuer: string; readonly claims: JsonObject; readonly expiresMs: number }
  | { readonly ok: false; readonly denial: Denial };

/** The token of an `authorization` header that was sent once; a problem otherwise. */
export function bearerToken(values: readonly string[]): { readonly token: string } | { readonly problem: string } {
  const [value = "", ...more] = values;
  if (more.length > 0) return { problem: "authorization was sent more than once" };
  const token = /^bearer +(\S*)$/i.exec(value)?.[1];
  if (token === undefined) return { problem: "authorization is not one `Bearer <token>`" };
  return token.includes(",") ? { problem: "authorization was sent more than once" } : { token };
}

/** Checks form, algorithm, type, issuer, key, signature, audience and times. */
export async function checkToken(token: string, expect: TokenExpectation): Promise<TokenCheck> {
  const form = parseJws(token);
  if (!form.ok) return fail("IDENTITY_MALFORMED", form.problem, { problem: form.problem });
  if (!IDENTITY_ALGORITHMS.has(form.alg)) {
    return fail("IDENTITY_ALGORITHM_REJECTED", `tokens signed with ${form.alg.slice(0, 32)} are not accepted`, { algorithm: form.alg });
  }
  if (form.typ !== undefined && !TYPES.has(form.typ.toLowerCase())) {
    return fail("IDENTITY_TYPE_REJECTED", `a token of type ${form.typ.slice(0, 64)} is no identity token`, { type: form.typ });
  }
  const issuer = form.claims["iss"];
  if (typeof issuer !== "string" || issuer === "") return malformed("the token names no issuer");
  const keys = await expect.keysOf(issuer, form.kid);
  if (keys === undefined) return fail("IDENTITY_ISSUER_UNKNOWN", "no policy here trusts the issuer of this token", { issuer });
  if (keys === "unavailable") {
    const denial = denialOf("KEYS_UNAVAILABLE", "the keys of the token's issuer could not be had yet; try again", { issuer });
    return { ok: false, denial: { ...denial, retryDelayMs: KEYS_RETRY_MS } };
  }
  const signed = await keys.verify(token, form);
  if (!signed.ok) {
    const detail = signed.reason === "IDENTITY_ALGORITHM_REJECTED" ? { algorithm: form.alg } : { issuer };
    return fail(signed.reason, signed.problem, detail);
  }
  return judgeClaims(form, issuer, expect);
}

function judgeClaims({ claims }: Extract<JwsForm, { ok: true }>, issuer: string, expect: TokenExpectation): TokenCheck {
  const { aud, exp, nbf, iat } = claims;
  const audiences = typeof aud === "string" ? [aud] : Array.isArray(aud) ? aud : [];
  const expectedAudience = expect.audience;
  if (!audiences.includes(expectedAudience)) {
    const made = `this is the authority: it takes tokens whose audience is ${expectedAudience}, and this one was made for another`;
    return fail("IDENTITY_AUDIENCE_MISMATCH", made, { expectedAudience });
  }
  if (
    audiences.some((audience) => typeof audience === "string" && audience !== expectedAudience && expect.serviceAudiences.has(audience))
  ) {
    const also = `a token that is good for a service is not good here: its audience must be ${expectedAudience} alone`;
    return fail("IDENTITY_AUDIENCE_MISMATCH", also, { expectedAudience });
  }
  if (!isTime(exp)) return malformed("the token has no end (exp)");
  if ((nbf !== undefined && !isTime(nbf)) || (iat !== undefined && !isTime(iat))) return malformed("nbf or iat is no time");
  const { nowMs } = expect;
  if (nowMs - LEEWAY_MS >= exp * 1000) {
    return fail("IDENTITY_EXPIRED", `the token ended at ${instant(exp)}`, { expiredAt: instant(exp), skewMs: skew(nowMs, exp) });
  }
  const from = Math.max(isTime(nbf) ? nbf : 0, isTime(iat) ? iat : 0);
  if (nowMs + LEEWAY_MS < from * 1000) {
    return fail("IDENTITY_NOT_YET_VALID", `the token is valid from ${instant(from)} on`, {
      validFrom: instant(from),
      skewMs: skew(nowMs, from),
    });
  }
  return { ok: true, issuer, claims, expiresMs: exp * 1000 };
}

function malformed(problem: string): TokenCheck {
  return fail("IDENTITY_MALFORMED", problem, { problem });
}

function fail(reason: ReasonName, message: string, metadata: Record<string, string>): TokenCheck {
  return { ok: false, denial: denialOf(reason, message, metadata) };
}

function denialOf(reason: ReasonName, message: string, metadata: Record<string, string>): Denial {
  return { reason, message, metadata };
}

/** A NumericDate (RFC 7519, 2) that a Date can hold. */
function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 && value <= 8.64e12;
}

function instant(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

/** By how much this clock would be ahead if the token were just in time. */
function skew(nowMs: number, seconds: number): string {
  return `${Math.round(nowMs - seconds * 1000)}`;
}
