// Looks into one token: every check in order, each with its outcome. Trusts nothing in the token, fetches nothing that it names.
import { GRANT_TYPE, keysOfJwks, parseJws, type ReasonName, verifyGrant } from "@brevet/protocol";
import { createLocalJWKSet, errors, type JSONWebKeySet, jwtVerify } from "jose";

/** What a token is held against; what is absent is not checked. */
export interface Expected {
  /** JWK set, JSON. */
  readonly jwks: string | undefined;
  readonly audience: string | undefined;
  readonly issuer: string | undefined;
  readonly nowMs: number;
}

/** One check. */
export interface TokenCheck {
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  readonly detail: string;
}

/** All that was found. */
export interface TokenReport {
  readonly ok: boolean;
  readonly kind: "grant" | "identity" | "unreadable";
  /** Of the first failing check. */
  readonly reason?: ReasonName;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly checks: readonly TokenCheck[];
}

/** Leeway for identity tokens of foreign issuers, as guards and the authority give it. */
const FOREIGN_LEEWAY_MS = 30_000;
const ALGORITHMS = ["EdDSA", "Ed25519", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

interface Step {
  readonly name: string;
  /** The reason's tail: `GRANT_…` or `IDENTITY_…`. */
  readonly tail: string;
  /** Undefined: passed. Text: why it failed. `null`: nothing to check it with. */
  readonly run: () => Promise<string | undefined | null> | string | undefined | null;
  readonly shows: string;
}

/** Inspects a token. Never throws; the report never holds the token or its signature. */
export async function inspectToken(token: string, expected: Expected): Promise<TokenReport> {
  const form = parseJws(token);
  if (!form.ok) {
    return {
      ok: false,
      kind: "unreadable",
      reason: "IDENTITY_MALFORMED",
      checks: [{ name: "form", outcome: "failed", detail: form.problem }],
    };
  }
  const { header, claims } = form;
  const grant = form.typ === GRANT_TYPE || "authorization_details" in claims;
  const prefix = grant ? "GRANT" : "IDENTITY";
  const leewayMs = grant ? 0 : FOREIGN_LEEWAY_MS;
  const seconds = (name: string) => (typeof claims[name] === "number" ? claims[name] * 1000 : undefined);
  const steps: Step[] = [
    {
      name: "algorithm",
      tail: "ALGORITHM_REJECTED",
      shows: form.alg,
      run: () =>
        (grant ? ["EdDSA", "Ed25519"] : ALGORITHMS).includes(form.alg) ? undefined : `${JSON.stringify(form.alg)} is not accepted`,
    },
    {
      name: "type",
      tail: "TYPE_REJECTED",
      shows: form.typ ?? "none",
      run: () => (grant ? (form.typ === GRANT_TYPE ? undefined : `a grant says ${GRANT_TYPE}`) : identityType(form.typ)),
    },
    { name: "key", tail: "KEY_UNKNOWN", shows: form.kid ?? "none", run: () => keyProblem(form.kid, expected.jwks) },
    { name: "signature", tail: "SIGNATURE_INVALID", shows: "", run: () => signatureProblem(token, grant, claims, expected) },
    {
      name: "issuer",
      tail: "ISSUER_UNKNOWN",
      shows: shownClaim(claims.iss),
      run: () => (expected.issuer === undefined ? null : claims.iss === expected.issuer ? undefined : `is not ${expected.issuer}`),
    },
    {
      name: "audience",
      tail: "AUDIENCE_MISMATCH",
      shows: shownClaim(claims.aud),
      run: () =>
        expected.audience === undefined
          ? null
          : [claims.aud].flat().includes(expected.audience)
            ? undefined
            : `is not for ${expected.audience}`,
    },
    {
      name: "not before",
      tail: "NOT_YET_VALID",
      shows: isoTime(seconds("nbf") ?? seconds("iat")),
      run: () => ((seconds("nbf") ?? seconds("iat") ?? 0) - leewayMs > expected.nowMs ? "lies ahead" : undefined),
    },
    {
      name: "expiry",
      tail: "EXPIRED",
      shows: isoTime(seconds("exp")),
      run: () =>
        seconds("exp") === undefined ? "there is none" : (seconds("exp") ?? 0) + leewayMs <= expected.nowMs ? "has passed" : undefined,
    },
  ];
  const checks: TokenCheck[] = [{ name: "form", outcome: "passed", detail: "" }];
  let reason: ReasonName | undefined;
  for (const step of steps) {
    const problem = await step.run();
    const outcome = problem === undefined ? "passed" : problem === null ? "skipped" : "failed";
    checks.push({
      name: step.name,
      outcome,
      detail: [step.shows, problem ?? ""].filter((text) => text !== "").join(" ") + (problem === null ? " (nothing to check it with)" : ""),
    });
    if (outcome === "failed") reason ??= `${prefix}_${step.tail}` as ReasonName;
  }
  return {
    ok: reason === undefined,
    kind: grant ? "grant" : "identity",
    ...(reason === undefined ? {} : { reason }),
    header,
    claims,
    checks,
  };
}

/** A claim as it stands; text without its quotes. */
function shownClaim(value: unknown): string {
  return typeof value === "string" ? value : value === undefined ? "none" : JSON.stringify(value);
}

function identityType(typ: string | undefined): string | undefined {
  return typ === undefined || /^(application\/)?(jwt|at\+jwt)$/i.test(typ)
    ? undefined
    : "says that it is something else than an identity token";
}

function keyProblem(kid: string | undefined, jwks: string | undefined): string | undefined | null {
  if (jwks === undefined) return null;
  const kids = keyIds(jwks);
  if (kids === undefined) return "the key set is not a JWK set";
  if (kid === undefined) return kids.length === 1 ? undefined : "the token names no key, and there are several";
  return kids.includes(kid) ? undefined : "is not among the keys";
}

function keyIds(jwks: string): string[] | undefined {
  try {
    const { keys } = JSON.parse(jwks) as Partial<JSONWebKeySet>;
    return Array.isArray(keys) ? keys.map((key) => key.kid ?? "") : undefined;
  } catch {
    return undefined;
  }
}

async function signatureProblem(
  token: string,
  grant: boolean,
  claims: Readonly<Record<string, unknown>>,
  { jwks, nowMs }: Expected,
): Promise<string | undefined | null> {
  if (jwks === undefined || keyIds(jwks) === undefined) return null;
  if (grant) {
    const at = { keys: keysOfJwks(jwks), issuer: shownClaim(claims.iss), audience: shownClaim(claims.aud), nowMs, errorMs: 0 };
    const check = verifyGrant(token, at);
    return check.ok || !/KEY_UNKNOWN|SIGNATURE|ALGORITHM|TYPE|MALFORMED/.test(check.reason) ? undefined : check.problem;
  }
  try {
    await jwtVerify(token, createLocalJWKSet(JSON.parse(jwks) as JSONWebKeySet), {
      algorithms: ALGORITHMS,
      currentDate: new Date(nowMs),
      clockTolerance: Number.MAX_SAFE_INTEGER / 1000,
    });
    return undefined;
  } catch (error) {
    if (error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed) return undefined;
    return error instanceof errors.JOSEError ? error.message : "cannot be checked";
  }
}

function isoTime(ms: number | undefined): string {
  return ms === undefined ? "none" : Math.abs(ms) > 8.64e15 ? "absurd" : new Date(ms).toISOString();
}
