// What readers see of an elevation: who may read it, names and texts filled in, who could vote. Everybody reads their own, those that
// they may decide, and with a role all of the audience; to others it does not exist. Never writes.

import { type CompiledPolicy, hasRole, knownApprovers, matchesAny, type PrincipalFacts } from "@brevet/policy";
import {
  type Elevation,
  ElevationSchema,
  type PersonalBytes,
  type PersonalText,
  type Principal,
} from "@brevet/protocol/brevet/v1/elevation";
import { clone } from "@bufbuild/protobuf";
import type { View } from "../store/store.ts";
import { countingVotes, isNotified, isOpenForVotes, isOwn, mayNotDecide, mayVoteInSomeStage, stageSelectors } from "./approvers.ts";

/** Who reads: the log's id, "" for somebody whom it never saw act, and what the elevation's audience knows. */
export interface Reader {
  readonly id: string;
  readonly facts: PrincipalFacts;
}

/** The part of a store that reveals. */
export type Texts = Pick<View, "principals" | "openings">;

/** Whether the elevation exists for this reader. */
export function mayRead(state: Elevation, reader: Reader, policy: CompiledPolicy | undefined): boolean {
  if (isOwn(state, reader.id)) return true;
  if (policy === undefined) return false;
  if (hasRole(policy, "admin", reader.facts) || hasRole(policy, "auditor", reader.facts)) return true;
  // Who voted may see what became of it, also after leaving the group.
  if (reader.id !== "" && state.votes.some((vote) => vote.voter?.id === reader.id)) return true;
  const entitlement = policy.entitlement(state.entitlement);
  return mayVoteInSomeStage(entitlement, state, reader.facts) || isNotified(entitlement, state, reader.facts);
}

/** Whether the reader may vote on it now. */
export function mayDecide(state: Elevation, reader: Reader, policy: CompiledPolicy | undefined): boolean {
  if (policy === undefined || !isOpenForVotes(state)) return false;
  if (mayNotDecide("vote on", state, { actor: reader, nameOf: () => undefined })) return false;
  if (reader.id !== "" && countingVotes(state).some((vote) => vote.voter?.id === reader.id)) return false;
  return matchesAny(stageSelectors(policy.entitlement(state.entitlement), state, state.stage), reader.facts);
}

/**
 * A copy with names, texts, `eligible_approvers` and `may_decide`, as this reader sees it. What was erased stays empty.
 * @param detail `listed`: as one of many, without the payload, which may be large.
 */
export async function reveal(
  state: Elevation,
  reader: Reader,
  policy: CompiledPolicy | undefined,
  texts: Texts,
  detail: "whole" | "listed" = "whole",
): Promise<Elevation> {
  const shown = await fill(clone(ElevationSchema, state), texts);
  shown.mayDecide = mayDecide(state, reader, policy);
  if (detail === "whole" && shown.payload && (shown.mayDecide || isOwn(state, reader.id))) await open([], [shown.payload], texts);
  const entitlement = policy?.entitlement(state.entitlement);
  if (policy !== undefined && entitlement !== undefined && isOpenForVotes(state)) {
    const out = [shown.requester, shown.initiator, ...countingVotes(shown).map((vote) => vote.voter)];
    const exclude = new Set(out.flatMap((principal) => (principal ? [principal.name] : [])));
    const { people, complete } = knownApprovers(policy, stageSelectors(entitlement, state, state.stage), exclude);
    if (complete) shown.eligibleApprovers = people.size;
  }
  return shown;
}

/**
 * A copy for guards: the names that they match callers with, what calls have to meet, and no reasons, comments, votes or approvers.
 */
export async function revealToGuard(state: Elevation, texts: Texts): Promise<Elevation> {
  const shown = clone(ElevationSchema, state);
  delete shown.reason;
  delete shown.endComment;
  delete shown.reviewComment;
  delete shown.reviewedBy;
  delete shown.endedBy;
  delete shown.run;
  delete shown.payload;
  shown.votes = [];
  shown.notified = [];
  for (const stage of shown.stages) {
    stage.approvers = [];
    stage.escalatedTo = [];
    delete stage.escalateAfter;
    delete stage.escalateTime;
  }
  await open([shown.condition], [shown.payloadDigest], texts);
  await fillNames([shown.requester, shown.initiator], texts);
  return shown;
}

/** Ids of all principals that an elevation mentions. */
export function principalsOf(state: Elevation): string[] {
  return [...new Set(mentioned(state).flatMap((principal) => (principal && principal.id !== "" ? [principal.id] : [])))];
}

function mentioned(state: Elevation): (Principal | undefined)[] {
  return [state.requester, state.initiator, state.endedBy, state.reviewedBy, ...state.votes.map((vote) => vote.voter)];
}

async function fill(shown: Elevation, texts: Texts): Promise<Elevation> {
  const sealed: (PersonalText | undefined)[] = [
    shown.reason,
    shown.condition,
    shown.run,
    shown.endComment,
    shown.reviewComment,
    ...shown.notified,
    ...shown.votes.map((vote) => vote.comment),
  ];
  for (const stage of shown.stages) sealed.push(...stage.approvers, ...stage.escalatedTo);
  await open(sealed, [shown.payloadDigest], texts);
  await fillNames(mentioned(shown), texts);
  return shown;
}

/** Fills in what the commitments open to, as far as it is kept. */
async function open(
  words: readonly (PersonalText | undefined)[],
  bytes: readonly (PersonalBytes | undefined)[],
  texts: Pick<Texts, "openings">,
): Promise<void> {
  const wanted = [...words, ...bytes].filter((each) => each !== undefined && each.commitment.length > 0) as (
    | PersonalText
    | PersonalBytes
  )[];
  if (wanted.length === 0) return;
  const openings = await texts.openings(wanted.map((each) => each.commitment));
  for (const each of wanted) {
    const value = openings.get(Buffer.from(each.commitment).toString("hex"));
    if (value === undefined) continue;
    if (each.$typeName === "brevet.v1.PersonalText") each.text = Buffer.from(value).toString("utf8");
    else each.value = value;
  }
}

async function fillNames(principals: readonly (Principal | undefined)[], texts: Pick<Texts, "principals">): Promise<void> {
  const present = principals.filter((principal) => principal !== undefined && principal.id !== "") as Principal[];
  const known = await texts.principals([...new Set(present.map((principal) => principal.id))]);
  for (const principal of present) {
    const stored = known.get(principal.id);
    if (stored === undefined) continue;
    principal.kind = stored.kind;
    principal.name = stored.name ?? "";
  }
}
