// What a group of commands has written and not yet committed: looked at before the committed state, then turned into one transaction.
// Never talks to the writer.
import type { Opening } from "@brevet/protocol/brevet/v1/log";
import {
  type Change,
  type ElevationQuery,
  type Head,
  type StoredKey,
  type StoredPolicy,
  type StoredPrincipal,
  type StoredProposal,
  StoreError,
} from "../store.ts";
import type { Reader } from "./reader.ts";
import {
  type ElevationRow,
  elevationRow,
  elevationStep,
  headStep,
  hex,
  int,
  keyStep,
  OPENINGS_PER_ENTRY,
  policyStep,
  principalStep,
  proposalStep,
  readPrincipal,
} from "./rows.ts";
import type { Step } from "./statements.ts";

/** Changes on top of the committed state, and what they come to. */
export class Overlay {
  readonly changes: Change[] = [];
  readonly elevations = new Map<string, ElevationRow>();
  readonly principals = new Map<string, StoredPrincipal>();
  readonly policies = new Map<string, StoredPolicy>();
  readonly proposals = new Map<string, StoredProposal>();
  readonly keys = new Map<string, StoredKey>();
  /** First entries of commands, by {@link requestKey}. */
  readonly requests = new Map<string, Change["entry"]>();
  /** By lower-case hexadecimal commitment. */
  readonly openings = new Map<string, Opening>();
  readonly erased = new Map<string, Uint8Array>();
  readonly secrets = new Map<string, Uint8Array>();
  readonly #byName = new Map<string, string>();
  readonly #reader: Reader;
  #openingSteps: Step[] = [];
  #bytes = 0;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  /** Bytes of entries, openings and messages in here. */
  get bytes(): number {
    return this.#bytes;
  }

  get head(): Head {
    return this.changes.at(-1)?.head ?? this.#reader.head;
  }

  /** Takes a change in. What could make the commit fail for all is refused here, for the one command that wrote it. */
  add(change: Change): void {
    const { entry, head } = change;
    if (head.revision !== this.head.revision + 1n || entry.revision !== head.revision || head.timeMs < this.head.timeMs)
      throw new StoreError("corrupt", `entry ${entry.revision} does not come right behind entry ${this.head.revision}`);
    if (change.openings.length > OPENINGS_PER_ENTRY)
      throw new StoreError("corrupt", `entry ${entry.revision} has ${change.openings.length} openings`);
    this.changes.push(change);
    this.#bytes += change.leaf.length;
    if (entry.requestId !== "") {
      const key = requestKey(entry.actor, entry.requestId);
      if (!this.requests.has(key)) this.requests.set(key, entry);
    }
    for (const [place, opening] of change.openings.entries())
      this.#open(opening, change.commitments[place], Number(entry.revision) * OPENINGS_PER_ENTRY + place);
    if (change.elevation) {
      const created = this.#createdOf(change.elevation.state.id) ?? Number(entry.revision);
      const row = elevationRow(change.elevation, head, created);
      this.elevations.set(row.id, row);
      this.#bytes += row.message.length;
    }
    if (change.principal) this.#setPrincipal(change.principal);
    if (change.policy) this.policies.set(`${change.policy.version} ${change.policy.audience}`, change.policy);
    if (change.proposal) this.proposals.set(change.proposal.id, change.proposal);
    if (change.key) this.keys.set(change.key.kid, change.key);
    for (const commitment of change.erased ?? []) this.#erase(commitment);
  }

  /** The overlay as it was after its first `length` changes. */
  first(length: number): Overlay {
    if (length === this.changes.length) return this;
    const earlier = new Overlay(this.#reader);
    for (const change of this.changes.slice(0, length)) earlier.add(change);
    for (const [name, value] of this.secrets) earlier.secrets.set(name, value);
    return earlier;
  }

  principalIdByName(name: string): string | undefined {
    return this.#byName.get(name);
  }

  /** Rows that match a query, in no order; `before` is the place of the page. */
  matching(query: ElevationQuery, beforeCreated: number | undefined): ElevationRow[] {
    return [...this.elevations.values()].filter(
      (row) => matches(row, query) && (beforeCreated === undefined || row.created < beforeCreated),
    );
  }

  /** One transaction that writes it all: each projection once, as it is in the end. */
  steps(): Step[] {
    const secrets = [...this.secrets].map(([name, value]): Step => ["secret", name, value]);
    const last = this.changes.at(-1);
    if (last === undefined) return secrets;
    const entries = this.changes.map(
      ({ entry, leafHash, leaf }): Step => ["entry", entry.revision, entry.audience, entry.elevation, leafHash, leaf],
    );
    const requests = [...this.requests.values()].map(
      ({ actor, requestId, elevation, revision }): Step => ["request", actor, requestId, elevation, revision],
    );
    return [
      ...secrets,
      ...entries,
      ...requests,
      ...this.#openingSteps,
      ...[...this.erased.values()].map((commitment): Step => ["erase", commitment]),
      ...[...this.elevations.values()].map(elevationStep),
      ...[...this.principals.values()].map(principalStep),
      ...[...this.policies.values()].map(policyStep),
      ...[...this.proposals.values()].map(proposalStep),
      ...[...this.keys.values()].map(keyStep),
      headStep(last.head),
    ];
  }

  #open(opening: Opening, commitment: Uint8Array | undefined, id: number): void {
    if (commitment === undefined) throw new StoreError("corrupt", "an opening without its commitment");
    this.openings.set(hex(commitment), opening);
    this.#openingSteps.push(["opening", id, commitment, opening.salt, opening.value]);
    this.#bytes += opening.value.length;
  }

  #erase(commitment: Uint8Array): void {
    this.openings.delete(hex(commitment));
    this.erased.set(hex(commitment), commitment);
    const committed = this.#reader.all("SELECT * FROM principals WHERE name_commitment = ?", commitment).map(readPrincipal);
    const named = [...committed.filter(({ id }) => !this.principals.has(id)), ...this.principals.values()];
    for (const principal of named.filter(({ nameCommitment }) => hex(nameCommitment) === hex(commitment)))
      this.#setPrincipal({ ...principal, name: undefined });
  }

  #setPrincipal(principal: StoredPrincipal): void {
    const before = this.principals.get(principal.id);
    if (before?.name !== undefined) this.#byName.delete(before.name);
    this.principals.set(principal.id, principal);
    if (principal.name !== undefined) this.#byName.set(principal.name, principal.id);
  }

  #createdOf(id: string): number | undefined {
    const pending = this.elevations.get(id);
    if (pending !== undefined) return pending.created;
    const row = this.#reader.get("SELECT created FROM elevations WHERE id = ?", id);
    return row && int(row, "created");
  }
}

export function requestKey(actor: string, requestId: string): string {
  return `${actor}\0${requestId}`;
}

function matches(row: ElevationRow, query: ElevationQuery): boolean {
  const { ids, audience, requester, entitlement, states, keyThumbprint, changedAfter, openOrEndedSinceMs } = query;
  return (
    (ids === undefined || ids.includes(row.id)) &&
    (audience === undefined || row.audience === audience) &&
    (requester === undefined || row.requester === requester) &&
    (entitlement === undefined || row.entitlement === entitlement) &&
    (states === undefined || states.includes(row.state)) &&
    (keyThumbprint === undefined || (row.keyThumbprint !== null && hex(row.keyThumbprint) === hex(keyThumbprint))) &&
    (changedAfter === undefined || row.changed > changedAfter) &&
    (openOrEndedSinceMs === undefined || row.endedMs === null || row.endedMs >= openOrEndedSinceMs)
  );
}
