// How people take an elevation back or away, and how break-glass is reviewed afterwards. Never what time does: that is start.ts.

import { hasRole } from "@brevet/policy";
import {
  type Elevation,
  type ElevationServiceReviewRequest,
  type ElevationServiceRevokeRequest,
  type ElevationServiceWithdrawRequest,
  ElevationState,
  StreamExpiry,
} from "@brevet/protocol/brevet/v1/elevation";
import {
  ElevationReviewedSchema,
  ElevationRevokedSchema,
  ElevationWithdrawnSchema,
  ExtensionCloseCause,
  ExtensionClosedSchema,
  RevokeCause,
} from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { isNotified, mayNotDecide, mayVoteInSomeStage } from "./approvers.ts";
import { isFinal } from "./evolve.ts";
import { about, invalid, iso, refuse, whatBecameOf } from "./refusal.ts";
import { happens, nothing, type Ruling, type Verdict } from "./rule.ts";
import { text } from "./terms.ts";
import { requesterOnly } from "./window.ts";

/** The requester takes it back before it is decided: the elevation, or the extension that an ACTIVE one waits for. */
export function withdraw(message: ElevationServiceWithdrawRequest, state: Elevation, ruling: Ruling): Verdict {
  const comment = text("comment", message.comment);
  if (!comment.ok) return comment;
  if (state.requester?.id !== ruling.actor.id) return requesterOnly("withdraw", state, ruling);
  if (state.state === ElevationState.ACTIVE && state.extensionEnd !== undefined) {
    const value = create(ExtensionClosedSchema, { cause: ExtensionCloseCause.WITHDRAWN });
    return happens({ case: "extensionClosed", value });
  }
  if (state.state !== ElevationState.PENDING) {
    const instead = isFinal(state) ? "" : "; end it instead";
    const what = `${state.id} can no longer be withdrawn: it is ${whatBecameOf(state, ruling.nameOf)}${instead}`;
    return refuse("ALREADY_DECIDED", what, { metadata: about(state) });
  }
  const value = create(ElevationWithdrawnSchema);
  if (message.comment !== "") value.comment = ruling.seal(message.comment);
  return happens({ case: "elevationWithdrawn", value });
}

/** Takes it away: admins, those who may approve it, and its requester. */
export function revoke(message: ElevationServiceRevokeRequest, state: Elevation, ruling: Ruling): Verdict {
  const comment = text("comment", message.comment);
  if (!comment.ok) return comment;
  if (!mayRevoke(state, ruling)) {
    const who = `${ruling.actor.facts.name} may not revoke ${state.id}`;
    return refuse(
      "ROLE_REQUIRED",
      `${who}: that takes the role admin in ${state.audience}, being one of its approvers, or being its requester`,
      {
        metadata: { ...about(state), principal: ruling.actor.facts.name, role: "admin" },
      },
    );
  }
  if (state.state === ElevationState.REVOKED) return nothing;
  if (isFinal(state) && !isDraining(state, ruling.nowMs)) {
    const what = `there is nothing left to revoke: ${state.id} is ${whatBecameOf(state, ruling.nameOf)}`;
    return refuse("ALREADY_DECIDED", what, { metadata: about(state) });
  }
  const value = create(ElevationRevokedSchema, { cause: RevokeCause.REQUESTED });
  if (message.comment !== "") value.comment = ruling.seal(message.comment);
  return happens({ case: "elevationRevoked", value });
}

/** Whether streams may still go on under it, though its window is over. */
export function isDraining({ state, streamExpiry, drain, windowEnd }: Elevation, nowMs: number): boolean {
  if (state !== ElevationState.EXPIRED || streamExpiry !== StreamExpiry.DRAIN || windowEnd === undefined) return false;
  return nowMs < timestampMs(windowEnd) + (drain === undefined ? 0 : durationMs(drain));
}

/** Whether the actor may take it away. */
export function mayRevoke(state: Elevation, { actor, policy, entitlement }: Ruling): boolean {
  return state.requester?.id === actor.id || hasRole(policy, "admin", actor.facts) || mayVoteInSomeStage(entitlement, state, actor.facts);
}

/** Records the review of a break-glass elevation, once. */
export function review(message: ElevationServiceReviewRequest, state: Elevation, ruling: Ruling): Verdict {
  const { actor, policy, entitlement } = ruling;
  const metadata = { ...about(state), principal: actor.facts.name };
  const comment = text("comment", message.comment);
  if (!comment.ok) return comment;
  const barred = mayNotDecide("review", state, ruling);
  if (barred) return { ok: false, denial: barred };
  const voter = mayVoteInSomeStage(entitlement, state, actor.facts);
  if (!hasRole(policy, "admin", actor.facts) && !voter && !isNotified(entitlement, state, actor.facts)) {
    const told = entitlement?.breakGlass?.notify.join(", ") ?? "";
    const who = `the role admin in ${state.audience}${told === "" ? "" : `, or being among those whom it notifies (${told})`}`;
    return refuse("NOT_AN_APPROVER", `${actor.facts.name} may not review ${state.id}: that takes ${who}`, { metadata });
  }
  if (!state.breakGlass) return invalid("id", `${state.id} is not a break-glass elevation; there is nothing to review`);
  if (state.reviewTime) {
    const by = ruling.nameOf(state.reviewedBy?.id ?? "") ?? state.reviewedBy?.id ?? "";
    return refuse("ALREADY_DECIDED", `${state.id} was reviewed by ${by} at ${iso(timestampMs(state.reviewTime))}`, { metadata });
  }
  if (message.comment.trim() === "") return refuse("REASON_REQUIRED", "a review says in words what was found", { metadata });
  return happens({ case: "elevationReviewed", value: create(ElevationReviewedSchema, { comment: ruling.seal(message.comment) }) });
}
