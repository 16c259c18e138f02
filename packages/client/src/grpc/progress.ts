// What a program hears of a call on its way: plain objects, ready for a log line or a terminal.
import { type Elevation, ElevationStateSchema, VoteKind } from "@brevet/protocol/brevet/v1/elevation";
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import type { Outage } from "../connection/outage.ts";

/** The call and the elevation that an event is about. Times are RFC 3339. */
interface About {
  /** `package.Service/Method`. */
  readonly method: string;
  /** `elv_…`. */
  readonly elevation: string;
  readonly entitlement: string;
}

/** One step of a call that needs an elevation. */
export type ProgressEvent =
  /** The authority has the request; `decisionId` is that of the refusal which led to it. */
  | (About & { readonly kind: "asked"; readonly state: string; readonly decisionId?: string })
  /** Not decided. Comes again with each vote. */
  | (About & {
      readonly kind: "waiting";
      readonly since?: string;
      /** LAPSED if nobody decides until then. */
      readonly until?: string;
      /** Who may vote in the open stage: principals and groups. */
      readonly approvers: readonly string[];
      /** How many people that is; absent where it is not known. */
      readonly eligibleApprovers?: number;
      readonly approved: number;
      readonly quorum: number;
    })
  | (About & { readonly kind: "approved"; readonly by: readonly string[]; readonly windowEnd?: string })
  /** The call was issued again. */
  | (About & { readonly kind: "running" })
  /** The authority does not answer; the call waits on, for the rest of `wait`. Told once per outage, of which `since` is the beginning. */
  | {
      readonly kind: "unreachable";
      readonly method: string;
      /** Its origin. */
      readonly authority: string;
      readonly since: string;
      /** What the last try came to. */
      readonly problem: string;
    }
  /** It answers again. */
  | { readonly kind: "reachable"; readonly method: string; readonly authority: string }
  /** A permitted call told when its window ends: `secondsLeft` after the answer. */
  | { readonly kind: "window"; readonly method: string; readonly secondsLeft: number }
  /** The window that calls of the method run in is about to end: told once, `warnBefore` its end. Ask again, extend it, or come to an end. */
  | { readonly kind: "ending"; readonly method: string; readonly secondsLeft: number; readonly windowEnd: string }
  /** These credentials were sent and did not reach the guard: something between takes them off. */
  | { readonly kind: "lost"; readonly method: string; readonly headers: readonly string[] };

/** The event for an elevation that is asked for, as the authority first answered. */
export function asked(method: string, elevation: Elevation, decisionId: string | undefined): ProgressEvent {
  return { kind: "asked", ...about(method, elevation), state: stateName(elevation), ...(decisionId === undefined ? {} : { decisionId }) };
}

/** The event for one that is not decided. */
export function waiting(method: string, elevation: Elevation): ProgressEvent {
  const stage = elevation.stages[elevation.stage];
  const since = time(elevation.createTime);
  const until = time(elevation.pendingUntil);
  return {
    kind: "waiting",
    ...about(method, elevation),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
    approvers: [...(stage?.approvers ?? []), ...(stage?.escalatedTo ?? [])].map(({ text }) => text).filter((text) => text !== ""),
    ...(elevation.eligibleApprovers === undefined ? {} : { eligibleApprovers: elevation.eligibleApprovers }),
    approved: stage?.approved ?? 0,
    quorum: stage?.quorum ?? 0,
  };
}

/** The event for an approved one. */
export function approved(method: string, elevation: Elevation): ProgressEvent {
  const votes = elevation.votes.filter((vote) => vote.kind === VoteKind.APPROVE && !vote.voided);
  const windowEnd = time(elevation.windowEnd);
  return {
    kind: "approved",
    ...about(method, elevation),
    by: votes.map((vote) => vote.voter?.name ?? "").filter((name) => name !== ""),
    ...(windowEnd === undefined ? {} : { windowEnd }),
  };
}

/** The event for a call that goes on. */
export function running(method: string, elevation: Elevation): ProgressEvent {
  return { kind: "running", ...about(method, elevation) };
}

/** The event for a call that waits for the authority itself. */
export function unreachable(method: string, authority: string, { sinceMs, problem }: Outage): ProgressEvent {
  return { kind: "unreachable", method, authority, since: new Date(sinceMs).toISOString(), problem };
}

/** The event for the end of that. */
export function reachable(method: string, authority: string): ProgressEvent {
  return { kind: "reachable", method, authority };
}

/** `PENDING` … `REVOKED`. */
export function stateName({ state }: Elevation): string {
  return ElevationStateSchema.value[state]?.localName ?? "UNSPECIFIED";
}

/** RFC 3339, or undefined where there is none. */
export function time(timestamp: Timestamp | undefined): string | undefined {
  return timestamp === undefined ? undefined : timestampDate(timestamp).toISOString();
}

function about(method: string, elevation: Elevation): About {
  return { method, elevation: elevation.id, entitlement: elevation.entitlement };
}

/** One line for a person: what is waited for, from whom, or what happened. */
export function describeProgress(event: ProgressEvent): string {
  switch (event.kind) {
    case "asked":
      return `asked for ${event.entitlement} to call ${event.method}: ${event.elevation} is ${event.state}`;
    case "waiting": {
      const whom = event.approvers.length === 0 ? "" : ` from ${event.approvers.join(", ")}`;
      const people =
        event.eligibleApprovers === undefined
          ? ""
          : ` (${event.eligibleApprovers === 1 ? "1 person" : `${event.eligibleApprovers} people`})`;
      return `waiting for approval ${event.approved + 1} of ${event.quorum}${whom}${people}: brevet approve ${event.elevation}`;
    }
    case "approved":
      return `approved${event.by.length === 0 ? "" : ` by ${event.by.join(", ")}`}: ${event.elevation}`;
    case "running":
      return `calling ${event.method} again`;
    case "unreachable":
      return `the authority ${event.authority} has not answered since ${event.since} (${event.problem}); ${event.method} waits on`;
    case "reachable":
      return `the authority ${event.authority} answers again`;
    case "ending":
      return `the window for ${event.method} is about to end: ${event.secondsLeft}s are left, until ${event.windowEnd}`;
    case "lost":
      return `${event.headers.join(" and ")} did not reach the guard of ${event.method}: something between takes it off`;
    default:
      return `the window ends in ${event.secondsLeft}s`;
  }
}
