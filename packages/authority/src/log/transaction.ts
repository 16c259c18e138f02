// One command's hold on the log: gives its drafts their place, seals its values, shows it its own writes.
// Never decides; nothing of it is real before the store has committed.
import type { NewId } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { PrincipalKind } from "@brevet/protocol/brevet/v1/elevation";
import { type LogEntry, LogEntrySchema, type LogRecord, PrincipalSeenSchema } from "@brevet/protocol/brevet/v1/log";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Change, ElevationQuery, Head, StoredPrincipal, Transaction } from "../store/store.ts";
import type { Draft } from "./draft.ts";
import type { LogTransaction } from "./log.ts";
import { type ElevationFold, project } from "./projection.ts";
import { type NewSalt, Sealer } from "./seal.ts";
import { appendToFrontier, leafHash } from "./tree.ts";

/** A {@link LogTransaction} over one of the store. {@link finish} has to be called when the command is done. */
export class Appending implements LogTransaction {
  readonly nowMs: number;
  readonly #inner: Transaction;
  readonly #fold: ElevationFold;
  readonly #newId: NewId;
  readonly #sealer: Sealer;
  readonly #named = new Map<string, Promise<string>>();
  #head: Head;
  #unfolded: Pick<Change, "entry" | "leaf" | "leafHash" | "openings" | "commitments" | "head">[] = [];
  #folding: Promise<void> = Promise.resolve();

  constructor(inner: Transaction, head: Head, given: { fold: ElevationFold; newId: NewId; newSalt: NewSalt; epoch?: string }) {
    this.#inner = inner;
    this.nowMs = inner.nowMs;
    this.#head = given.epoch === undefined ? head : { ...head, epoch: given.epoch };
    this.#fold = given.fold;
    this.#newId = given.newId;
    this.#sealer = new Sealer(given.newSalt);
  }

  get seal() {
    return this.#sealer.seal;
  }

  append(draft: Draft): LogEntry {
    const { epoch, revision, frontier } = this.#head;
    const entry = create(LogEntrySchema, { ...draft, epoch, revision: revision + 1n, time: timestampFromMs(this.nowMs) });
    const leaf = toBinary(LogEntrySchema, entry);
    const hash = leafHash(leaf);
    this.#head = { epoch, revision: entry.revision, timeMs: this.nowMs, frontier: appendToFrontier(frontier, revision, hash) };
    this.#unfolded.push({ entry, leaf, leafHash: hash, ...this.#sealer.take(entry), head: this.#head });
    return entry;
  }

  principalId({ name }: { readonly name: string }): Promise<string> {
    // Remembered, so that asking twice at once names one principal.
    let id = this.#named.get(name);
    if (id === undefined) this.#named.set(name, (id = this.#findOrSee(name)));
    return id;
  }

  async #findOrSee(name: string): Promise<string> {
    const known = await this.principalByName(name);
    if (known) return known.id;
    const id = this.#newId("prn");
    const value = create(PrincipalSeenSchema, { id, kind: kindOf(name), name: this.seal(name) });
    this.append({ audience: "", actor: "", requestId: "", elevation: "", event: { case: "principalSeen", value } });
    return id;
  }

  /** Folds what is appended into the projections: before a read, and at the end. */
  finish(): Promise<void> {
    this.#folding = this.#foldAfter(this.#folding);
    return this.#folding;
  }

  async #foldAfter(earlier: Promise<void>): Promise<void> {
    await earlier;
    for (const placed of this.#unfolded.splice(0))
      this.#inner.put({ ...placed, ...(await project(placed.entry, placed.openings, this.#inner, this.#fold)) });
  }

  async #settled(): Promise<Transaction> {
    if (this.#unfolded.length > 0) await this.finish();
    else await this.#folding;
    return this.#inner;
  }

  async head(): Promise<Head> {
    return (await this.#settled()).head();
  }

  async entries(after: bigint, options?: { limit?: number; audience?: string; elevation?: string }): Promise<LogRecord[]> {
    return (await this.#settled()).entries(after, options);
  }

  async elevation(id: string): Promise<Elevation | undefined> {
    return (await this.#settled()).elevation(id);
  }

  async elevations(query: ElevationQuery): Promise<Elevation[]> {
    return (await this.#settled()).elevations(query);
  }

  async due(atMs: number, limit: number): Promise<string[]> {
    return (await this.#settled()).due(atMs, limit);
  }

  async nextDueMs(): Promise<number | undefined> {
    return (await this.#settled()).nextDueMs();
  }

  async principal(id: string): Promise<StoredPrincipal | undefined> {
    return (await this.#settled()).principal(id);
  }

  async principals(ids: readonly string[]): Promise<Map<string, StoredPrincipal>> {
    return (await this.#settled()).principals(ids);
  }

  async principalByName(name: string): Promise<StoredPrincipal | undefined> {
    return (await this.#settled()).principalByName(name);
  }

  async request(actor: string, requestId: string) {
    return (await this.#settled()).request(actor, requestId);
  }

  async openings(commitments: readonly Uint8Array[]): Promise<Map<string, Uint8Array>> {
    return (await this.#settled()).openings(commitments);
  }

  async policies() {
    return (await this.#settled()).policies();
  }

  async policy(audience: string, version?: bigint) {
    return (await this.#settled()).policy(audience, version);
  }

  async policyVersions(audience: string, options?: { before?: bigint; limit?: number }) {
    return (await this.#settled()).policyVersions(audience, options);
  }

  async proposal(id: string) {
    return (await this.#settled()).proposal(id);
  }

  async keys() {
    return (await this.#settled()).keys();
  }

  async leafHashes(after: bigint, limit?: number): Promise<Uint8Array[]> {
    return (await this.#settled()).leafHashes(after, limit);
  }
}

function kindOf(name: string): PrincipalKind {
  if (name.startsWith("user:")) return PrincipalKind.USER;
  if (name.startsWith("workload:")) return PrincipalKind.WORKLOAD;
  return name.startsWith("ci:") ? PrincipalKind.CI : PrincipalKind.UNSPECIFIED;
}
