// The one evaluator: may this call be made now? Answers guard, command line and console from the same rules, in the fixed order.
// Never reads a clock, a token or the network: whoever asks has verified identity and grants, and knows the time.

import type { ReasonName } from "@brevet/protocol";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import type { CompiledPolicy, Entitlement, MethodRule } from "../compile/compiled.ts";
import type { PrincipalFacts } from "../principal/principal.ts";
import { covers, drainMs, type Failure, inputOf, judge, shown, timeMs } from "./candidate.ts";
import { offersFor } from "./offers.ts";

/** One call, and what is known at the moment that it is judged. */
export interface CallFacts {
  /** `package.Service/Method`. */
  readonly method: string;
  /** The authenticated caller; absent: the call has no valid identity. */
  readonly principal?: PrincipalFacts;
  /** Elevations of the caller, known or presented, ended ones of the last 24 h included. Order does not matter. */
  readonly candidates: readonly Elevation[];
  /** Ids of elevations for which the call brought a verified grant, and whether its key was proven. */
  readonly presented?: ReadonlyMap<string, "grant" | "bound">;
  /** The request message as it came over the wire; needed where {@link needsRequest} says so. */
  readonly request?: Uint8Array;
  /** SHA-256 of the request, for methods that are bound to the payload. */
  readonly payloadDigest?: Uint8Array;
  /** The authority's time as estimated, milliseconds since 1970. */
  readonly nowMs: number;
  /** The error of that estimate: ends are judged at `nowMs + errorMs`, starts at `nowMs - errorMs`. */
  readonly errorMs: number;
  /** A time that the authority has surely reached, such as that of its newest message: starts are not judged earlier. */
  readonly reachedMs?: number;
  /**
   * The call is a stream that was let through and is judged again; it began at `sinceMs` at the latest. It starts no window, and one that
   * ended while it ran goes on for it as long as the elevation lets streams drain.
   */
  readonly running?: { readonly sinceMs: number };
  /** Conditions on the request are not looked at: each message of a stream of requests is judged by itself, with `request` set. */
  readonly requestsLater?: boolean;
}

/** The call may be made. */
export interface Permitted {
  readonly permit: true;
  /** The elevation that it rests on; the one with the latest end where several would do. Absent where none is needed. */
  readonly elevation?: Elevation;
  /** The window's end; absent while it has not started. */
  readonly endsMs?: number;
  /** The window is over, and a running stream may go on until then. */
  readonly drainsUntilMs?: number;
  /** The elevation is SCHEDULED: the authority starts it before the handler runs. */
  readonly needsStart?: boolean;
  /** The method is bound to the payload: the authority consumes the approval before the handler runs. */
  readonly consume?: boolean;
  /** With `mode: observe`: the refusal that enforcing would have made. */
  readonly observed?: Denied;
}

/** The call is refused. */
export interface Denied {
  readonly permit: false;
  readonly reason: ReasonName;
  /** The elevation that got furthest. */
  readonly elevation?: Elevation;
  /** ErrorInfo metadata that the reason needs: `elevation`, `entitlement`, `expiredAt`, `expression`, `problem` … */
  readonly facts: Readonly<Record<string, string>>;
  /** What the caller may ask for to get further. */
  readonly offers: readonly Entitlement[];
}

/** What the evaluator says. */
export type Decision = Permitted | Denied;

/** Answers of which there is only one. */
const PERMITTED: Permitted = Object.freeze({ permit: true });
const NO_OFFERS: readonly Entitlement[] = [];
const NO_FACTS: Readonly<Record<string, string>> = {};

/**
 * Judges one call. `open` permits; then identity, then the method's rule, then each candidate alone, whose order never matters:
 * permit if one passes, else the reason of the one that got furthest. With `mode: observe` a refusal permits, and is attached.
 */
export function evaluate(policy: CompiledPolicy, call: CallFacts): Decision {
  const decision = enforce(policy, call);
  return decision.permit || policy.mode === "enforce" ? decision : { permit: true, observed: decision };
}

/** Whether conditions need the request's bytes to judge calls of a method with these candidates. */
export function needsRequest(policy: CompiledPolicy, method: string, candidates: readonly Elevation[]): boolean {
  const rule = policy.method(method);
  if (rule.access !== "elevated") return false;
  if (rule.bindPayload || policy.entitlementsFor(method).some((entitlement) => entitlement.condition?.readsRequest === true)) return true;
  return candidates.some((elevation) => elevation.state !== ElevationState.PENDING && readsRequest(policy, method, elevation));
}

/** Whether the conditions of one elevation, the approved and the current one, look at the request of a method that it covers. */
export function readsRequest(policy: CompiledPolicy, method: string, elevation: Elevation): boolean {
  const entitlement = policy.entitlement(elevation.entitlement);
  if (!covers(entitlement, elevation, method)) return false;
  if (entitlement.condition?.readsRequest === true) return true;
  const { condition } = elevation;
  if (condition === undefined || condition.text === "") return false;
  const compiled = policy.conditionFor(condition.text, method);
  return "readsRequest" in compiled && compiled.readsRequest;
}

function enforce(policy: CompiledPolicy, call: CallFacts): Decision {
  const rule = policy.method(call.method);
  if (rule.access === "open") return PERMITTED;
  if (call.principal === undefined) return deny("IDENTITY_MISSING");
  if (rule.access === "authenticated") return PERMITTED;
  if (rule.access === "forbidden") return deny("METHOD_FORBIDDEN");
  return judgeAll(policy, rule, call, call.principal);
}

function judgeAll(policy: CompiledPolicy, rule: MethodRule, call: CallFacts, who: PrincipalFacts): Decision {
  let best: Elevation | undefined;
  let starts = false;
  let furthest: Failure | undefined;
  let failed: Elevation | undefined;
  for (const elevation of call.candidates) {
    const verdict = judge(policy, rule, call, elevation);
    if (verdict === undefined) continue;
    if (typeof verdict === "object") {
      if (furthest === undefined || failed === undefined || isFurther(verdict, elevation, furthest, failed))
        [furthest, failed] = [verdict, elevation];
    } else if (best === undefined || isBetter(elevation, verdict === "starts", best, starts)) {
      best = elevation;
      starts = verdict === "starts";
    }
  }
  if (best !== undefined) return call.running === undefined ? permitBy(rule, best, starts) : permitRunning(policy, call, best);
  return furthest === undefined || failed === undefined ? withoutCandidate(policy, call, who) : refuse(policy, call, who, furthest, failed);
}

function permitBy(rule: MethodRule, elevation: Elevation, starts: boolean): Permitted {
  if (starts) return { permit: true, elevation, needsStart: true, ...(rule.bindPayload && { consume: true }) };
  const endsMs = timeMs(elevation.windowEnd);
  return { permit: true, elevation, ...(endsMs !== undefined && { endsMs }), ...(rule.bindPayload && { consume: true }) };
}

function permitRunning(policy: CompiledPolicy, call: CallFacts, elevation: Elevation): Permitted {
  const endsMs = timeMs(elevation.windowEnd) ?? 0;
  if (call.nowMs + call.errorMs < endsMs) return { permit: true, elevation, endsMs };
  return { permit: true, elevation, endsMs, drainsUntilMs: endsMs + drainMs(policy.entitlement(elevation.entitlement), elevation) };
}

/** A running window before one that a call would start; then the latest end; then the id, so that order never matters. */
function isBetter(elevation: Elevation, starts: boolean, best: Elevation, bestStarts: boolean): boolean {
  if (starts !== bestStarts) return bestStarts;
  const [end, bestEnd] = [timeMs(elevation.windowEnd) ?? 0, timeMs(best.windowEnd) ?? 0];
  return end === bestEnd ? elevation.id < best.id : end > bestEnd;
}

function isFurther(failure: Failure, elevation: Elevation, best: Failure, bestElevation: Elevation): boolean {
  if (failure.step !== best.step) return failure.step > best.step;
  return failure.atMs === best.atMs ? elevation.id < bestElevation.id : failure.atMs > best.atMs;
}

/** Reasons after which asking, or asking again, may help. */
const OFFERED: ReadonlySet<ReasonName> = new Set<ReasonName>([
  "ELEVATION_REQUIRED",
  "ELEVATION_PENDING",
  "ELEVATION_DENIED",
  "ELEVATION_WITHDRAWN",
  "ELEVATION_LAPSED",
  "ELEVATION_EXPIRED",
  "ELEVATION_ENDED",
  "ELEVATION_REVOKED",
  "CONDITION_NOT_MET",
  "GRANT_SCOPE_MISMATCH",
  "GRANT_PAYLOAD_MISMATCH",
]);

function refuse(policy: CompiledPolicy, call: CallFacts, who: PrincipalFacts, failure: Failure, elevation: Elevation): Denied {
  const offers = OFFERED.has(failure.reason) ? wouldPermit(call, who, offersFor(policy, call.method, who)).offers : NO_OFFERS;
  return { permit: false, reason: failure.reason, elevation, facts: failure.facts, offers };
}

function withoutCandidate(policy: CompiledPolicy, call: CallFacts, who: PrincipalFacts): Denied {
  const requestable = offersFor(policy, call.method, who);
  if (requestable.length === 0) return deny("NOT_ELIGIBLE");
  const { offers, refused } = wouldPermit(call, who, requestable);
  if (offers.length > 0 || refused === undefined) return { permit: false, reason: "ELEVATION_REQUIRED", facts: NO_FACTS, offers };
  // An approval would not help this request: say so before somebody is asked for one.
  const { entitlement, problem } = refused;
  const facts = { entitlement: entitlement.id, expression: shown(entitlement.conditionSource), ...(problem !== undefined && { problem }) };
  return { permit: false, reason: problem === undefined ? "CONDITION_NOT_MET" : "POLICY_MISCONFIGURED", facts, offers };
}

/** Leaves out entitlements whose condition refuses this very request; without the request, what it would say is not known. */
function wouldPermit(
  call: CallFacts,
  who: PrincipalFacts,
  requestable: readonly Entitlement[],
): { offers: readonly Entitlement[]; refused?: { entitlement: Entitlement; problem: string | undefined } } {
  const offers: Entitlement[] = [];
  let refused: { entitlement: Entitlement; problem: string | undefined } | undefined;
  for (const entitlement of requestable) {
    const { condition } = entitlement;
    const known = condition !== undefined && (!condition.readsRequest || call.request !== undefined);
    const outcome = known ? condition.evaluate({ ...inputOf(call), principal: who }) : "true";
    if (outcome === "true") offers.push(entitlement);
    else refused ??= { entitlement, problem: outcome === "false" ? undefined : outcome.error };
  }
  return refused === undefined ? { offers } : { offers, refused };
}

function deny(reason: ReasonName): Denied {
  return { permit: false, reason, facts: NO_FACTS, offers: NO_OFFERS };
}
