// Folds the whole log anew and compares the outcome with the projections that are stored: what `verify --deep` does.
// Never writes: a difference is for a person to judge. Keeps all projections in memory while it runs.

import { isDeepStrictEqual } from "node:util";
import { type Elevation, ElevationSchema } from "@brevet/protocol/brevet/v1/elevation";
import { LogEntrySchema, type LogRecord } from "@brevet/protocol/brevet/v1/log";
import { equals, fromBinary } from "@bufbuild/protobuf";
import type { StoredKey, StoredPolicy, StoredPrincipal, StoredProposal, View } from "../store/store.ts";
import { type ElevationFold, project } from "./projection.ts";
import { hex } from "./seal.ts";
import { appendToFrontier, leafHash } from "./tree.ts";

const PAGE = 1000;

/** All records of a log, oldest first, read in pages; entries that come while it reads are included. */
export async function* recordsOf(view: Pick<View, "entries">): AsyncGenerator<LogRecord> {
  for (let after = 0n; ; ) {
    const page = await view.entries(after, { limit: PAGE });
    yield* page;
    if (page.length < PAGE) return;
    after += BigInt(page.length);
  }
}

/** All leaf hashes that a store kept, oldest first. */
export async function* leafHashesOf(view: Pick<View, "leafHashes">): AsyncGenerator<Uint8Array> {
  for (let after = 0n; ; ) {
    const page = await view.leafHashes(after, PAGE);
    yield* page;
    if (page.length < PAGE) return;
    after += BigInt(page.length);
  }
}

/** What a fold of the whole log comes to. */
class Projections {
  readonly elevations = new Map<string, Elevation>();
  readonly principals = new Map<string, StoredPrincipal>();
  readonly policies = new Map<string, StoredPolicy>();
  readonly proposals = new Map<string, StoredProposal>();
  readonly signingKeys = new Map<string, StoredKey>();
  readonly requests = new Map<string, { actor: string; requestId: string; elevation: string; revision: bigint }>();

  elevation = async (id: string) => this.elevations.get(id);
  proposal = async (id: string) => this.proposals.get(id);
  keys = async () => [...this.signingKeys.values()];

  erase(commitments: readonly Uint8Array[]): void {
    const gone = new Set(commitments.map(hex));
    for (const principal of this.principals.values())
      if (gone.has(hex(principal.nameCommitment))) this.principals.set(principal.id, { ...principal, name: undefined });
  }
}

/**
 * Compares every projection with a fresh fold. The log must not grow meanwhile: give it a {@link View} that stands still, such as
 * a transaction.
 * @returns What differs, each in words that name it; empty when all is as the log says.
 */
export async function compareProjections(view: View, fold: ElevationFold): Promise<string[]> {
  const differences: string[] = [];
  const fresh = new Projections();
  let frontier: Uint8Array[] = [];
  let last = { epoch: "", revision: 0n };
  for await (const record of recordsOf(view)) {
    const entry = fromBinary(LogEntrySchema, record.entry);
    frontier = appendToFrontier(frontier, last.revision, leafHash(record.entry));
    last = { epoch: entry.epoch, revision: last.revision + 1n };
    const change = await project(entry, record.openings, fresh, fold);
    if (change.elevation) fresh.elevations.set(entry.elevation, change.elevation.state);
    if (change.principal) fresh.principals.set(change.principal.id, change.principal);
    if (change.policy) fresh.policies.set(`${change.policy.version} ${change.policy.audience}`, change.policy);
    if (change.proposal) fresh.proposals.set(change.proposal.id, change.proposal);
    if (change.key) fresh.signingKeys.set(change.key.kid, change.key);
    if (change.erased) fresh.erase(change.erased);
    const { actor, requestId, elevation, revision } = entry;
    const request = `${actor} ${requestId}`;
    if (requestId !== "" && !fresh.requests.has(request)) fresh.requests.set(request, { actor, requestId, elevation, revision });
  }
  const differ = (what: string, expected: unknown, stored: unknown) => {
    if (!isDeepStrictEqual(stored, expected)) differences.push(`${what} is not what the log says`);
  };
  const head = await view.head();
  differ(
    "the head",
    { ...last, frontier: frontier.map(hex) },
    { epoch: head.epoch, revision: head.revision, frontier: head.frontier.map(hex) },
  );
  await compareElevations(view, fresh.elevations, fold, differences);
  for (const [id, principal] of fresh.principals) differ(`the principal ${id}`, plain(principal), plain(await view.principal(id)));
  for (const policy of fresh.policies.values())
    differ(
      `version ${policy.version} of the policy of ${policy.audience}`,
      plain(policy),
      plain(await view.policy(policy.audience, policy.version)),
    );
  for (const [id, proposal] of fresh.proposals) differ(`the proposal ${id}`, plain(proposal), plain(await view.proposal(id)));
  differ("the list of keys", [...fresh.signingKeys.values()], await view.keys());
  for (const { actor, requestId, elevation, revision } of fresh.requests.values())
    differ(`the request ${requestId} of ${actor}`, { elevation, revision }, await view.request(actor, requestId));
  return differences;
}

async function compareElevations(
  view: View,
  fresh: ReadonlyMap<string, Elevation>,
  fold: ElevationFold,
  differences: string[],
): Promise<void> {
  const unseen = new Set(fresh.keys());
  const dues: number[] = [];
  for (let before: string | undefined; ; ) {
    const page = await view.elevations({ limit: PAGE, ...(before !== undefined && { before }) });
    for (const stored of page) {
      const expected = fresh.get(stored.id);
      unseen.delete(stored.id);
      if (expected === undefined) differences.push(`the elevation ${stored.id} is not in the log`);
      else if (!equals(ElevationSchema, expected, stored)) differences.push(`the elevation ${stored.id} is not what the log says`);
      const due = expected && fold.nextDueMs(expected);
      if (due !== undefined) dues.push(due);
    }
    before = page.at(-1)?.id;
    if (page.length < PAGE) break;
  }
  for (const id of unseen) differences.push(`the elevation ${id} is missing`);
  const next = dues.length === 0 ? undefined : dues.reduce((earliest, due) => Math.min(earliest, due));
  if ((await view.nextDueMs()) !== next) differences.push("the next timer is not what the log says");
}

/** Comparable whatever kind of byte array a store answers with. */
function plain(value: object | undefined): unknown {
  return value && Object.fromEntries(Object.entries(value).map(([key, field]) => [key, field instanceof Uint8Array ? hex(field) : field]));
}
