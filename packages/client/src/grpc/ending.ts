// An elevation whose end a guard has reached and the authority has not: a guard judges ends at the latest that it can be now. Pure.

import type { ReceivedStatus } from "@brevet/protocol";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { MAX_CLOCK_ERROR_MS } from "./remedy.ts";

/** What a refusal says is over. */
export interface Ending {
  readonly elevation: string;
  /** The guard's estimate of the authority's time, and when it came, on the monotonic clock. */
  readonly guardMs: number;
  readonly atMs: number;
}

/** Undefined where a refusal speaks of no end, or does not say when it was made. */
export function endingOf({ reason, metadata }: ReceivedStatus, nowMs: number): Ending | undefined {
  const { elevation, serverTime = "" } = metadata;
  const guardMs = Date.parse(serverTime);
  if (reason !== "ELEVATION_EXPIRED" || elevation === undefined || Number.isNaN(guardMs)) return undefined;
  return { elevation, guardMs, atMs: nowMs };
}

/** How long to wait for the end of an elevation that the authority still calls ACTIVE, milliseconds. Undefined: it goes on for longer than clocks err. */
export function endsInMs(ending: Ending | undefined, { id, state, windowEnd }: Elevation, nowMs: number): number | undefined {
  if (ending?.elevation !== id || state !== ElevationState.ACTIVE || windowEnd === undefined) return undefined;
  const leftMs = timestampMs(windowEnd) - ending.guardMs - (nowMs - ending.atMs);
  if (leftMs > MAX_CLOCK_ERROR_MS) return undefined;
  // The guard's time is ahead of the authority's, by no more than this.
  return leftMs > 0 ? leftMs + SPARE_MS : MAX_CLOCK_ERROR_MS;
}

const SPARE_MS = 20;
