// Votes: who may vote, on what, once; and what the vote that completes the last quorum brings about. Quorum is counted on the state that
// the write sees. Never decides for the policy: automatic approval is request.ts.

import { matchesAny } from "@brevet/policy";
import type { ElevationServiceApproveRequest, ElevationServiceDenyRequest } from "@brevet/protocol/brevet/v1/elevation";
import { type Elevation, VoteKind } from "@brevet/protocol/brevet/v1/elevation";
import {
  ElevationApprovedSchema,
  ElevationDeniedSchema,
  ElevationExtendedSchema,
  ExtensionCloseCause,
  ExtensionClosedSchema,
  StartCause,
  type VoteCast,
  VoteCastSchema,
} from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Event } from "../log/draft.ts";
import { countingVotes, isOpenForVotes, mayNotDecide, mayVoteInSomeStage, stageSelectors } from "./approvers.ts";
import { about, invalid, iso, type Refusal, refuse, span, whatBecameOf } from "./refusal.ts";
import { happens, type Ruling, type Verdict } from "./rule.ts";
import { neverStarts, outsideSchedule } from "./schedule.ts";
import { started } from "./start.ts";
import { sameBytes, spanMs, text } from "./terms.ts";

/** A vote for the elevation, or for the extension that it waits for. */
export function approve(message: ElevationServiceApproveRequest, state: Elevation, ruling: Ruling): Verdict {
  const comment = text("comment", message.comment);
  if (!comment.ok) return comment;
  const no =
    mayNotVote(state, ruling) ?? hasChanged(message.seenRevision, state, ruling) ?? unseenPayload(message.payloadDigest, state, ruling);
  if (no) return { ok: false, denial: no };
  const extension = state.extensionEnd !== undefined;
  const vote = ballot(VoteKind.APPROVE, message.comment, message.seenRevision, state, ruling);
  if (state.payloadDigest) vote.payloadCommitment = state.payloadDigest.commitment;
  if (message.duration) {
    if (extension) return invalid("duration", "an extension is approved as it was asked for, or denied");
    const narrowed = spanMs("duration", message.duration);
    if (!narrowed.ok) return narrowed;
    const asked = state.duration ? durationMs(state.duration) : 0;
    if (narrowed.value > asked) {
      return refuse(
        "DURATION_TOO_LONG",
        `${span(narrowed.value)} is longer than the ${span(asked)} of ${state.id}; a vote may only narrow`,
        {
          metadata: { ...about(state), maxSeconds: `${asked / 1000}` },
        },
      );
    }
    if (narrowed.value < asked) vote.narrowedDuration = durationFromMs(narrowed.value);
  }
  const events: Event[] = [{ case: "voteCast", value: vote }];
  if (!completes(state)) return happens(...events);
  const { entitlement, nowMs } = ruling;
  const outside = extension
    ? outsideSchedule(entitlement, { atMs: nowMs, nowMs, metadata: about(state) })
    : neverStarts(state, entitlement, nowMs);
  if (outside) return { ok: false, denial: outside };
  if (extension) {
    if (state.extensionEnd)
      events.push({ case: "elevationExtended", value: create(ElevationExtendedSchema, { windowEnd: state.extensionEnd }) });
    return happens(...events);
  }
  events.push({ case: "elevationApproved", value: create(ElevationApprovedSchema) });
  const length = vote.narrowedDuration ?? state.duration;
  events.push(...startsWithApproval(state.startTime, length ? durationMs(length) : 0, ruling));
  return happens(...events);
}

/** A vote against; one is enough. */
export function deny(message: ElevationServiceDenyRequest, state: Elevation, ruling: Ruling): Verdict {
  const comment = text("comment", message.comment);
  if (!comment.ok) return comment;
  const no = mayNotVote(state, ruling) ?? hasChanged(message.seenRevision, state, ruling);
  if (no) return { ok: false, denial: no };
  const vote: Event = { case: "voteCast", value: ballot(VoteKind.DENY, message.comment, message.seenRevision, state, ruling) };
  return state.extensionEnd === undefined
    ? happens(vote, { case: "elevationDenied", value: create(ElevationDeniedSchema) })
    : happens(vote, { case: "extensionClosed", value: create(ExtensionClosedSchema, { cause: ExtensionCloseCause.DENIED }) });
}

/** The window's start, where approval brings it: a caller waits and the hours allow it, or the time asked for has come. */
export function startsWithApproval(
  startTime: Timestamp | undefined,
  lengthMs: number,
  at: Pick<Ruling, "nowMs" | "callerWaiting" | "entitlement">,
): Event[] {
  if (startTime) {
    const due = timestampMs(startTime) <= at.nowMs;
    return due ? [started(StartCause.TIME, at.nowMs, lengthMs, at.entitlement)] : [];
  }
  if (!at.callerWaiting || outsideSchedule(at.entitlement, { atMs: at.nowMs, nowMs: at.nowMs, metadata: {} })) return [];
  return [started(StartCause.CALLER_WAITING, at.nowMs, lengthMs, at.entitlement)];
}

function ballot(kind: VoteKind, comment: string, seenRevision: bigint, state: Elevation, ruling: Ruling): VoteCast {
  const vote = create(VoteCastSchema, {
    kind,
    stage: state.stage,
    policyVersion: ruling.policyVersion,
    seenRevision,
    extension: state.extensionEnd !== undefined,
  });
  if (comment !== "") vote.comment = ruling.seal(comment);
  const { facts } = ruling.actor;
  const matching = stageSelectors(ruling.entitlement, state, state.stage).filter((selector) => matchesAny([selector], facts));
  if (matching[0] !== undefined) vote.selector = ruling.seal(matching[0]);
  vote.groups = matching.filter((selector) => facts.groups.has(selector)).map((group) => ruling.seal(group));
  return vote;
}

/** Whether one more approval in the open stage is the last that was missing. */
function completes(state: Elevation): boolean {
  const missing = state.stages.reduce((sum, stage) => sum + Math.max(0, stage.quorum - stage.approved), 0);
  return missing === 1;
}

/** Why this person's vote does not count; undefined if it does. Rights first, then the state, then earlier votes. */
function mayNotVote(state: Elevation, ruling: Ruling): Refusal | undefined {
  const barred = mayNotDecide("vote on", state, ruling);
  if (barred) return barred;
  const { actor, entitlement, nameOf } = ruling;
  const metadata = { ...about(state), principal: actor.facts.name };
  if (!isOpenForVotes(state)) {
    if (!mayVoteInSomeStage(entitlement, state, actor.facts)) return notAnApprover(state, ruling, metadata);
    return refuse(
      "ALREADY_DECIDED",
      `${state.id} takes no votes any more: it is ${whatBecameOf(state, nameOf)}. See: brevet show ${state.id}`,
      { metadata },
    ).denial;
  }
  const earlier = countingVotes(state).find((vote) => vote.voter?.id === actor.id);
  if (earlier) {
    const way = earlier.kind === VoteKind.DENY ? "against" : "for";
    const when = earlier.time ? ` at ${iso(timestampMs(earlier.time))}` : "";
    const message = `${actor.facts.name} voted ${way} ${state.id}${when}, in stage ${earlier.stage + 1} of ${state.stages.length}; each person counts once over all stages, and others have to vote now`;
    return refuse("ALREADY_VOTED", message, { metadata }).denial;
  }
  if (!matchesAny(stageSelectors(entitlement, state, state.stage), actor.facts)) return notAnApprover(state, ruling, metadata);
  return undefined;
}

function notAnApprover(state: Elevation, { actor, entitlement }: Ruling, metadata: Record<string, string>): Refusal {
  const open = Math.min(state.stage, Math.max(0, state.stages.length - 1));
  const who = stageSelectors(entitlement, state, open);
  const place = state.stages.length > 1 ? `stage ${open + 1} of ${state.stages.length}, which is open` : state.entitlement;
  const may =
    who.length > 0
      ? `only ${who.join(", ")} may vote in ${place}; ask one of them`
      : `the policy names nobody who may vote in ${place}; an admin of ${state.audience} has to`;
  return refuse("NOT_AN_APPROVER", `${actor.facts.name} may not vote on ${state.id}: ${may}`, {
    metadata: { ...metadata, stage: `${open + 1}` },
  }).denial;
}

/** Whether what is voted on changed behind what the voter saw: a narrowing, another extension. Votes and holds of others do not count. */
function hasChanged(seen: bigint, state: Elevation, { termsRevision }: Ruling): Refusal | undefined {
  if (seen === 0n || (seen >= (termsRevision || state.revision) && seen <= state.revision)) return undefined;
  const message = `${state.id} is at revision ${state.revision}, you saw ${seen}: its terms changed, or are not what you saw. Look again, then vote`;
  return refuse("REVISION_CHANGED", message, { metadata: { ...about(state), seenRevision: `${seen}`, revision: `${state.revision}` } })
    .denial;
}

function unseenPayload(digest: Uint8Array, state: Elevation, { payloadDigest }: Ruling): Refusal | undefined {
  if (state.payloadDigest === undefined) {
    return digest.length === 0 ? undefined : invalid("payload_digest", `${state.id} is not bound to a request`).denial;
  }
  if (digest.length === 0) {
    const message = `${state.id} covers one exact request: say its digest as payload_digest, so that your vote is for what you saw`;
    return refuse("PAYLOAD_REQUIRED", message, { metadata: about(state) }).denial;
  }
  if (payloadDigest !== undefined && sameBytes(digest, payloadDigest)) return undefined;
  return refuse("REVISION_CHANGED", `${state.id} covers another request than the one that you saw`, { metadata: about(state) }).denial;
}
