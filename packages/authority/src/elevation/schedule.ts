// The hours in which an entitlement may be asked for and started. A window that started inside them runs to its own end, also beyond
// them. Never moves an end.
import { type Entitlement, scheduleAllows } from "@brevet/policy";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { about, iso, type Refusal, refuse } from "./refusal.ts";

/** What is to happen, and when. */
interface Plan {
  /** When it would be, milliseconds since 1970. */
  readonly atMs: number;
  readonly nowMs: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Refuses what would be outside the hours, with the next instant inside them; undefined where there are none, or it is inside. */
export function outsideSchedule(entitlement: Entitlement | undefined, { atMs, nowMs, metadata }: Plan): Refusal | undefined {
  if (!entitlement?.schedule) return undefined;
  const { open, opensAtMs } = scheduleAllows(entitlement.schedule, atMs);
  if (open) return undefined;
  const opens = opensAtMs === undefined ? ", and never opens" : `; it opens at ${iso(opensAtMs)}`;
  return refuse("OUTSIDE_SCHEDULE", `${entitlement.id} is outside its schedule at ${iso(atMs)}${opens}`, {
    metadata: { ...metadata, entitlement: entitlement.id, ...(opensAtMs === undefined ? {} : { opensAt: iso(opensAtMs) }) },
    // Waiting helps whom the present hour keeps out, not a start that was asked for.
    ...(opensAtMs === undefined || atMs > nowMs ? {} : { retryDelayMs: opensAtMs - nowMs }),
  }).denial;
}

/** Refuses an approval whose window could never start: nobody is to believe that it helped. */
export function neverStarts(state: Elevation, entitlement: Entitlement | undefined, nowMs: number): Refusal | undefined {
  const atMs = state.startTime ? Math.max(nowMs, timestampMs(state.startTime)) : nowMs;
  const outside = outsideSchedule(entitlement, { atMs, nowMs, metadata: about(state) });
  if (outside === undefined || !entitlement?.schedule) return undefined;
  const { opensAtMs } = scheduleAllows(entitlement.schedule, atMs);
  const startWithinMs = state.startWithin ? durationMs(state.startWithin) : 0;
  if (!state.startTime && opensAtMs !== undefined && opensAtMs < nowMs + startWithinMs) return undefined;
  const late = state.startTime ? "its window would start then" : "approved now, it would lapse before that";
  return { ...outside, message: `${outside.message}, and ${late}: approve ${state.id} inside the hours` };
}
