// Grants: the signed, short-lived tokens of ACTIVE elevations, made and checked. Owns their one format and the order of the checks.
// Reads no clock and holds no key; whether the elevation still lives is for the caller to say.
import { type KeyObject, sign, verify } from "node:crypto";
import { GRANT_DETAIL_TYPE, GRANT_TYPE } from "../names.ts";
import type { ReasonName } from "../reason/catalogue.ts";
import { type GrantClaims, readClaims } from "./claims.ts";
import { parseJws } from "./jws.ts";

export type { GrantClaims } from "./claims.ts";

const ALGORITHM = "EdDSA";
const SIGNATURE_BYTES = 64;

/** A grant whose form is right; nothing in it is verified. */
export type GrantForm =
  | { readonly ok: true; readonly claims: GrantClaims; readonly kid: string; readonly signingInput: string; readonly signature: Uint8Array }
  | { readonly ok: false; readonly reason: ReasonName; readonly problem: string };

/** A grant that passed, or the first check that it failed. `claims` of a failed one are there only if the signature is good. */
export type GrantCheck =
  | { readonly ok: true; readonly claims: GrantClaims }
  | { readonly ok: false; readonly reason: ReasonName; readonly problem: string; readonly claims?: GrantClaims };

/** What a grant is held against. */
export interface GrantExpectation {
  /** The authority's Ed25519 keys, by thumbprint. */
  readonly keys: ReadonlyMap<string, KeyObject>;
  readonly issuer: string;
  readonly audience: string;
  /** Name of the caller that presents it; absent: whose it is, is not judged here. */
  readonly principal?: string;
  /** Thumbprints of the keys that the caller proved; absent: what it is bound to, is not judged here. */
  readonly proofs?: readonly string[];
  /** The authority's time, and how far it may be off. */
  readonly nowMs: number;
  readonly errorMs: number;
  /** An instant that the authority has surely reached, whatever the error: nothing before it is in the future. */
  readonly reachedMs?: number;
}

/** Signs a grant. Throws TypeError for claims that no guard would take: that is a defect of the caller, not an outcome. */
export function signGrant(claims: GrantClaims, key: { readonly kid: string; readonly privateKey: KeyObject }): string {
  const header = { alg: ALGORITHM, typ: GRANT_TYPE, kid: key.kid };
  const signingInput = `${encode(header)}.${encode(claims)}`;
  const token = `${signingInput}.${sign(null, Buffer.from(signingInput), key.privateKey).toString("base64url")}`;
  const form = parseGrant(token);
  if (!form.ok) throw new TypeError(`cannot sign: ${form.problem}`);
  return token;
}

/** Form, algorithm, type, key id and the shape of the claims; no key is looked at. */
export function parseGrant(token: string): GrantForm {
  const form = parseJws(token);
  if (!form.ok) return { ok: false, reason: "GRANT_MALFORMED", problem: form.problem };
  if (form.alg !== ALGORITHM) return { ok: false, reason: "GRANT_ALGORITHM_REJECTED", problem: `a grant is signed with ${ALGORITHM}` };
  if (form.typ !== GRANT_TYPE) return { ok: false, reason: "GRANT_TYPE_REJECTED", problem: `a grant's typ is ${GRANT_TYPE}` };
  if (form.kid === undefined) return { ok: false, reason: "GRANT_KEY_UNKNOWN", problem: "the grant names no key" };
  const claims = readClaims(form.claims);
  if (!claims.ok) return { ok: false, reason: "GRANT_MALFORMED", problem: claims.problem };
  return { ok: true, claims: claims.claims, kid: form.kid, signingInput: form.signingInput, signature: form.signature };
}

/**
 * Checks a grant: form, algorithm, type, key, signature, issuer, audience, principal and proof, times; the first failure is the answer.
 * Whether it covers the method comes last, and is the caller's to ask. An end is judged at `nowMs + errorMs`, a start at
 * `nowMs - errorMs` or `reachedMs`, so that no clock error makes a grant last longer.
 */
export function verifyGrant(token: string, at: GrantExpectation): GrantCheck {
  const form = parseGrant(token);
  if (!form.ok) return form;
  const key = at.keys.get(form.kid);
  if (key?.asymmetricKeyType !== "ed25519")
    return { ok: false, reason: "GRANT_KEY_UNKNOWN", problem: "the grant's key is not among the authority's" };
  if (form.signature.length !== SIGNATURE_BYTES || !verify(null, Buffer.from(form.signingInput), key, form.signature))
    return { ok: false, reason: "GRANT_SIGNATURE_INVALID", problem: "the signature is not that of the named key" };
  return judgeGrant(form.claims, at);
}

/** What is left to check of a grant whose signature was verified before: issuer, audience, principal and proof, times. For caches keyed by the exact token. */
export function judgeGrant(claims: GrantClaims, at: Omit<GrantExpectation, "keys">): GrantCheck {
  const refuse = (reason: ReasonName, problem: string): GrantCheck => ({ ok: false, reason, problem, claims });
  if (claims.iss !== at.issuer) return refuse("GRANT_ISSUER_UNKNOWN", "the grant is from another authority");
  if (claims.aud !== at.audience) return refuse("GRANT_AUDIENCE_MISMATCH", "the grant is for another audience");
  if (at.principal !== undefined && claims.sub !== at.principal) return refuse("GRANT_PRINCIPAL_MISMATCH", "the grant is somebody else's");
  const { cnf } = claims;
  const { proofs } = at;
  if (cnf !== undefined && proofs !== undefined && !Object.values(cnf).every((thumbprint) => proofs.includes(thumbprint)))
    return refuse("GRANT_PROOF_INVALID", "the caller did not prove the key that the grant is bound to");
  const earliestMs = Math.max(at.nowMs - at.errorMs, at.reachedMs ?? -Infinity);
  if (at.nowMs + at.errorMs >= claims.exp * 1000) return refuse("GRANT_EXPIRED", "the grant is past its end");
  if (earliestMs < claims.nbf * 1000) return refuse("GRANT_NOT_YET_VALID", "the grant is not valid yet");
  // An issue time that surely lies ahead would stretch the 15 minutes, which are counted from it.
  if (Math.max(earliestMs, at.nowMs + at.errorMs) < claims.iat * 1000)
    return refuse("GRANT_NOT_YET_VALID", "the grant was issued in the future");
  return { ok: true, claims };
}

/** The methods that a grant covers. */
export function grantMethods(claims: GrantClaims): readonly string[] {
  return claims.authorization_details.flatMap((detail) => (detail.type === GRANT_DETAIL_TYPE ? detail.actions : []));
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
