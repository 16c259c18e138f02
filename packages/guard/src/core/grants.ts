// The grants that a call presents: taken apart, verified once per exact token, held against what the guard knows.
// Owns the cache of grants seen before. Never decides: what a shown elevation permits is the evaluator's to say.
import type { PrincipalFacts } from "@brevet/policy";
import { type GrantClaims, grantMethods, judgeGrant, MAX_GRANTS, type ReasonName, verifyGrant } from "@brevet/protocol";
import {
  type Elevation,
  ElevationSchema,
  ElevationState,
  PersonalBytesSchema,
  PersonalTextSchema,
  Presentation,
  PrincipalSchema,
} from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { BoundedMap } from "./bounded.ts";
import { isoTime } from "./call.ts";
import { FailureLimit } from "./failures.ts";
import { isOpen, type Knowledge, type KnownKeys } from "./knowledge.ts";

const MAX_TOKENS = 10_000;

/** Why a grant does not count. */
export interface GrantProblem {
  readonly reason: ReasonName;
  readonly facts: Readonly<Record<string, string>>;
}

/** What the grants of one call amount to. */
export interface Shown {
  /** Ids of the principal's elevations for which a good grant for the method came. */
  readonly presented: ReadonlyMap<string, "grant">;
  /** Elevations as grants of a later revision, in the same epoch of the log, than is known here prove them: they stand for what is known of the same ones. */
  readonly ahead: readonly Elevation[];
  /** The first instant at which a grant of those counts no more, milliseconds since 1970; absent where there are none. */
  readonly aheadUntilMs?: number;
  /** The furthest problem of the grants that do not count. */
  readonly problem?: GrantProblem;
}

/** The caller, the called method and the time that grants are judged at. */
export interface Showing {
  readonly method: string;
  readonly principal: PrincipalFacts;
  readonly peer: string;
  readonly nowMs: number;
  readonly errorMs: number;
}

/** What no grants amount to. */
export const NOTHING_SHOWN: Shown = { presented: new Map(), ahead: [] };

/** The order of the checks: a problem further on says more. */
const ORDER: readonly ReasonName[] = [
  "REQUEST_QUOTA_EXCEEDED",
  "GRANT_MALFORMED",
  "GRANT_ALGORITHM_REJECTED",
  "GRANT_TYPE_REJECTED",
  "GRANT_KEY_UNKNOWN",
  "GRANT_SIGNATURE_INVALID",
  "GRANT_ISSUER_UNKNOWN",
  "GRANT_AUDIENCE_MISMATCH",
  "GRANT_PRINCIPAL_MISMATCH",
  "GRANT_PROOF_INVALID",
  "GRANT_NOT_YET_VALID",
  "GRANT_EXPIRED",
  "GRANT_SCOPE_MISMATCH",
];

/** Verifies the grants of one audience. */
export class Grants {
  readonly #limit: FailureLimit;
  /** Claims of tokens whose signature is good. */
  readonly #verified = new BoundedMap<string, GrantClaims>(MAX_TOKENS);
  #keys: KnownKeys | undefined;

  constructor(limit: FailureLimit = new FailureLimit()) {
    this.#limit = limit;
  }

  /** Tokens remembered. */
  get size(): number {
    return this.#verified.size;
  }

  /** What the values of `brevet-grant` amount to for one call. */
  show(knowledge: Knowledge, values: readonly string[], showing: Showing): Shown {
    if (values.length === 0) return NOTHING_SHOWN;
    if (this.#keys !== knowledge.keys) {
      // A removed key takes what it signed with it.
      this.#keys = knowledge.keys;
      this.#verified.clear();
    }
    const presented = new Map<string, "grant">();
    const ahead: Elevation[] = [];
    let aheadUntilMs: number | undefined;
    let problem: GrantProblem | undefined;
    for (const token of split(values)) {
      const shown = this.#one(knowledge, token, showing);
      if ("reason" in shown) {
        if (problem === undefined || ORDER.indexOf(shown.reason) > ORDER.indexOf(problem.reason)) problem = shown;
        continue;
      }
      presented.set(shown.id, "grant");
      if (shown.ahead === undefined) continue;
      ahead.push(shown.ahead.elevation);
      aheadUntilMs = Math.min(aheadUntilMs ?? Infinity, shown.ahead.untilMs);
    }
    return { presented, ahead, ...(aheadUntilMs !== undefined && { aheadUntilMs }), ...(problem && { problem }) };
  }

  #one(
    knowledge: Knowledge,
    token: string,
    showing: Showing,
  ): { id: string; ahead?: { elevation: Elevation; untilMs: number } } | GrantProblem {
    const { principal, method } = showing;
    const checked = this.#verify(knowledge, token, showing);
    if ("reason" in checked) return checked;
    // The delegate of a chain has its own identity; nobody else's grant counts, and unknown elevations look the same.
    if (checked.act !== undefined) return { reason: "GRANT_PRINCIPAL_MISMATCH", facts: {} };
    const { elevation: id } = checked;
    const known = knowledge.elevation(id);
    // After a restore the log counts anew from an older point: what was granted in between may have been revoked since.
    if (checked.epoch !== knowledge.epoch) return { reason: "GRANT_PRINCIPAL_MISMATCH", facts: {} };
    if (known !== undefined && known.requester?.name !== principal.name) return { reason: "GRANT_PRINCIPAL_MISMATCH", facts: {} };
    if (!grantMethods(checked).includes(method)) return { reason: "GRANT_SCOPE_MISMATCH", facts: { elevation: id } };
    if (knowledge.revision >= BigInt(checked.rev)) return known === undefined ? { reason: "GRANT_PRINCIPAL_MISMATCH", facts: {} } : { id };
    // What is over does not come back, and what is known of it may be newer than what is known of the log.
    if (known !== undefined && (!isOpen(known) || known.revision >= BigInt(checked.rev))) return { id };
    return { id, ahead: { elevation: proven(checked, known), untilMs: checked.exp * 1000 } };
  }

  /** The claims of a grant that is good by itself. */
  #verify(knowledge: Knowledge, token: string, { principal, peer, nowMs, errorMs }: Showing): GrantClaims | GrantProblem {
    const at = {
      keys: knowledge.keys.grants,
      issuer: knowledge.grantIssuer,
      audience: knowledge.audience,
      principal: principal.name,
      // No form of guard proves a caller's key yet: a bound grant counts for nothing rather than for anybody.
      proofs: [],
      nowMs,
      errorMs,
      reachedMs: knowledge.heardMs,
    };
    const known = this.#verified.get(token);
    const waitMs = known === undefined ? this.#limit.waitMs(peer, nowMs) : 0;
    if (waitMs > 0) return { reason: "REQUEST_QUOTA_EXCEEDED", facts: { limit: "failed token checks" } };
    const check = known === undefined ? verifyGrant(token, at) : judgeGrant(known, at);
    if (check.ok) {
      if (known === undefined) this.#verified.set(token, check.claims);
      return check.claims;
    }
    const { claims, reason, problem } = check;
    if (known === undefined) {
      if (claims !== undefined) this.#verified.set(token, claims);
      // What fails before its signature is checked costs next to nothing.
      else if (reason === "GRANT_SIGNATURE_INVALID") this.#limit.failed(peer, nowMs);
    }
    // What a grant says is told to nobody but its own principal.
    const own = claims?.sub === principal.name ? claims : undefined;
    return { reason, facts: factsOf(reason, problem, own, knowledge, nowMs) };
  }
}

/** The tokens: repeated metadata arrives as one value joined by commas. Those beyond the fourth are not looked at. */
function split(values: readonly string[]): readonly string[] {
  return values
    .flatMap((value) => value.split(","))
    .map((token) => token.trim())
    .filter((token) => token !== "")
    .slice(0, MAX_GRANTS);
}

/** The elevation of a grant that was made after what this guard knows: ACTIVE, with the terms that the authority signed. */
function proven(claims: GrantClaims, known: Elevation | undefined): Elevation {
  const [{ entitlement, condition, payload }] = claims.authorization_details;
  const elevation = create(ElevationSchema, {
    id: claims.elevation,
    audience: claims.aud,
    entitlement,
    state: ElevationState.ACTIVE,
    requester: create(PrincipalSchema, { name: claims.sub }),
    methods: [...grantMethods(claims)],
    windowStart: timestampFromMs(claims.nbf * 1000),
    windowEnd: timestampFromMs(claims.window_end * 1000),
    presentation: known?.presentation ?? Presentation.GRANT,
    revision: BigInt(claims.rev),
  });
  if (condition !== undefined) elevation.condition = create(PersonalTextSchema, { text: condition });
  if (payload !== undefined) elevation.payloadDigest = create(PersonalBytesSchema, { value: Buffer.from(payload, "base64url") });
  if (known) elevation.streamExpiry = known.streamExpiry;
  if (known?.drain) elevation.drain = known.drain;
  if (known?.payloadUseTime) elevation.payloadUseTime = known.payloadUseTime;
  return elevation;
}

function factsOf(
  reason: ReasonName,
  problem: string,
  claims: GrantClaims | undefined,
  knowledge: Knowledge,
  nowMs: number,
): Record<string, string> {
  const elevation = claims === undefined ? {} : { elevation: claims.elevation };
  switch (reason) {
    case "GRANT_MALFORMED":
      return { problem };
    case "GRANT_ISSUER_UNKNOWN":
      return { expectedIssuer: knowledge.grantIssuer };
    case "GRANT_AUDIENCE_MISMATCH":
      return { expectedAudience: knowledge.audience };
    case "GRANT_PROOF_INVALID":
      return elevation;
    case "GRANT_EXPIRED":
      return claims === undefined
        ? {}
        : { ...elevation, expiredAt: isoTime(claims.exp * 1000), skewMs: String(Math.round(nowMs - claims.exp * 1000)) };
    case "GRANT_NOT_YET_VALID":
      return claims === undefined ? {} : { ...elevation, validFrom: isoTime(claims.nbf * 1000) };
    default:
      return {};
  }
}
