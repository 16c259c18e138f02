// How much one requester may have, so that nobody fills the log alone or makes each further request dearer.
// Never counts what time has ended, and never hides what is open already: the same question is found first.
import type { Elevation, ElevationServiceRequestRequest } from "@brevet/protocol/brevet/v1/elevation";
import { isFinal } from "./evolve.ts";
import { refuse, stateName } from "./refusal.ts";
import type { Background, Context, Verdict } from "./rule.ts";
import { settle } from "./settle.ts";

/** Open elevations of one requester in one audience. */
const MOST_OPEN = 100;
/** Callers that hold one elevation. */
const MOST_HOLDS = 1000;

/** Refuses one more elevation; undefined where there is room. */
export function tooManyOpen(
  { method, audience }: ElevationServiceRequestRequest,
  { live }: Background,
  context: Context,
): Verdict | undefined {
  if (live.length < MOST_OPEN) return undefined;
  const open = live.map((state) => settle(state, context).state).filter((state) => !isFinal(state));
  if (open.length < MOST_OPEN) return undefined;
  const counts = Object.entries(Object.groupBy(open, ({ state }) => stateName(state))).map(([name, some]) => `${some?.length} ${name}`);
  const who = context.actor?.facts.name ?? "";
  const what = `${who} has ${counts.join(", ")} in ${audience}, and at most ${MOST_OPEN} may be open; withdraw or end what is not needed`;
  return refuse("REQUEST_QUOTA_EXCEEDED", what, { metadata: { method, limit: `${MOST_OPEN} open elevations` } });
}

/** Refuses one more hold; undefined where there is room. */
export function tooManyHolds({ method }: ElevationServiceRequestRequest, { id, holds }: Elevation): Verdict | undefined {
  if (holds < MOST_HOLDS) return undefined;
  const what = `${id} is held ${holds} times, and at most ${MOST_HOLDS} are allowed; end it, or ask once for all callers`;
  return refuse("REQUEST_QUOTA_EXCEEDED", what, { metadata: { method, limit: `${MOST_HOLDS} holds` } });
}
