// Checks a log from its records alone, offline: the order, the times, the epochs, the commitments, the tree against a signed checkpoint.
// Never needs the authority, the store or its keys.

import { type Checkpoint, openCheckpoint, parseVerifier } from "@brevet/protocol";
import { EpochCause, type LogEntry, LogEntrySchema, type LogRecord } from "@brevet/protocol/brevet/v1/log";
import { fromBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { commitment, commitmentsOf, hex, SALT_BYTES } from "./seal.ts";
import { appendToFrontier, EMPTY_ROOT, leafHash, rootOf } from "./tree.ts";

/** What the log is held against. */
export interface Expectation {
  /** A signed note (C2SP tlog-checkpoint) that somebody kept. */
  readonly checkpoint?: string;
  /** The key (C2SP signed-note) that must have signed it. */
  readonly verifierKey?: string;
  /**
   * Leaf hashes that were kept apart from the entries, oldest first. Not believed: where they give the checkpoint's root, they are
   * what was signed, and show which entries are not.
   */
  readonly leafHashes?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Something that is wrong, and with which entry. */
export interface LogProblem {
  readonly revision: bigint;
  readonly problem: string;
}

export interface LogVerdict {
  readonly ok: boolean;
  /** How many records there were. */
  readonly entries: bigint;
  /** How many of them were hashes only, because the reader may not read the entries: in the tree, and otherwise not checked. */
  readonly unread: bigint;
  /** How many of them the checkpoint covers; 0 without one. */
  readonly covered: bigint;
  /** Over all records. */
  readonly root: Uint8Array;
  readonly epoch: string;
  /** In the order of the log; at most 1,000. */
  readonly problems: readonly LogProblem[];
}

const MOST_PROBLEMS = 1000;
const HASH_BYTES = 32;

/**
 * Verifies records, from the first entry on, in the order of the log. Reads once, and keeps nothing of what it has read but what is
 * wrong. Openings may be missing, because they were erased or because the reader may not see them; so may entries, where their hash stands
 * for them.
 */
export async function verifyLog(records: AsyncIterable<LogRecord> | Iterable<LogRecord>, expect: Expectation = {}): Promise<LogVerdict> {
  const verification = new Verification(expect);
  let held: LogRecord | undefined;
  for await (const record of records) {
    if (held) await verification.take(held, record);
    held = record;
  }
  if (held) await verification.take(held, undefined);
  return verification.conclude();
}

/** `entry`: what its signed bytes say; `beside`: what stands beside them. */
type Kind = "entry" | "beside" | "log";

class Verification {
  readonly #problems: (LogProblem & { readonly kind: Kind })[] = [];
  readonly #checkpoint: Checkpoint | undefined;
  readonly #kept: KeptHashes | undefined;
  /** Revisions whose hash is not the one that was kept. */
  readonly #differing = new Set<bigint>();
  #frontier: Uint8Array[] = [];
  #entries = 0n;
  #unread = 0n;
  #next = 1n;
  #previous: LogEntry | undefined;
  #rootAtCheckpoint: Uint8Array | undefined;

  constructor(expect: Expectation) {
    this.#checkpoint = this.#openCheckpoint(expect);
    if (expect.leafHashes) this.#kept = new KeptHashes(expect.leafHashes, this.#checkpoint?.size);
    if (this.#checkpoint?.size === 0n) this.#rootAtCheckpoint = EMPTY_ROOT;
  }

  /** One record; `following` tells a gap from a number that was altered. */
  async take(record: LogRecord, following: LogRecord | undefined): Promise<void> {
    const entry = readEntry(record);
    const unread = isUnread(record);
    const hash = unread ? record.leafHash : leafHash(record.entry);
    const before = this.#frontier;
    this.#frontier = appendToFrontier(this.#frontier, this.#entries, hash);
    this.#entries += 1n;
    if (this.#entries === this.#checkpoint?.size) this.#rootAtCheckpoint = rootOf(this.#frontier);
    const numbered = numberOf(record, entry);
    if (numbered !== undefined && numbered > this.#next && continues(numbered, following)) {
      this.#report(this.#next, "log", `missing: behind entry ${this.#next - 1n} comes entry ${numbered}`);
      this.#next = numbered;
    }
    const revision = this.#next;
    this.#next += 1n;
    const kept = await this.#kept?.at(revision);
    if (kept && hex(kept) !== hex(hash)) this.#differing.add(revision);
    if (unread) {
      this.#unread += 1n;
      if (numbered !== revision) this.#report(revision, "entry", `in its place stands the hash of entry ${record.revision}`);
      return;
    }
    if (entry === undefined) return this.#report(revision, "entry", "cannot be read");
    this.#checkEntry(entry, revision, before);
    this.#checkOpenings(entry, record, revision);
    this.#previous = entry;
  }

  async conclude(): Promise<LogVerdict> {
    const [signed, last] = [this.#checkpoint, this.#next - 1n];
    if (signed && signed.size > last)
      this.#report(last + 1n, "log", `missing: the checkpoint covers ${signed.size} entries, the last one here is ${last}`);
    const isAsSigned = signed === undefined || (this.#rootAtCheckpoint && hex(this.#rootAtCheckpoint) === hex(signed.root));
    // Hashes that give the signed root are those of what was signed: which entries are wrong is then beyond doubt, and which are not.
    const isKeptAsSigned = signed !== undefined && this.#kept !== undefined && hex(await this.#kept.root()) === hex(signed.root);
    let problems = [...this.#problems];
    if (isKeptAsSigned)
      problems = problems.filter(({ kind, revision }) => kind !== "entry" || revision > signed.size || this.#differing.has(revision));
    for (const revision of this.#differing) {
      const isSigned = isKeptAsSigned && revision <= signed.size;
      const problem = isSigned ? "is not the entry that was signed" : "has another leaf hash than the one that was kept";
      problems.push({ revision, kind: "log", problem });
    }
    if (!isAsSigned && signed.size <= last && (!isKeptAsSigned || problems.length === 0)) {
      const problem = `not what was signed: the entries 1 to ${signed.size} have another root than the checkpoint`;
      problems.push({ revision: signed.size, kind: "log", problem });
    }
    const covered = signed === undefined ? 0n : signed.size < this.#entries ? signed.size : this.#entries;
    return {
      ok: problems.length === 0,
      entries: this.#entries,
      unread: this.#unread,
      covered,
      root: rootOf(this.#frontier),
      epoch: this.#previous?.epoch ?? "",
      problems: problems
        .toSorted((a, b) => Number(a.revision - b.revision))
        .slice(0, MOST_PROBLEMS)
        .map(({ revision, problem }) => ({ revision, problem })),
    };
  }

  #report(revision: bigint, kind: Kind, problem: string): void {
    if (this.#problems.length < MOST_PROBLEMS) this.#problems.push({ revision, kind, problem });
  }

  #openCheckpoint(expect: Expectation): Checkpoint | undefined {
    if (expect.checkpoint === undefined) return undefined;
    const verifier = expect.verifierKey === undefined ? undefined : parseVerifier(expect.verifierKey);
    const opened = openCheckpoint(expect.checkpoint, verifier);
    if (opened === undefined) this.#report(0n, "log", "the checkpoint is not a signed note of a log");
    else if (expect.verifierKey !== undefined && verifier === undefined) this.#report(0n, "log", "the verifier key is malformed");
    else if (verifier !== undefined && !opened.signed) this.#report(0n, "log", "the checkpoint is not signed by the verifier key");
    return opened?.checkpoint;
  }

  #checkEntry(entry: LogEntry, revision: bigint, frontier: readonly Uint8Array[]): void {
    const previous = this.#previous;
    if (entry.revision !== revision) this.#report(revision, "entry", `in its place stands entry ${entry.revision}`);
    if (entry.time === undefined) this.#report(revision, "entry", "has no time");
    else if (previous?.time && timestampMs(entry.time) < timestampMs(previous.time))
      this.#report(revision, "entry", "its time is before that of the entry before");
    if (entry.event.case === undefined) this.#report(revision, "entry", "has no event that this version knows");
    const opened = entry.event.case === "epochOpened" ? entry.event.value : undefined;
    if (revision === 1n) {
      if (opened?.cause !== EpochCause.CREATED || opened.previousEpoch !== "" || entry.epoch === "")
        this.#report(revision, "entry", "is not the opening of a new log");
    } else if (opened) {
      const follows = previous === undefined || (opened.previousEpoch === previous.epoch && entry.epoch !== previous.epoch);
      const goesOn = opened.previousRevision === revision - 1n && hex(opened.previousRoot) === hex(rootOf(frontier));
      if (opened.cause !== EpochCause.RESTORED || !follows || !goesOn)
        this.#report(revision, "entry", "opens an epoch that does not follow the one before");
    } else if (previous && entry.epoch !== previous.epoch) {
      this.#report(revision, "entry", "is of another epoch than the entry before");
    }
  }

  #checkOpenings(entry: LogEntry, record: LogRecord, revision: bigint): void {
    const commitments = new Set(commitmentsOf(entry).map(hex));
    for (const { salt, value } of record.openings) {
      if (salt.length !== SALT_BYTES) this.#report(revision, "beside", `an opening has a salt of ${salt.length} bytes, not ${SALT_BYTES}`);
      else if (!commitments.delete(hex(commitment(salt, value))))
        this.#report(revision, "beside", "an opening opens no commitment of this entry");
    }
  }
}

/** Leaf hashes that somebody kept, walked along with the records. */
class KeptHashes {
  readonly #hashes: AsyncGenerator<Uint8Array, undefined>;
  /** How many of them the root is over; undefined: all. */
  readonly #size: bigint | undefined;
  #read = 0n;
  #frontier: Uint8Array[] = [];

  constructor(hashes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, size: bigint | undefined) {
    this.#hashes = iterate(hashes);
    this.#size = size;
  }

  /** The hash of a revision, asked for in growing order. */
  async at(revision: bigint): Promise<Uint8Array | undefined> {
    let hash: Uint8Array | undefined;
    while (this.#read < revision) {
      hash = (await this.#hashes.next()).value;
      if (hash === undefined) return undefined;
      if (this.#size === undefined || this.#read < this.#size) this.#frontier = appendToFrontier(this.#frontier, this.#read, hash);
      this.#read += 1n;
    }
    return hash;
  }

  /** Of as many as the checkpoint covers, also where the records ended before. */
  async root(): Promise<Uint8Array> {
    if (this.#size !== undefined) await this.at(this.#size);
    return rootOf(this.#frontier);
  }
}

async function* iterate(hashes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array, undefined> {
  yield* hashes;
  return undefined;
}

function readEntry(record: LogRecord): LogEntry | undefined {
  try {
    return fromBinary(LogEntrySchema, record.entry);
  } catch {
    return undefined;
  }
}

/** Whether a record is the hash of an entry that the reader may not read. */
function isUnread({ entry, leafHash: hash }: LogRecord): boolean {
  return entry.length === 0 && hash.length === HASH_BYTES;
}

/** The revision that a record is of, as it says itself. */
function numberOf(record: LogRecord, entry: LogEntry | undefined): bigint | undefined {
  return isUnread(record) ? record.revision : entry?.revision;
}

/** Whether the numbers go on from a revision, or the records end with it. */
function continues(revision: bigint, following: LogRecord | undefined): boolean {
  return following === undefined || numberOf(following, readEntry(following)) === revision + 1n;
}
