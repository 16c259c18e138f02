// What new calls and running streams have in common when they are judged: staleness, observing, and how a denial becomes a refusal.
// Pure; never looks anything up.
import { createHash } from "node:crypto";
import { type CallFacts, type Decision, type Denied, evaluate, type PrincipalFacts } from "@brevet/policy";
import type { TimeEstimate } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { type GuardPermit, type GuardRefusal, isoTime, refuse } from "./call.ts";
import type { Shown } from "./grants.ts";
import type { Knowledge, KnownPolicy } from "./knowledge.ts";

/** A clock that is less certain than this counts as stale. */
export const MAX_ERROR_MS = 1000;
const STALE_RETRY_MS = 5000;

/** The decision as it is when it is enforced, also where `mode: observe` lets refusals pass. */
export function enforced(policy: KnownPolicy["compiled"], facts: CallFacts): Decision {
  const decision = evaluate(policy, facts);
  return decision.permit && decision.observed !== undefined ? decision.observed : decision;
}

/** With `mode: observe` a refusal permits, and is carried along to be logged. */
export function settle(policy: KnownPolicy, refusal: GuardRefusal): GuardPermit | GuardRefusal {
  if (policy.compiled.mode === "enforce") return refusal;
  return { kind: "permit", observed: refusal, ...(refusal.principal && { principal: refusal.principal }) };
}

export function refusalOf(denied: Denied, principal: PrincipalFacts | undefined): GuardRefusal {
  const { reason, facts, offers, elevation } = denied;
  return { kind: "refuse", reason, facts, offers, ...(principal && { principal }), ...(elevation && { elevation }) };
}

/** As it was before the one use of its approval. */
export function unused(elevation: Elevation): Elevation {
  const { payloadUseTime: _, ...rest } = elevation;
  return rest;
}

/**
 * Whether nothing elevated is permitted, since nothing was heard of the authority for longer than the policy allows, or the time is not
 * known. How long it was silent is judged as an end is: at the latest that it can be now.
 */
export function isStale(knowledge: Knowledge, policy: KnownPolicy, { authorityMs, errorMs }: TimeEstimate): boolean {
  const { afterMs, then, atMostMs } = policy.compiled.whenStale;
  const silentMs = authorityMs + errorMs - knowledge.heardMs;
  if (silentMs <= afterMs && errorMs <= MAX_ERROR_MS) return false;
  return then === "deny" || silentMs > atMostMs;
}

/** The last instant at which the authority's silence is borne, on its clock, judged at the latest that it can be now. */
export function patientUntilMs(knowledge: Knowledge, policy: KnownPolicy, { errorMs }: TimeEstimate): number {
  const { afterMs, then, atMostMs } = policy.compiled.whenStale;
  if (then === "known") return knowledge.heardMs + (errorMs > MAX_ERROR_MS ? atMostMs : Math.max(afterMs, atMostMs));
  return errorMs > MAX_ERROR_MS ? -Infinity : knowledge.heardMs + afterMs;
}

/** What is refused while {@link isStale}. */
export function staleRefusal(knowledge: Knowledge, principal: PrincipalFacts): GuardRefusal {
  return { ...refuse("POLICY_STALE", { staleSince: isoTime(knowledge.heardMs) }, principal), retryDelayMs: STALE_RETRY_MS };
}

export function requestFacts(request: Uint8Array, bound: boolean): Pick<CallFacts, "request" | "payloadDigest"> {
  return bound ? { request, payloadDigest: createHash("sha256").update(request).digest() } : { request };
}

/** A grant that does not count is the reason where nothing else got further: no elevation, or one that has to be shown by a grant. */
export function withGrantProblem(denied: Denied, shown: Shown): Denied {
  const { problem } = shown;
  if (problem === undefined) return denied;
  const lacksGrant = denied.facts.present !== undefined;
  const nothing = denied.elevation === undefined && (denied.reason === "ELEVATION_REQUIRED" || denied.reason === "NOT_ELIGIBLE");
  if (!lacksGrant && !nothing) return denied;
  return { ...denied, reason: problem.reason, facts: { ...denied.facts, ...problem.facts } };
}
