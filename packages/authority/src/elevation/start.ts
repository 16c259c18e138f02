// The window: how it starts, and what time alone does to an elevation. The three clocks, never mixed: pending, start, window.
// Never moves an end; extensions are window.ts.

import type { Entitlement } from "@brevet/policy";
import { type Elevation, ElevationState, StartMode } from "@brevet/protocol/brevet/v1/elevation";
import {
  ElevationExpiredSchema,
  ElevationLapsedSchema,
  ElevationStartedSchema,
  LapseCause,
  StartCause,
} from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Event } from "../log/draft.ts";
import { nextDueMs } from "./evolve.ts";

/** A window from `atMs`, as long as approved and as the current policy's max allows. */
export function started(cause: StartCause, atMs: number, lengthMs: number, entitlement: Entitlement | undefined): Event {
  const allowed = entitlement === undefined ? lengthMs : Math.min(lengthMs, entitlement.maxMs);
  const value = create(ElevationStartedSchema, { cause, windowStart: timestampFromMs(atMs), windowEnd: timestampFromMs(atMs + allowed) });
  return { case: "elevationStarted", value };
}

/**
 * What time brought about by `nowMs`: the one event that is due, undefined if none. It carries the instant at which it was due, however
 * late it is written. Apply it and ask again: a start at a fixed time may be followed by the window's end.
 */
export function dueEvent(state: Elevation, nowMs: number, entitlement: Entitlement | undefined): Event | undefined {
  const dueMs = nextDueMs(state);
  if (dueMs === undefined || nowMs < dueMs) return undefined;
  const at = timestampFromMs(dueMs);
  switch (state.state) {
    case ElevationState.PENDING:
      return { case: "elevationLapsed", value: create(ElevationLapsedSchema, { cause: LapseCause.NOT_DECIDED, at }) };
    case ElevationState.SCHEDULED:
      if (state.startMode === StartMode.AT_TIME)
        return started(StartCause.TIME, dueMs, state.duration ? durationMs(state.duration) : 0, entitlement);
      return { case: "elevationLapsed", value: create(ElevationLapsedSchema, { cause: LapseCause.NOT_STARTED, at }) };
    case ElevationState.ACTIVE:
      return { case: "elevationExpired", value: create(ElevationExpiredSchema, { at }) };
    default:
      return undefined;
  }
}
