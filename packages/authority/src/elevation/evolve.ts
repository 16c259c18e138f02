// The state of an elevation as a fold over its log entries, and when time will next change it.
// Never judges: an entry in the log has happened. Knows principals and texts by id and commitment only.

import {
  type Elevation,
  ElevationSchema,
  ElevationState,
  type PersonalBytes,
  PersonalBytesSchema,
  type PersonalText,
  PersonalTextSchema,
  PrincipalSchema,
  StageSchema,
  StartMode,
  type Vote,
  VoteKind,
  VoteSchema,
} from "@brevet/protocol/brevet/v1/elevation";
import type { ElevationRequested, LogEntry, Sealed, StageEscalated, VoteCast, VotesVoided } from "@brevet/protocol/brevet/v1/log";
import { clone, create } from "@bufbuild/protobuf";
import { durationMs, type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

/**
 * The elevation after an entry that concerns it. Pure: `state` stays as it is. `Principal.id` and commitments are set, names, kinds, texts
 * and bytes are not: see reveal.ts.
 *
 * While an extension waits for approval, `stage` and `Stage.approved` count its votes, from 0 again. A stage that opens again is open from
 * then: its escalation is due after the whole time once more, unless it was escalated before.
 *
 * `revision` moves with every entry but GrantIssued, which changes nothing that a reader sees.
 *
 * @throws Error when the first entry is not ElevationRequested, or a second one is: the log contradicts itself.
 */
export function evolve(state: Elevation | undefined, entry: LogEntry): Elevation {
  const event = entry.event;
  if (event.case === "elevationRequested") {
    if (state !== undefined) throw new Error(`log entry ${entry.revision} asks for ${entry.elevation} a second time`);
    return requested(entry, event.value);
  }
  if (state === undefined)
    throw new Error(`log entry ${entry.revision} (${event.case}) concerns ${entry.elevation}, which nobody asked for`);
  if (event.case === "grantIssued") return state;
  const next = clone(ElevationSchema, state);
  next.revision = entry.revision;
  apply(next, entry);
  return next;
}

/** When time alone will change the elevation next, in milliseconds since 1970; undefined once it is final. */
export function nextDueMs(state: Elevation): number | undefined {
  switch (state.state) {
    case ElevationState.PENDING:
      return earlier(toMs(state.pendingUntil), escalationMs(state));
    case ElevationState.SCHEDULED:
      return toMs(state.startMode === StartMode.AT_TIME ? state.startTime : state.startBy);
    case ElevationState.ACTIVE:
      return earlier(toMs(state.windowEnd), escalationMs(state));
    default:
      return undefined;
  }
}

/** When the stage that is open for votes will have been open for as long as it may without others being asked too. */
export function escalationMs(state: Elevation): number | undefined {
  return toMs(state.stages[state.stage]?.escalateTime);
}

/** Whether nothing but a review can change it any more. */
export function isFinal(state: Elevation): boolean {
  return state.state !== ElevationState.PENDING && state.state !== ElevationState.SCHEDULED && state.state !== ElevationState.ACTIVE;
}

function requested(entry: LogEntry, event: ElevationRequested): Elevation {
  const state = create(ElevationSchema, {
    id: entry.elevation,
    audience: entry.audience,
    entitlement: event.entitlement,
    state: ElevationState.PENDING,
    requester: create(PrincipalSchema, { id: event.requester }),
    method: event.method,
    methods: [...event.methods],
    startMode: event.startMode,
    stages: event.stages.map(({ approvers, quorum, escalateAfter }) =>
      create(StageSchema, {
        approvers: approvers.map((approver) => sealedText(approver)),
        quorum,
        ...(escalateAfter && { escalateAfter }),
      }),
    ),
    notified: event.notified.map((each) => sealedText(each)),
    automatic: event.automatic,
    breakGlass: event.breakGlass,
    keyThumbprint: event.keyThumbprint,
    holds: 1,
    policyVersion: event.policyVersion,
    revision: entry.revision,
    presentation: event.presentation,
    streamExpiry: event.streamExpiry,
  });
  const at = entryMs(entry);
  state.createTime = timestampFromMs(at);
  if (event.initiator !== "") state.initiator = create(PrincipalSchema, { id: event.initiator });
  if (event.reason) state.reason = sealedText(event.reason);
  if (event.condition) state.condition = sealedText(event.condition);
  if (event.run) state.run = sealedText(event.run);
  if (event.payloadDigest) state.payloadDigest = sealedBytes(event.payloadDigest);
  if (event.payload) state.payload = sealedBytes(event.payload);
  if (event.duration) state.duration = event.duration;
  if (event.startTime) state.startTime = event.startTime;
  if (event.pending) state.pendingUntil = timestampFromMs(at + durationMs(event.pending));
  if (event.startWithin) state.startWithin = event.startWithin;
  if (event.reviewWithin) state.reviewBy = timestampFromMs(at + durationMs(event.reviewWithin));
  if (event.drain) state.drain = event.drain;
  turnTo(state, 0, at);
  return state;
}

function apply(state: Elevation, entry: LogEntry): void {
  const event = entry.event;
  switch (event.case) {
    case "holdTaken":
      state.holds += 1;
      return;
    case "holdReleased":
      state.holds = event.value.all ? 0 : Math.max(0, state.holds - 1);
      return;
    case "voteCast":
      return voted(state, entry, event.value);
    case "votesVoided":
      return voided(state, entry, event.value);
    case "stageEscalated":
      return escalated(state, event.value);
    case "elevationApproved":
      state.state = ElevationState.SCHEDULED;
      turnTo(state, state.stages.length, entryMs(entry));
      state.automatic = event.value.automatic;
      if (state.startWithin) state.startBy = timestampFromMs(entryMs(entry) + durationMs(state.startWithin));
      return;
    case "elevationStarted":
      state.state = ElevationState.ACTIVE;
      turnTo(state, state.stages.length, entryMs(entry));
      if (event.value.windowStart) state.windowStart = event.value.windowStart;
      if (event.value.windowEnd) state.windowEnd = event.value.windowEnd;
      return;
    case "elevationDenied":
      return ended(state, entry, ElevationState.DENIED, state.votes.findLast((vote) => vote.kind === VoteKind.DENY)?.comment);
    case "elevationWithdrawn":
      return ended(state, entry, ElevationState.WITHDRAWN, commented(event.value.comment));
    case "elevationLapsed":
      return ended(state, entry, ElevationState.LAPSED, undefined, event.value.at);
    case "elevationExpired":
      return ended(state, entry, ElevationState.EXPIRED, undefined, event.value.at);
    case "elevationEnded":
      return ended(state, entry, ElevationState.ENDED, undefined);
    case "elevationRevoked":
      return ended(state, entry, ElevationState.REVOKED, commented(event.value.comment));
    case "extensionRequested":
      if (event.value.windowEnd) state.extensionEnd = event.value.windowEnd;
      for (const stage of state.stages) stage.approved = 0;
      return turnTo(state, 0, entryMs(entry));
    case "elevationExtended":
      if (event.value.windowEnd) state.windowEnd = event.value.windowEnd;
      return extensionOver(state, entry);
    case "extensionClosed":
      return extensionOver(state, entry);
    case "elevationNarrowed":
      state.methods = [...event.value.methods];
      if (event.value.windowEnd) state.windowEnd = event.value.windowEnd;
      if (event.value.duration) state.duration = event.value.duration;
      return;
    case "payloadUsed":
      state.payloadUseTime = timestampFromMs(entryMs(entry));
      return;
    case "elevationReviewed": {
      state.reviewTime = timestampFromMs(entryMs(entry));
      state.reviewedBy = create(PrincipalSchema, { id: entry.actor });
      const comment = commented(event.value.comment);
      if (comment) state.reviewComment = comment;
      return;
    }
    default:
      // Entries that concern no elevation's state, also those of a later version of the format.
      return;
  }
}

function voted(state: Elevation, entry: LogEntry, event: VoteCast): void {
  const vote = create(VoteSchema, {
    voter: create(PrincipalSchema, { id: entry.actor }),
    kind: event.kind,
    stage: event.stage,
    time: timestampFromMs(entryMs(entry)),
    revision: entry.revision,
    extension: event.extension,
  });
  if (event.comment) vote.comment = sealedText(event.comment);
  if (event.narrowedDuration) {
    vote.narrowedDuration = event.narrowedDuration;
    if (state.duration === undefined || durationMs(event.narrowedDuration) < durationMs(state.duration))
      state.duration = event.narrowedDuration;
  }
  state.votes.push(vote);
  const stage = state.stages[event.stage];
  if (event.kind !== VoteKind.APPROVE || stage === undefined) return;
  stage.approved += 1;
  turnToOpen(state, entry);
}

function voided(state: Elevation, entry: LogEntry, event: VotesVoided): void {
  for (const vote of state.votes) {
    if (vote.voided || !event.votes.includes(vote.revision)) continue;
    vote.voided = true;
    const stage = state.stages[vote.stage];
    if (vote.extension !== (state.extensionEnd !== undefined)) continue;
    if (vote.kind === VoteKind.APPROVE && stage !== undefined && stage.approved > 0) stage.approved -= 1;
  }
  turnToOpen(state, entry);
}

function escalated(state: Elevation, event: StageEscalated): void {
  const stage = state.stages[event.stage];
  if (stage === undefined) return;
  stage.escalatedTo.push(...event.to.map((to) => sealedText(to)));
  delete stage.escalateAfter;
  delete stage.escalateTime;
}

/** The first stage without its quorum is open, if it was not already; none is when all have theirs. */
function turnToOpen(state: Elevation, entry: LogEntry): void {
  const open = state.stages.findIndex((stage) => stage.approved < stage.quorum);
  const place = open === -1 ? state.stages.length : open;
  if (place !== state.stage) turnTo(state, place, entryMs(entry));
}

/** Opens a stage for votes, and closes the one that was; the number of stages closes all. */
function turnTo(state: Elevation, place: number, atMs: number): void {
  delete state.stages[state.stage]?.escalateTime;
  state.stage = place;
  const open = state.stages[place];
  if (open?.escalateAfter) open.escalateTime = timestampFromMs(atMs + durationMs(open.escalateAfter));
}

function ended(state: Elevation, entry: LogEntry, to: ElevationState, comment: PersonalText | undefined, at?: Timestamp): void {
  state.state = to;
  state.endTime = at ?? timestampFromMs(entryMs(entry));
  if (entry.actor !== "" && at === undefined) state.endedBy = create(PrincipalSchema, { id: entry.actor });
  if (comment) state.endComment = comment;
  if (state.extensionEnd !== undefined) extensionOver(state, entry);
  delete state.stages[state.stage]?.escalateTime;
}

/** The stages show the approval of the elevation itself again. */
function extensionOver(state: Elevation, entry: LogEntry): void {
  delete state.extensionEnd;
  const counts = ({ kind, extension, voided: gone }: Vote) => kind === VoteKind.APPROVE && !extension && !gone;
  for (const [place, stage] of state.stages.entries())
    stage.approved = state.votes.filter((vote) => counts(vote) && vote.stage === place).length;
  turnTo(state, state.stages.length, entryMs(entry));
}

function sealedText(sealed: Sealed): PersonalText {
  return create(PersonalTextSchema, { commitment: sealed.commitment });
}

function sealedBytes(sealed: Sealed): PersonalBytes {
  return create(PersonalBytesSchema, { commitment: sealed.commitment });
}

function commented(sealed: Sealed | undefined): PersonalText | undefined {
  return sealed && sealedText(sealed);
}

function entryMs(entry: LogEntry): number {
  if (entry.time === undefined) throw new Error(`log entry ${entry.revision} has no time`);
  return timestampMs(entry.time);
}

function toMs(time: Timestamp | undefined): number | undefined {
  return time && timestampMs(time);
}

function earlier(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}
