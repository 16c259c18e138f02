// Who may vote on an elevation, and whether enough people can. Judged under the current policy; the quorum is the frozen one.
// Never counts a person twice, never the requester or the person on whose behalf it was asked.
import { type CompiledPolicy, type Entitlement, knownApprovers, matchesAny, type PrincipalFacts } from "@brevet/policy";
import { type Elevation, ElevationState, type Principal, type Vote, VoteKind } from "@brevet/protocol/brevet/v1/elevation";
import { about, type Refusal, refuse } from "./refusal.ts";
import type { Ruling } from "./rule.ts";

/** Names of people and groups who may vote in a stage, with those it was escalated to. Empty: nobody. */
export function stageSelectors(entitlement: Entitlement | undefined, state: Elevation, stage: number): readonly string[] {
  const rule = entitlement?.stages[stage];
  if (rule === undefined) return [];
  const escalated = (state.stages[stage]?.escalatedTo.length ?? 0) > 0;
  return escalated ? [...rule.approvers, ...(rule.escalate?.to ?? [])] : rule.approvers;
}

/** Who might be asked in each stage of a question that is asked now: its approvers, and those whom it can still be escalated to. */
export function askedOver(entitlement: Entitlement): readonly (readonly string[])[] {
  return entitlement.stages.map(({ approvers, escalate }) =>
    escalate && escalate.afterMs < entitlement.pendingMs ? [...approvers, ...escalate.to] : approvers,
  );
}

/** As {@link askedOver}, for an elevation that was asked for: what was not to be escalated then will not be. */
export function askedOverAgain(entitlement: Entitlement, state: Elevation): readonly (readonly string[])[] {
  return entitlement.stages.map(({ approvers, escalate }, place) => {
    const { escalateAfter, escalatedTo = [] } = state.stages[place] ?? {};
    return escalate && (escalateAfter || escalatedTo.length > 0) ? [...approvers, ...escalate.to] : approvers;
  });
}

/** Whose own vote never counts on what they ask for. */
export function nobodyOf({ name, initiator }: PrincipalFacts): ReadonlySet<string> {
  return new Set(initiator === undefined ? [name] : [name, initiator]);
}

/** Whether a break-glass use was told to the principal, who may then look at it and review it. */
export function isNotified(entitlement: Entitlement | undefined, state: Elevation, who: PrincipalFacts): boolean {
  return state.breakGlass && matchesAny(entitlement?.breakGlass?.notify ?? [], who);
}

/** Whether the principal may vote in any stage; being the requester or having voted apart. */
export function mayVoteInSomeStage(entitlement: Entitlement | undefined, state: Elevation, who: PrincipalFacts): boolean {
  return entitlement !== undefined && entitlement.stages.some((_, stage) => matchesAny(stageSelectors(entitlement, state, stage), who));
}

/** Whether the elevation was asked for by this principal, or on this principal's behalf. */
export function isOwn(state: Elevation, id: string): boolean {
  return id !== "" && (state.requester?.id === id || state.initiator?.id === id);
}

/**
 * Who may decide nothing about this elevation, neither vote on it nor review it, whatever groups and roles they have; undefined for others.
 * Who asked, on whose behalf it was asked, and what runs for either. Programs: one person may run any number. Who runs for somebody else.
 */
export function mayNotDecide(
  verb: "vote on" | "review",
  state: Elevation,
  { actor, nameOf }: Pick<Ruling, "actor" | "nameOf">,
): Refusal | undefined {
  const { name, initiator: person, kind } = actor.facts;
  const metadata = { ...about(state), principal: name };
  const no = `${name} may not ${verb} ${state.id}`;
  const nameIn = (principal: Principal | undefined) => principal && (nameOf(principal.id) ?? principal.id);
  const forOwn = person !== undefined && (person === nameIn(state.requester) || person === nameIn(state.initiator));
  const own = isOwn(state, actor.id);
  if (own || forOwn) {
    const asked = state.requester?.id === actor.id;
    const how = asked ? "asked for it" : own ? "started the run that asked for it" : `runs for ${person}, who asked for it`;
    return refuse("SELF_APPROVAL", `${no}: ${name} ${how}; another approver has to`, { metadata }).denial;
  }
  if (kind !== "user") {
    const whose = person === undefined ? "" : ` that runs for ${person}`;
    const people = verb === "review" ? "only people review" : "only people vote";
    return refuse("NOT_AN_APPROVER", `${no}: ${people}, and this is a program${whose}`, { metadata }).denial;
  }
  if (person === undefined) return undefined;
  return refuse("NOT_AN_APPROVER", `${no}: ${name} runs for ${person}; people decide as themselves, so that each counts once`, { metadata })
    .denial;
}

/** Whether the elevation waits for votes: as a whole, or for an extension. */
export function isOpenForVotes(state: Elevation): boolean {
  return state.state === ElevationState.PENDING || (state.state === ElevationState.ACTIVE && state.extensionEnd !== undefined);
}

/**
 * The votes that count in the round that is open: those for the elevation while it is PENDING; for an extension those for extensions
 * that were cast since it was asked for, which are the last ones, as many as the stages have counted.
 */
export function countingVotes(state: Elevation): Vote[] {
  const live = state.votes.filter((vote) => !vote.voided);
  if (state.extensionEnd === undefined) return live.filter((vote) => !vote.extension);
  const counted = state.stages.reduce((sum, stage) => sum + stage.approved, 0);
  const approvals = live.filter((vote) => vote.extension && vote.kind === VoteKind.APPROVE);
  return approvals.slice(approvals.length - counted);
}

/** What stands between a set of stages and its approval. */
export type Reach =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: "NO_APPROVER" | "QUORUM_UNREACHABLE"; readonly message: string };

/**
 * Whether the people that the policy names can complete all quorums, each counted once over all stages, `exclude` never. Groups known
 * only from claims have unknown size and count as enough.
 * @param asked Who might be asked, stage after stage.
 */
export function reach(
  policy: CompiledPolicy,
  entitlement: Entitlement,
  asked: readonly (readonly string[])[],
  exclude: ReadonlySet<string>,
): Reach {
  const { stages, id } = entitlement;
  const remedy = `an admin of ${policy.audience} has to add approvers, waiting does not help`;
  if (stages.length === 0) return { ok: false, reason: "NO_APPROVER", message: `the policy names nobody who may approve ${id}; ${remedy}` };
  const slots: ReadonlySet<string>[] = [];
  for (const [index, stage] of stages.entries()) {
    const selectors = asked[index] ?? stage.approvers;
    const { people, complete } = knownApprovers(policy, selectors, exclude);
    const who = selectors.join(", ");
    if (selectors.length === 0 || (complete && people.size === 0)) {
      const left = exclude.size > 0 && selectors.length > 0 ? ` besides ${[...exclude].join(", ")}` : "";
      return {
        ok: false,
        reason: "NO_APPROVER",
        message: `nobody${left} may approve stage ${index + 1} of ${id} (approvers: ${who || "none"}); ${remedy}`,
      };
    }
    if (complete) for (let seat = 0; seat < stage.quorum; seat += 1) slots.push(people);
    if (complete && people.size < stage.quorum) {
      const message = `stage ${index + 1} of ${id} needs ${stage.quorum} approvals and only ${people.size} may give one (approvers: ${who}); ${remedy}`;
      return { ok: false, reason: "QUORUM_UNREACHABLE", message };
    }
  }
  if (seatsFilled(slots)) return { ok: true };
  return {
    ok: false,
    reason: "QUORUM_UNREACHABLE",
    message: `the stages of ${id} need ${slots.length} different people, and fewer may approve; ${remedy}`,
  };
}

/** Whether each seat can have a person of its own: a matching, by augmenting paths. */
function seatsFilled(seats: readonly ReadonlySet<string>[]): boolean {
  const seatOf = new Map<string, number>();
  const seat = (index: number, tried: Set<string>): boolean => {
    for (const person of seats[index] ?? []) {
      if (tried.has(person)) continue;
      tried.add(person);
      const other = seatOf.get(person);
      if (other === undefined || seat(other, tried)) {
        seatOf.set(person, index);
        return true;
      }
    }
    return false;
  };
  return seats.every((_, index) => seat(index, new Set()));
}
