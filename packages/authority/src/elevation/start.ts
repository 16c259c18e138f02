// The window: how it starts, and what time alone does to an elevation. The three clocks, never mixed: pending, start, window; beside
// them the one of a stage that nobody answers. Never moves an end; extensions are window.ts.

import { type Entitlement, scheduleAllows } from "@brevet/policy";
import { type Elevation, ElevationState, StartMode } from "@brevet/protocol/brevet/v1/elevation";
import {
  ElevationExpiredSchema,
  ElevationLapsedSchema,
  ElevationStartedSchema,
  LapseCause,
  StageEscalatedSchema,
  StartCause,
} from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { durationMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Event, Seal } from "../log/draft.ts";
import { nextDueMs } from "./evolve.ts";

/** A window from `atMs`, as long as approved and as the current policy's max allows. */
export function started(cause: StartCause, atMs: number, lengthMs: number, entitlement: Entitlement | undefined): Event {
  const allowed = entitlement === undefined ? lengthMs : Math.min(lengthMs, entitlement.maxMs);
  const value = create(ElevationStartedSchema, { cause, windowStart: timestampFromMs(atMs), windowEnd: timestampFromMs(atMs + allowed) });
  return { case: "elevationStarted", value };
}

/** Whether what is due by `nowMs` depends on the policy: a start and an escalation do, what runs out does so under any. */
export function needsPolicy(state: Elevation, nowMs: number): boolean {
  const kind = dueKind(state, nowMs);
  return kind === "start" || kind === "escalation";
}

/**
 * What time brought about by `nowMs`: the one event that is due, undefined if none. It carries the instant at which it was due, however
 * late it is written. Apply it and ask again: a start at a fixed time may be followed by the window's end.
 */
export function dueEvent(
  state: Elevation,
  { nowMs, entitlement, seal }: { readonly nowMs: number; readonly entitlement: Entitlement | undefined; readonly seal: Seal },
): Event | undefined {
  const kind = dueKind(state, nowMs);
  const dueMs = nextDueMs(state) ?? nowMs;
  switch (kind) {
    case "undecided": {
      const at = state.pendingUntil ?? timestampFromMs(dueMs);
      return { case: "elevationLapsed", value: create(ElevationLapsedSchema, { cause: LapseCause.NOT_DECIDED, at }) };
    }
    case "unused":
      return unused(dueMs);
    case "start":
      // The policy may have moved the hours since it was asked for.
      if (entitlement?.schedule && !scheduleAllows(entitlement.schedule, dueMs).open) return unused(dueMs);
      return started(StartCause.TIME, dueMs, state.duration ? durationMs(state.duration) : 0, entitlement);
    case "over":
      return { case: "elevationExpired", value: create(ElevationExpiredSchema, { at: state.windowEnd ?? timestampFromMs(dueMs) }) };
    case "escalation": {
      const to = entitlement?.stages[state.stage]?.escalate?.to ?? [];
      const value = create(StageEscalatedSchema, { stage: state.stage, to: to.map((each) => seal(each)) });
      return { case: "stageEscalated", value };
    }
    case undefined:
      return undefined;
    default:
      return kind satisfies never;
  }
}

/** Which clock ran out. Where the end has come as well, nobody is asked any more. */
function dueKind(state: Elevation, nowMs: number): "undecided" | "unused" | "start" | "over" | "escalation" | undefined {
  const dueMs = nextDueMs(state);
  if (dueMs === undefined || nowMs < dueMs) return undefined;
  switch (state.state) {
    case ElevationState.PENDING:
      return state.pendingUntil && timestampMs(state.pendingUntil) <= nowMs ? "undecided" : "escalation";
    case ElevationState.SCHEDULED:
      return state.startMode === StartMode.AT_TIME ? "start" : "unused";
    case ElevationState.ACTIVE:
      return state.windowEnd && timestampMs(state.windowEnd) <= nowMs ? "over" : "escalation";
    default:
      return undefined;
  }
}

function unused(dueMs: number): Event {
  const value = create(ElevationLapsedSchema, { cause: LapseCause.NOT_STARTED, at: timestampFromMs(dueMs) });
  return { case: "elevationLapsed", value };
}
