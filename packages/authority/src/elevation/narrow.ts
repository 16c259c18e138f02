// What a policy change does to a live elevation: it cuts, voids votes, or revokes. Never widens anything.

import { type CompiledPolicy, type Entitlement, knownApprovers } from "@brevet/policy";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import {
  ElevationNarrowedSchema,
  ElevationRevokedSchema,
  ExtensionCloseCause,
  ExtensionClosedSchema,
  RevokeCause,
  VotesVoidedSchema,
} from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Event } from "../log/draft.ts";
import { countingVotes, isOpenForVotes, stageSelectors } from "./approvers.ts";
import { isFinal } from "./evolve.ts";
import { type Context, happens, nothing, type Verdict } from "./rule.ts";

/** Judges an elevation anew under the policy that is becoming current; `previous` is the one that it replaces. */
export function narrow(
  previous: CompiledPolicy | undefined,
  state: Elevation,
  context: Context & { readonly policy: CompiledPolicy },
): Verdict {
  if (isFinal(state)) return nothing;
  const { policy } = context;
  const entitlement = policy.entitlement(state.entitlement);
  const why = lostRight(previous, state, entitlement, context);
  if (entitlement === undefined || why !== undefined) return revoked(why ?? "", context);
  const methods = coveredMethods(state, entitlement, policy);
  const endMs = allowedEndMs(state, entitlement);
  if (endMs !== undefined && endMs <= context.nowMs)
    return revoked(`the policy now allows ${state.entitlement} for less than it has run`, context);
  const events: Event[] = [];
  const lengthMs = allowedLengthMs(state, entitlement);
  if (methods.length < state.methods.length || endMs !== undefined || lengthMs !== undefined) {
    const value = create(ElevationNarrowedSchema, { methods, policyVersion: context.policyVersion });
    if (endMs !== undefined) value.windowEnd = timestampFromMs(endMs);
    if (lengthMs !== undefined) value.duration = durationFromMs(lengthMs);
    events.push({ case: "elevationNarrowed", value });
  }
  if (!isOpenForVotes(state)) return happens(...events);
  if (state.extensionEnd !== undefined && !mayStillExtend(state, entitlement, endMs)) {
    const closed = create(ExtensionClosedSchema, { cause: ExtensionCloseCause.POLICY });
    return happens(...events, { case: "extensionClosed", value: closed });
  }
  const votes = votesLost(previous, state, entitlement, context);
  if (votes.length > 0)
    events.push({ case: "votesVoided", value: create(VotesVoidedSchema, { votes, policyVersion: context.policyVersion }) });
  return happens(...events);
}

function revoked(why: string, { seal }: Context): Verdict {
  return happens({ case: "elevationRevoked", value: create(ElevationRevokedSchema, { cause: RevokeCause.POLICY, comment: seal(why) }) });
}

/** Why nothing of it can stay; undefined if something can. */
function lostRight(
  previous: CompiledPolicy | undefined,
  state: Elevation,
  entitlement: Entitlement | undefined,
  { policy, nameOf, policyVersion }: Context & { readonly policy: CompiledPolicy },
): string | undefined {
  if (entitlement === undefined) return `policy version ${policyVersion} has no entitlement ${state.entitlement}`;
  if (state.breakGlass && !entitlement.breakGlass)
    return `policy version ${policyVersion} no longer has ${state.entitlement} as break-glass`;
  if (coveredMethods(state, entitlement, policy).length === 0)
    return `policy version ${policyVersion} takes all methods from ${state.entitlement}`;
  const was = previous?.entitlement(state.entitlement)?.requesters ?? [];
  const requester = nameOf(state.requester?.id ?? "");
  if (!keepsRight(requester, { policy: previous, selectors: was }, { policy, selectors: entitlement.requesters })) {
    return `policy version ${policyVersion} no longer lets ${requester ?? "its requester"} ask for ${state.entitlement}`;
  }
  if (state.state === ElevationState.PENDING && isStricter(state, entitlement)) {
    return `policy version ${policyVersion} asks for other approvals of ${state.entitlement}; ask again`;
  }
  return undefined;
}

function coveredMethods(state: Elevation, entitlement: Entitlement, policy: CompiledPolicy): string[] {
  return state.methods.filter((method) => entitlement.covers.has(method) && policy.method(method).access !== "forbidden");
}

/** The earlier end that a shorter max makes of a running window; undefined if it may keep its end. */
function allowedEndMs(state: Elevation, entitlement: Entitlement): number | undefined {
  if (state.state !== ElevationState.ACTIVE || !state.windowStart || !state.windowEnd) return undefined;
  const startMs = timestampMs(state.windowStart);
  const endMs = timestampMs(state.windowEnd);
  const extended = endMs - startMs > (state.duration ? durationMs(state.duration) : 0);
  const mayBe =
    extended && entitlement.extend.approval !== "never" ? Math.max(entitlement.maxMs, entitlement.extend.maxMs) : entitlement.maxMs;
  return startMs + mayBe < endMs ? startMs + mayBe : undefined;
}

/** The shorter window that a shorter max makes of one that has not started; undefined if it may keep its length. */
function allowedLengthMs(state: Elevation, entitlement: Entitlement): number | undefined {
  if (state.state === ElevationState.ACTIVE || !state.duration || durationMs(state.duration) <= entitlement.maxMs) return undefined;
  return entitlement.maxMs;
}

function mayStillExtend(state: Elevation, entitlement: Entitlement, cutMs: number | undefined): boolean {
  if (cutMs !== undefined || entitlement.extend.approval === "never" || isStricter(state, entitlement)) return false;
  if (!state.windowStart || !state.extensionEnd) return false;
  return timestampMs(state.extensionEnd) <= timestampMs(state.windowStart) + entitlement.extend.maxMs;
}

/** Whether the frozen stages no longer are what the policy asks for: another number of stages, or a higher quorum. */
function isStricter(state: Elevation, entitlement: Entitlement): boolean {
  if (state.stages.length !== entitlement.stages.length) return true;
  return entitlement.stages.some((stage, index) => stage.quorum > (state.stages[index]?.quorum ?? 0));
}

/** Revisions of the votes whose voters may no longer vote. */
function votesLost(
  previous: CompiledPolicy | undefined,
  state: Elevation,
  entitlement: Entitlement,
  { policy, nameOf }: Context & { readonly policy: CompiledPolicy },
): bigint[] {
  const was = previous?.entitlement(state.entitlement);
  return countingVotes(state)
    .filter((vote) => {
      const before = { policy: previous, selectors: stageSelectors(was, state, vote.stage) };
      return !keepsRight(nameOf(vote.voter?.id ?? ""), before, { policy, selectors: stageSelectors(entitlement, state, vote.stage) });
    })
    .map((vote) => vote.revision);
}

interface Rights {
  readonly policy: CompiledPolicy | undefined;
  readonly selectors: readonly string[];
}

/**
 * Whether a right surely survives. Whoever the policy lists has it. Whoever had it only through a group claim is not here to show the
 * claim again, and keeps it only if no selector was taken away.
 */
function keepsRight(name: string | undefined, before: Rights, after: Rights): boolean {
  if (name !== undefined && lists(after, name)) return true;
  if (name !== undefined && lists(before, name)) return false;
  return before.selectors.length > 0 && before.selectors.every((selector) => after.selectors.includes(selector));
}

function lists({ policy, selectors }: Rights, name: string): boolean {
  return policy !== undefined && knownApprovers(policy, selectors, new Set()).people.has(name);
}
