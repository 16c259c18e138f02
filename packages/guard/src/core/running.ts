// A stream that was let through, judged again: when its window ends, when the policy or an elevation changes, and with each message.
// Owns no rule of its own: the evaluator has them. Identity and grants are judged at a call's start only.
import { type CallFacts, type Denied, type PrincipalFacts, readsRequest } from "@brevet/policy";
import type { TimeEstimate } from "@brevet/protocol";
import { type Elevation, ElevationState, StreamExpiry } from "@brevet/protocol/brevet/v1/elevation";
import { type GuardedCall, type GuardPermit, type GuardRefusal, refuse } from "./call.ts";
import type { Grants, Shown } from "./grants.ts";
import type { Knowledge, KnownPolicy } from "./knowledge.ts";
import { enforced, isStale, refusalOf, requestFacts, settle, staleRefusal, unused, withGrantProblem } from "./verdict.ts";

/** A stream that was let through. */
export interface RunningStream {
  /** As it came. `request`: the one message that it was judged by; absent where messages are judged one by one, or none had to be. */
  readonly call: GuardedCall;
  /** What it rests on. */
  readonly permit: GuardPermit;
  /** The latest instant at which it may have begun, on the authority's clock. */
  readonly sinceMs: number;
  /** False: its messages are not brought to be judged, and never will be. */
  readonly supervised?: boolean | undefined;
}

/** It may go on. */
export interface Standing {
  readonly kind: "stands";
  /** What it rests on from now on; with `observed` it goes on only because the policy observes. */
  readonly permit: GuardPermit;
  /** Each further request has to be judged. */
  readonly judges: boolean;
  /** To be judged again once the authority's clock may have reached this. */
  readonly untilMs: number;
}

const NONE: readonly Elevation[] = [];
const NOT_KEPT = { problem: "the condition is newer than the stream, whose requests it cannot judge any more" };

/** Judges a stream, or with `message` one further request of it, by what is known now. */
export function judgeRunning(
  knowledge: Knowledge,
  policy: KnownPolicy,
  grants: Grants,
  stream: RunningStream,
  now: TimeEstimate,
  message?: Uint8Array,
): Standing | GuardRefusal {
  const { method } = stream.call;
  const { principal } = stream.permit;
  const { compiled } = policy;
  const { authorityMs: nowMs, errorMs } = now;
  if (principal === undefined || compiled.method(method).access !== "elevated") {
    const decision = enforced(compiled, { method, ...(principal && { principal }), candidates: NONE, nowMs, errorMs });
    if (!decision.permit) return observing(policy, refusalOf(decision, principal));
    return standing({ kind: "permit", ...(principal && { principal }) });
  }
  if (isStale(knowledge, policy, now)) return observing(policy, staleRefusal(knowledge, principal));
  return judgeElevated(knowledge, policy, grants, stream, principal, now, message);
}

function judgeElevated(
  knowledge: Knowledge,
  policy: KnownPolicy,
  grants: Grants,
  stream: RunningStream,
  principal: PrincipalFacts,
  now: TimeEstimate,
  message: Uint8Array | undefined,
): Standing | GuardRefusal {
  const { call, permit } = stream;
  const { method, requestStream } = call;
  const { compiled } = policy;
  const { authorityMs: nowMs, errorMs } = now;
  const shown = shownNow(knowledge, grants, stream, principal, now);
  const request = requestStream ? message : call.request;
  const candidates = candidatesOf(knowledge, policy, stream, principal, shown?.ahead ?? NONE).filter(
    // Of a request that nobody kept no condition can be said to hold.
    (elevation) => requestStream || request !== undefined || !readsRequest(compiled, method, elevation),
  );
  const facts: CallFacts = {
    method,
    principal,
    candidates,
    nowMs,
    errorMs,
    reachedMs: knowledge.heardMs,
    running: stream,
    requestsLater: requestStream && message === undefined,
    ...(permit.shown && { presented: permit.shown.presented }),
    ...(request && requestFacts(request, compiled.method(method).bindPayload)),
  };
  const decision = enforced(compiled, facts);
  if (!decision.permit) {
    const exact = message === undefined ? ownDenial(knowledge, policy, stream, facts, decision) : decision;
    return observing(policy, refusalOf(shown === undefined ? exact : withGrantProblem(exact, shown), principal));
  }
  const { elevation, endsMs, drainsUntilMs } = decision;
  if (elevation === undefined || endsMs === undefined) return standing({ kind: "permit", principal });
  const judges = requestStream && readsRequest(compiled, method, elevation);
  if (judges && stream.supervised === false) return observing(policy, { ...refuse("CONDITION_NOT_MET", NOT_KEPT, principal), elevation });
  const coveredUntilMs = drainsUntilMs ?? endsMs;
  const provenUntilMs = shown?.aheadUntilMs;
  return {
    kind: "stands",
    permit: { kind: "permit", principal, elevation, endsMs, ...(permit.shown && { shown: permit.shown }) },
    judges,
    untilMs: provenUntilMs === undefined ? coveredUntilMs : Math.min(coveredUntilMs, provenUntilMs),
  };
}

/** What the grants of the call's start still prove beyond what is known here; undefined once they prove nothing more. */
function shownNow(
  knowledge: Knowledge,
  grants: Grants,
  { call, permit }: RunningStream,
  principal: PrincipalFacts,
  now: TimeEstimate,
): Shown | undefined {
  if (permit.shown?.aheadUntilMs === undefined) return undefined;
  const { method, peer } = call;
  return grants.show(knowledge, call.grants, { method, principal, peer, nowMs: now.authorityMs, errorMs: now.errorMs });
}

/** The principal's elevations that are open, and those whose streams may still drain. */
function candidatesOf(
  knowledge: Knowledge,
  policy: KnownPolicy,
  { call, permit }: RunningStream,
  principal: PrincipalFacts,
  ahead: readonly Elevation[],
): readonly Elevation[] {
  if (policy.compiled.method(call.method).bindPayload) {
    // One approval, used up by this very call. None other is, while it runs.
    const own = permit.elevation && knowledge.elevation(permit.elevation.id);
    return own === undefined ? NONE : [unused(own)];
  }
  const { open, ended } = knowledge.elevationsOf(principal.name);
  const known = ahead.length === 0 ? open : [...open.filter(({ id }) => !ahead.some((newer) => newer.id === id)), ...ahead];
  return ended.some(mayDrain) ? [...known, ...ended.filter(mayDrain)] : known;
}

function mayDrain({ state, streamExpiry }: Elevation): boolean {
  return state === ElevationState.EXPIRED && streamExpiry === StreamExpiry.DRAIN;
}

/** Why it may not go on: what became of the elevation that it rested on, whatever others there are. */
function ownDenial(knowledge: Knowledge, policy: KnownPolicy, stream: RunningStream, facts: CallFacts, denied: Denied): Denied {
  const own = stream.permit.elevation && knowledge.elevation(stream.permit.elevation.id);
  if (own === undefined) return denied;
  const bound = policy.compiled.method(facts.method).bindPayload;
  const alone: CallFacts = { ...facts, candidates: [bound ? unused(own) : own], requestsLater: true };
  const exact = enforced(policy.compiled, alone);
  return exact.permit ? { ...denied, reason: "CONDITION_NOT_MET", elevation: own, facts: NOT_KEPT } : exact;
}

function observing(policy: KnownPolicy, refusal: GuardRefusal): Standing | GuardRefusal {
  const settled = settle(policy, refusal);
  return settled.kind === "refuse" ? settled : standing(settled);
}

function standing(permit: GuardPermit): Standing {
  return { kind: "stands", permit, judges: false, untilMs: Infinity };
}

/** No policy, or none that can be enforced: no stream goes on. */
export function withoutPolicy(knowledge: Knowledge | undefined): GuardRefusal {
  return knowledge?.policyProblem === undefined ? refuse("POLICY_UNAVAILABLE") : refuse("POLICY_MISCONFIGURED", UNENFORCEABLE);
}

/** Nobody is identified without a policy: what is wrong with it is told in the log and by `status()` only. */
export const UNENFORCEABLE = { problem: "this guard cannot enforce the newest policy; its log says why" };
