// One elevation judged alone for one call: state and window, method, how it is shown, payload, condition, in this order.
// Never compares candidates; evaluate.ts does.
import type { ReasonName } from "@brevet/protocol";
import { REMEMBER_ENDED_MS } from "@brevet/protocol";
import { type Elevation, ElevationState, StartMode, StreamExpiry } from "@brevet/protocol/brevet/v1/elevation";
import { durationMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import type { CompiledPolicy, Entitlement, MethodRule } from "../compile/compiled.ts";
import type { ConditionInput } from "../condition/condition.ts";
import type { CallFacts } from "./evaluate.ts";

/** How far a candidate got; a higher step is further. */
export const Step = { ENDED: 1, PENDING: 2, SCHEDULED: 3, SHOWN: 4, PAYLOAD: 5, CONDITION: 6, BROKEN: 7 } as const;

/** Why one candidate does not permit. */
export interface Failure {
  readonly reason: ReasonName;
  readonly step: number;
  /** Breaks ties between equal steps: the later one tells more. */
  readonly atMs: number;
  readonly facts: Readonly<Record<string, string>>;
}

/** It permits, it is no candidate for this call at all, or it fails. */
export type Verdict = "permits" | "starts" | undefined | Failure;

/** Judges one elevation. The caller has an identity, and the method is elevated. */
export function judge(policy: CompiledPolicy, rule: MethodRule, call: CallFacts, elevation: Elevation): Verdict {
  const { principal } = call;
  if (principal === undefined || elevation.audience !== policy.audience || elevation.requester?.name !== principal.name) return undefined;
  const presented = call.presented?.get(elevation.id);
  const entitlement = policy.entitlement(elevation.entitlement);
  if (!covers(entitlement, elevation, rule.name)) return presented === undefined ? undefined : outOfScope(call, elevation);
  const late = stateFailure(call, elevation, call.running === undefined ? 0 : drainMs(entitlement, elevation));
  if (late !== undefined) return late === "forgotten" ? undefined : late;
  const present = presentationFailure(entitlement, elevation, presented, call);
  if (present !== undefined) return present;
  if (rule.bindPayload) {
    const failure = payloadFailure(call, elevation);
    if (failure !== undefined) return failure;
  }
  return (
    conditionFailure(policy, entitlement, rule.name, call, elevation) ??
    (elevation.state === ElevationState.SCHEDULED ? "starts" : "permits")
  );
}

/** Frozen when approved, narrowed by the policy of today: both have to cover the method. */
export function covers(entitlement: Entitlement | undefined, elevation: Elevation, method: string): entitlement is Entitlement {
  return entitlement !== undefined && entitlement.covers.has(method) && elevation.methods.includes(method);
}

/** How long a stream may go on behind the end of a window: the shorter of what was approved and what the policy says today. */
export function drainMs(entitlement: Entitlement | undefined, elevation: Elevation): number {
  if (entitlement === undefined || elevation.streamExpiry !== StreamExpiry.DRAIN || elevation.drain === undefined) return 0;
  return Math.min(durationMs(elevation.drain), entitlement.streams.forMs);
}

/** A presented elevation that is live, but for another method, is told so; a dead one says nothing about this method. */
function outOfScope(call: CallFacts, elevation: Elevation): Failure | undefined {
  if (stateFailure(call, elevation, 0) !== undefined) return undefined;
  return failure("GRANT_SCOPE_MISMATCH", Step.SHOWN, elevation, call.nowMs);
}

function stateFailure(call: CallFacts, elevation: Elevation, drainMs: number): Failure | "forgotten" | undefined {
  const latestMs = call.nowMs + call.errorMs;
  const earliestMs = Math.max(call.nowMs - call.errorMs, call.reachedMs ?? -Infinity);
  switch (elevation.state) {
    case ElevationState.ACTIVE: {
      const startMs = timeMs(elevation.windowStart);
      const endMs = timeMs(elevation.windowEnd);
      if (startMs === undefined || endMs === undefined) return "forgotten";
      if (latestMs >= endMs) return drains(call, endMs, drainMs) ? undefined : ended(call, elevation, "ELEVATION_EXPIRED", endMs);
      return earliestMs >= startMs
        ? undefined
        : failure("ELEVATION_SCHEDULED", Step.SCHEDULED, elevation, startMs, { startTime: iso(startMs) });
    }
    case ElevationState.SCHEDULED: {
      const startByMs = timeMs(elevation.startBy);
      if (call.running !== undefined) return failure("ELEVATION_SCHEDULED", Step.SCHEDULED, elevation, startByMs ?? call.nowMs);
      if (elevation.startMode === StartMode.AT_TIME) {
        const startMs = timeMs(elevation.startTime);
        if (startMs === undefined) return "forgotten";
        return earliestMs >= startMs
          ? undefined
          : failure("ELEVATION_SCHEDULED", Step.SCHEDULED, elevation, startMs, { startTime: iso(startMs) });
      }
      return startByMs !== undefined && latestMs >= startByMs ? ended(call, elevation, "ELEVATION_LAPSED", startByMs) : undefined;
    }
    case ElevationState.PENDING: {
      const untilMs = timeMs(elevation.pendingUntil);
      if (untilMs !== undefined && latestMs >= untilMs) return ended(call, elevation, "ELEVATION_LAPSED", untilMs);
      return failure("ELEVATION_PENDING", Step.PENDING, elevation, untilMs ?? call.nowMs);
    }
    default: {
      const overMs = elevation.state === ElevationState.EXPIRED ? timeMs(elevation.windowEnd) : undefined;
      if (overMs !== undefined && drains(call, overMs, drainMs)) return undefined;
      const reason = FINAL[elevation.state];
      const endMs = timeMs(elevation.endTime) ?? timeMs(elevation.windowEnd);
      return reason === undefined || endMs === undefined ? "forgotten" : ended(call, elevation, reason, endMs);
    }
  }
}

/** The window is over, and a stream that ran at its end may still go on. */
function drains({ running, nowMs, errorMs }: CallFacts, endMs: number, drainMs: number): boolean {
  return running !== undefined && running.sinceMs < endMs && nowMs + errorMs < endMs + drainMs;
}

const FINAL: Readonly<Partial<Record<ElevationState, ReasonName>>> = {
  [ElevationState.DENIED]: "ELEVATION_DENIED",
  [ElevationState.WITHDRAWN]: "ELEVATION_WITHDRAWN",
  [ElevationState.LAPSED]: "ELEVATION_LAPSED",
  [ElevationState.EXPIRED]: "ELEVATION_EXPIRED",
  [ElevationState.ENDED]: "ELEVATION_ENDED",
  [ElevationState.REVOKED]: "ELEVATION_REVOKED",
};

/** A final state is remembered for a day. */
function ended(call: CallFacts, elevation: Elevation, reason: ReasonName, atMs: number): Failure | "forgotten" {
  if (call.nowMs - atMs > REMEMBER_ENDED_MS) return "forgotten";
  return failure(reason, Step.ENDED, elevation, atMs, reason === "ELEVATION_EXPIRED" ? { expiredAt: iso(atMs) } : { endedAt: iso(atMs) });
}

/** The stricter of what was approved and what the policy says today. */
function presentationFailure(
  entitlement: Entitlement,
  elevation: Elevation,
  presented: "grant" | "bound" | undefined,
  call: CallFacts,
): Failure | undefined {
  const wanted = Math.max(entitlement.present === "bound" ? 3 : entitlement.present === "grant" ? 2 : 1, elevation.presentation);
  if (wanted < 2 || presented === "bound" || (wanted === 2 && presented === "grant")) return undefined;
  if (presented === "grant") return failure("GRANT_PROOF_INVALID", Step.SHOWN, elevation, call.nowMs, { present: "bound" });
  return failure("ELEVATION_REQUIRED", Step.SHOWN, elevation, call.nowMs, { present: wanted === 3 ? "bound" : "grant" });
}

/** Each approval covers one exact request, once. */
function payloadFailure(call: CallFacts, elevation: Elevation): Failure | undefined {
  const { payloadDigest } = call;
  // Empty where it was erased.
  const approved = elevation.payloadDigest?.value;
  const same =
    payloadDigest !== undefined && approved !== undefined && approved.length > 0 && Buffer.compare(payloadDigest, approved) === 0;
  if (same && elevation.payloadUseTime === undefined) return undefined;
  return failure("GRANT_PAYLOAD_MISMATCH", Step.PAYLOAD, elevation, call.nowMs, { used: String(elevation.payloadUseTime !== undefined) });
}

/** The approved condition and the current one have to hold; where they are the same text, once. */
function conditionFailure(
  policy: CompiledPolicy,
  entitlement: Entitlement,
  method: string,
  call: CallFacts,
  elevation: Elevation,
): Failure | undefined {
  if (elevation.condition !== undefined) {
    const { text } = elevation.condition;
    // Nobody can say any more what was approved.
    if (text === "")
      return failure("POLICY_MISCONFIGURED", Step.BROKEN, elevation, call.nowMs, { problem: "the approved condition was erased" });
    const failed = oneCondition(policy, text, method, call, elevation);
    if (failed !== undefined) return failed;
  }
  if (entitlement.conditionSource === "" || entitlement.conditionSource === elevation.condition?.text) return undefined;
  return oneCondition(policy, entitlement.conditionSource, method, call, elevation);
}

function oneCondition(policy: CompiledPolicy, source: string, method: string, call: CallFacts, elevation: Elevation): Failure | undefined {
  const condition = policy.conditionFor(source, method);
  if (call.requestsLater === true && "readsRequest" in condition && condition.readsRequest) return undefined;
  const outcome = "error" in condition ? condition : call.principal && condition.evaluate({ ...inputOf(call), principal: call.principal });
  if (outcome === "true") return undefined;
  if (outcome === "false") return failure("CONDITION_NOT_MET", Step.CONDITION, elevation, call.nowMs, { expression: shown(source) });
  const problem = outcome?.error ?? "there is no principal";
  return failure("POLICY_MISCONFIGURED", Step.BROKEN, elevation, call.nowMs, { expression: shown(source), problem });
}

/** What conditions look at beside the principal. */
export function inputOf(call: CallFacts): Omit<ConditionInput, "principal"> {
  return call.request === undefined ? { method: call.method } : { method: call.method, request: call.request };
}

/** An expression as it is named in metadata. */
export function shown(source: string): string {
  return source.length <= 200 ? source : `${source.slice(0, 199)}…`;
}

function failure(reason: ReasonName, step: number, elevation: Elevation, atMs: number, facts?: Record<string, string>): Failure {
  return { reason, step, atMs, facts: { elevation: elevation.id, entitlement: elevation.entitlement, ...facts } };
}

/** Milliseconds since 1970; undefined where there is no timestamp. */
export function timeMs(time: Timestamp | undefined): number | undefined {
  return time === undefined ? undefined : Number(time.seconds) * 1000 + time.nanos / 1e6;
}

function iso(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? "unknown" : date.toISOString();
}
