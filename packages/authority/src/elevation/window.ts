// The window of an approved elevation: its first use, a later end, its being handed back, grants for it. Re-use never restarts a window,
// and only an extension moves its end later. Never signs: issuer/grants.ts does.

import { type Entitlement, isGuard } from "@brevet/policy";
import type { ReasonName } from "@brevet/protocol";
import {
  type Elevation,
  type ElevationServiceEndRequest,
  type ElevationServiceExtendRequest,
  type ElevationServiceStartRequest,
  ElevationState,
  StartMode,
  VoteKind,
} from "@brevet/protocol/brevet/v1/elevation";
import {
  ElevationEndedSchema,
  ElevationExtendedSchema,
  ExtensionRequestedSchema,
  GrantIssuedSchema,
  HoldReleasedSchema,
  PayloadUsedSchema,
  StartCause,
} from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { durationMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { grantEndMs } from "../issuer/grants.ts";
import type { Event } from "../log/draft.ts";
import { askedOverAgain, nobodyOf, reach } from "./approvers.ts";
import { about, invalid, iso, type Refusal, type RefusalDetail, refuse, refuseState, span, stateName, whatBecameOf } from "./refusal.ts";
import { type GrantTerms, happens, nothing, type Ruling, type Verdict } from "./rule.ts";
import { outsideSchedule } from "./schedule.ts";
import { started } from "./start.ts";
import { sameBytes, spanMs, text } from "./terms.ts";

const REASON_OF_STATE: Readonly<Record<number, ReasonName>> = {
  [ElevationState.PENDING]: "ELEVATION_PENDING",
  [ElevationState.SCHEDULED]: "ELEVATION_SCHEDULED",
  [ElevationState.DENIED]: "ELEVATION_DENIED",
  [ElevationState.WITHDRAWN]: "ELEVATION_WITHDRAWN",
  [ElevationState.LAPSED]: "ELEVATION_LAPSED",
  [ElevationState.EXPIRED]: "ELEVATION_EXPIRED",
  [ElevationState.ENDED]: "ELEVATION_ENDED",
  [ElevationState.REVOKED]: "ELEVATION_REVOKED",
};

/** Starts the window, at the first use or because the requester says so; consumes a payload-bound approval. */
export function start(message: ElevationServiceStartRequest, state: Elevation, ruling: Ruling): Verdict {
  const { actor, policy, nowMs, entitlement } = ruling;
  const guard = isGuard(policy, actor.facts);
  if (!guard && state.requester?.id !== actor.id) return requesterOnly("start", state, ruling, " or a guard of its audience,");
  const events: Event[] = [];
  if (state.state === ElevationState.SCHEDULED) {
    if (state.startMode === StartMode.AT_TIME) return notActive(state, ruling);
    const outside = outsideSchedule(entitlement, { atMs: nowMs, nowMs, metadata: about(state) });
    // To a guard's caller it is approved and has not started.
    if (outside && guard) return refuseState(state, "ELEVATION_SCHEDULED", outside.message, retryOf(outside));
    if (outside) return { ok: false, denial: outside };
    const cause = guard ? StartCause.USE : StartCause.REQUESTER;
    events.push(started(cause, nowMs, state.duration ? durationMs(state.duration) : 0, entitlement));
  } else if (state.state !== ElevationState.ACTIVE) {
    return notActive(state, ruling);
  }
  if (message.payloadDigest.length === 0) return happens(...events);
  if (!guard) {
    const who = `only a guard of ${state.audience} may use up ${state.id}, for the call that it lets through; you are ${actor.facts.name}`;
    return refuse("ROLE_REQUIRED", who, { metadata: { ...about(state), principal: actor.facts.name, role: "guard" } });
  }
  const mismatch = payloadMismatch(message.payloadDigest, state, ruling);
  if (mismatch) return refuse("GRANT_PAYLOAD_MISMATCH", mismatch, { metadata: about(state) });
  const payloadCommitment = state.payloadDigest?.commitment ?? new Uint8Array();
  events.push({ case: "payloadUsed", value: create(PayloadUsedSchema, { payloadCommitment }) });
  return happens(...events);
}

/** Asks for a later end: at once, or after the votes that the entitlement asks for. */
export function extend(message: ElevationServiceExtendRequest, state: Elevation, ruling: Ruling): Verdict {
  const { entitlement, actor, policy } = ruling;
  if (state.requester?.id !== actor.id) return requesterOnly("extend", state, ruling);
  const reason = text("reason", message.reason);
  if (!reason.ok) return reason;
  if (!message.by) return invalid("by", "say how much later the end is to be");
  const by = spanMs("by", message.by);
  if (!by.ok) return by;
  if (state.state !== ElevationState.ACTIVE || !state.windowStart || !state.windowEnd) {
    return refuse("ALREADY_DECIDED", `only an ACTIVE elevation is extended; ${state.id} is ${whatBecameOf(state, ruling.nameOf)}`, {
      metadata: about(state),
    });
  }
  const endMs = timestampMs(state.windowEnd);
  const longest = Math.min(ruling.extendMaxMs, entitlement?.extend.maxMs ?? 0);
  const lastMs = timestampMs(state.windowStart) + longest;
  const never = entitlement === undefined || entitlement.extend.approval === "never" || state.breakGlass || ruling.extendMaxMs === 0;
  if (never || endMs + by.value > lastMs) {
    const message = never
      ? `${state.entitlement} is not extended; its window ends at ${iso(endMs)}. Ask for a new elevation`
      : `${span(by.value)} more goes beyond ${iso(lastMs)}: the whole window of ${state.entitlement} is at most ${span(longest)} from its first start`;
    const maxSeconds = `${never ? 0 : Math.max(0, lastMs - endMs) / 1000}`;
    return refuse("DURATION_TOO_LONG", message, { metadata: { ...about(state), maxSeconds } });
  }
  const lengthMs = endMs + by.value - timestampMs(state.windowStart);
  const narrowed = Math.min(...state.votes.map((vote) => (vote.narrowedDuration ? durationMs(vote.narrowedDuration) : Infinity)));
  if (lengthMs > narrowed && entitlement.extend.approval === "none") {
    const maxSeconds = `${Math.max(0, timestampMs(state.windowStart) + narrowed - endMs) / 1000}`;
    const message = `an approver shortened it to ${span(narrowed)}, and ${state.entitlement} is extended without votes; ask for a new elevation`;
    return refuse("DURATION_TOO_LONG", message, { metadata: { ...about(state), maxSeconds } });
  }
  const outside = outsideSchedule(entitlement, { atMs: ruling.nowMs, nowMs: ruling.nowMs, metadata: about(state) });
  if (outside) return { ok: false, denial: outside };
  const windowEnd = timestampFromMs(endMs + by.value);
  if (state.extensionEnd && timestampMs(state.extensionEnd) === endMs + by.value) return nothing;
  const denied = justDenied(state, entitlement, ruling);
  if (denied) return denied;
  const asked = create(ExtensionRequestedSchema, { windowEnd });
  if (message.reason !== "") asked.reason = ruling.seal(message.reason);
  const events: Event[] = [{ case: "extensionRequested", value: asked }];
  // What an approver shortened, the rule alone does not lengthen.
  const automatic = lengthMs <= narrowed && entitlement.automatic?.evaluate({ principal: actor.facts }) === "true";
  if (automatic || entitlement.extend.approval === "none") {
    events.push({ case: "elevationExtended", value: create(ElevationExtendedSchema, { windowEnd }) });
    return happens(...events);
  }
  const reachable = reach(policy, entitlement, askedOverAgain(entitlement, state), nobodyOf(actor.facts));
  if (!reachable.ok) return refuse(reachable.reason, reachable.message, { metadata: about(state) });
  return happens(...events);
}

/** Refuses another question while the denial of the last one cools down. */
function justDenied(state: Elevation, { cooldownMs }: Entitlement, { nowMs, nameOf }: Ruling): Verdict | undefined {
  const denial = state.votes.findLast((vote) => vote.extension && vote.kind === VoteKind.DENY);
  if (!denial?.time) return undefined;
  const untilMs = timestampMs(denial.time) + cooldownMs;
  if (untilMs <= nowMs) return undefined;
  const by = nameOf(denial.voter?.id ?? "") ?? denial.voter?.id ?? "";
  const message = `an extension of ${state.id} was denied by ${by} at ${iso(timestampMs(denial.time))}; it can be asked for again at ${iso(untilMs)}`;
  return refuseState(state, "ELEVATION_DENIED", message, { metadata: { coolDownUntil: iso(untilMs) }, retryDelayMs: untilMs - nowMs });
}

function retryOf({ retryDelayMs }: Refusal): RefusalDetail {
  return retryDelayMs === undefined ? {} : { retryDelayMs };
}

/** Hands it back: one hold, or all; the last ends it. */
export function end(message: ElevationServiceEndRequest, state: Elevation, ruling: Ruling): Verdict {
  if (state.requester?.id !== ruling.actor.id) return requesterOnly("end", state, ruling);
  if (state.state !== ElevationState.ACTIVE && state.state !== ElevationState.SCHEDULED) {
    const instead = state.state === ElevationState.PENDING ? "; withdraw it instead" : "";
    const what = `only an approved elevation is handed back; ${state.id} is ${whatBecameOf(state, ruling.nameOf)}${instead}`;
    return refuse("ALREADY_DECIDED", what, { metadata: about(state) });
  }
  const released: Event = { case: "holdReleased", value: create(HoldReleasedSchema, { all: message.all }) };
  if (!message.all && state.holds > 1) return happens(released);
  return happens(released, { case: "elevationEnded", value: create(ElevationEndedSchema) });
}

/** Records that a grant is issued. */
export function grant(terms: GrantTerms, state: Elevation, ruling: Ruling): Verdict {
  if (state.requester?.id !== ruling.actor.id) return requesterOnly("get a grant for", state, ruling);
  if (state.state !== ElevationState.ACTIVE) return notActive(state, ruling);
  const endMs = grantEndMs(state.windowEnd ? timestampMs(state.windowEnd) : 0, ruling.nowMs);
  if (endMs <= ruling.nowMs) {
    return refuseState(state, "ELEVATION_EXPIRED", `the window of ${state.id} has less than a second left; a grant would be over at once`);
  }
  const issued = create(GrantIssuedSchema, {
    grant: terms.id,
    kid: terms.kid,
    expireTime: timestampFromMs(endMs),
    keyThumbprint: terms.key,
  });
  return happens({ case: "grantIssued", value: issued });
}

/** Refuses what only the requester may do. */
export function requesterOnly(verb: string, state: Elevation, { actor, nameOf }: Ruling, orElse = ""): Verdict {
  const requester = nameOf(state.requester?.id ?? "") ?? state.requester?.id ?? "";
  const message = `only its requester, ${requester},${orElse} may ${verb} ${state.id}; you are ${actor.facts.name}`;
  return refuse("ROLE_REQUIRED", message, { metadata: { ...about(state), principal: actor.facts.name } });
}

function notActive(state: Elevation, { nameOf }: Ruling): Verdict {
  const reason = REASON_OF_STATE[state.state] ?? "ELEVATION_REQUIRED";
  const starts = state.state === ElevationState.SCHEDULED && state.startTime ? `, and starts at ${iso(timestampMs(state.startTime))}` : "";
  const until =
    state.state === ElevationState.PENDING && state.pendingUntil ? `, open for votes until ${iso(timestampMs(state.pendingUntil))}` : "";
  return refuseState(state, reason, `${state.id} is not in its window: it is ${whatBecameOf(state, nameOf)}${starts}${until}`);
}

function payloadMismatch(digest: Uint8Array, state: Elevation, { payloadDigest }: Ruling): string | undefined {
  if (state.payloadDigest === undefined) return `${state.id} was not approved for one exact request`;
  if (payloadDigest === undefined) return `which request ${state.id} was approved for has been erased`;
  if (!sameBytes(digest, payloadDigest)) return `${state.id} was approved for another request than this one`;
  if (!state.payloadUseTime) return undefined;
  return `${state.id} was approved for one call, and that was made at ${iso(timestampMs(state.payloadUseTime))} (${stateName(state.state)})`;
}
