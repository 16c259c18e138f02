// Which projections an entry changes, and how: the one fold that the append path and the check of a whole log share.
// Never writes, and knows nothing that is not in the entry, its openings or the projections before it.
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import type { LogEntry, Opening, PolicyApplied, PolicyProposed, PrincipalSeen } from "@brevet/protocol/brevet/v1/log";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Change, StoredKey, StoredPolicy, StoredPrincipal, StoredProposal } from "../store/store.ts";
import { commitment, hex } from "./seal.ts";

/** The rules of an elevation's state, given to the log by whoever wires it: see elevation/evolve.ts. */
export interface ElevationFold {
  /** Pure: the state after an entry that concerns it. Throws where the log contradicts itself. */
  evolve(state: Elevation | undefined, entry: LogEntry): Elevation;
  /** When time alone will change it next, milliseconds since 1970. */
  nextDueMs(state: Elevation): number | undefined;
}

/** The projections before an entry, as far as it asks for them. */
export interface Before {
  elevation(id: string): Promise<Elevation | undefined>;
  proposal(id: string): Promise<StoredProposal | undefined>;
  keys(): Promise<readonly StoredKey[]>;
}

/** What an entry changes. */
export type Projected = Pick<Change, "elevation" | "principal" | "policy" | "proposal" | "key" | "erased">;

/**
 * Folds one entry.
 * @param openings Those of this entry; an erased name stays away.
 */
export async function project(entry: LogEntry, openings: readonly Opening[], before: Before, fold: ElevationFold): Promise<Projected> {
  const elevation = await projectElevation(entry, before, fold);
  const event = entry.event;
  switch (event.case) {
    case "principalSeen":
      return { ...elevation, principal: seen(event.value, openings) };
    case "keyAdded": {
      const { kid, purpose, publicJwk } = event.value;
      return { ...elevation, key: { kid, purpose, publicJwk, retired: false, retiredMs: undefined, revoked: false } };
    }
    case "keyRetired": {
      const { kid, revoked } = event.value;
      const key = (await before.keys()).find((candidate) => candidate.kid === kid);
      if (key === undefined) throw new Error(`log entry ${entry.revision} retires the key ${kid}, which was never added`);
      return { ...elevation, key: { ...key, retired: true, retiredMs: key.retiredMs ?? entryMs(entry), revoked: key.revoked || revoked } };
    }
    case "policyProposed":
      return { ...elevation, proposal: proposed(entry, event.value) };
    case "policyApproved": {
      const proposal = await proposalOf(entry, event.value.proposal, before);
      return { ...elevation, proposal: { ...proposal, approvers: [...new Set([...proposal.approvers, entry.actor])] } };
    }
    case "policyApplied": {
      const proposal = event.value.proposal === "" ? undefined : await proposalOf(entry, event.value.proposal, before);
      const policy = applied(entry, event.value, proposal);
      return { ...elevation, policy, ...(proposal && { proposal: { ...proposal, version: policy.version } }) };
    }
    case "openingsErased":
      return { ...elevation, erased: event.value.commitments };
    default:
      return elevation;
  }
}

async function projectElevation(entry: LogEntry, before: Before, fold: ElevationFold): Promise<Pick<Projected, "elevation">> {
  if (entry.elevation === "") return {};
  const state = fold.evolve(await before.elevation(entry.elevation), entry);
  return { elevation: { state, dueMs: fold.nextDueMs(state) } };
}

function seen(event: PrincipalSeen, openings: readonly Opening[]): StoredPrincipal {
  const nameCommitment = event.name?.commitment ?? new Uint8Array();
  const opening = openings.find(({ salt, value }) => hex(commitment(salt, value)) === hex(nameCommitment));
  return { id: event.id, kind: event.kind, name: opening && new TextDecoder().decode(opening.value), nameCommitment };
}

function proposed(entry: LogEntry, event: PolicyProposed): StoredProposal {
  return {
    id: event.proposal,
    audience: entry.audience,
    document: event.document?.commitment ?? new Uint8Array(),
    descriptors: event.descriptors?.commitment,
    comment: event.comment?.commitment,
    author: entry.actor,
    baseVersion: event.baseVersion,
    quorum: event.quorum,
    approvers: [],
    shadow: event.shadow,
    timeMs: entryMs(entry),
    revision: entry.revision,
    version: 0n,
  };
}

function applied(entry: LogEntry, event: PolicyApplied, proposal: StoredProposal | undefined): StoredPolicy {
  const document = event.document?.commitment ?? proposal?.document;
  if (document === undefined) throw new Error(`log entry ${entry.revision} applies a policy without a document`);
  return {
    audience: entry.audience,
    version: event.version,
    document,
    descriptors: event.descriptors?.commitment ?? proposal?.descriptors,
    author: event.author,
    timeMs: entryMs(entry),
    revision: entry.revision,
    shadow: event.shadow,
  };
}

async function proposalOf(entry: LogEntry, id: string, before: Before): Promise<StoredProposal> {
  const proposal = await before.proposal(id);
  if (proposal === undefined) throw new Error(`log entry ${entry.revision} concerns the proposal ${id}, which nobody made`);
  return proposal;
}

function entryMs(entry: LogEntry): number {
  if (entry.time === undefined) throw new Error(`log entry ${entry.revision} has no time`);
  return timestampMs(entry.time);
}
