// Folding events that have no place in the log yet: what the state will be once they have. Never appends.

import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { LogEntrySchema } from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Event } from "../log/draft.ts";
import { evolve } from "./evolve.ts";
import type { Context } from "./rule.ts";
import { dueEvent } from "./start.ts";

/** Where events are going to stand: the first one at `revision` + 1. */
export interface Place {
  readonly id: string;
  readonly audience: string;
  readonly actor: string;
  readonly nowMs: number;
  readonly revision: bigint;
}

/** The elevation after events that are appended at this place. */
export function foresee(state: Elevation | undefined, events: readonly Event[], place: Place): Elevation | undefined {
  let next = state;
  let revision = place.revision;
  for (const event of events) {
    revision += 1n;
    const time = timestampFromMs(place.nowMs);
    const { id: elevation, audience, actor } = place;
    next = evolve(next, create(LogEntrySchema, { revision, time, audience, actor, elevation, event }));
  }
  return next;
}

/** Brings about what is due: the events of time alone, and the elevation after them. */
export function settle(
  state: Elevation,
  context: Pick<Context, "nowMs" | "revision" | "policy" | "seal">,
): { readonly state: Elevation; readonly due: readonly Event[] } {
  const due: Event[] = [];
  let settled = state;
  const given = { nowMs: context.nowMs, entitlement: context.policy?.entitlement(state.entitlement), seal: context.seal };
  for (;;) {
    const event = dueEvent(settled, given);
    if (event === undefined) return { state: settled, due };
    const revision = context.revision + BigInt(due.length);
    settled = foresee(settled, [event], { id: state.id, audience: state.audience, actor: "", nowMs: context.nowMs, revision }) ?? settled;
    due.push(event);
  }
}
