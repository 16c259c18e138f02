// Checks a log from its records alone, offline: the order, the times, the epochs, the commitments, the tree against a signed checkpoint.
// Never needs the authority, the store or its keys.
import { EpochCause, type LogEntry, LogEntrySchema, type LogRecord } from "@brevet/protocol/brevet/v1/log";
import { fromBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type Checkpoint, openCheckpoint, parseVerifier } from "./note.ts";
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
  /** How many of them the checkpoint covers; 0 without one. */
  readonly covered: bigint;
  /** Over all records. */
  readonly root: Uint8Array;
  readonly epoch: string;
  /** In the order of the log; at most 1,000. */
  readonly problems: readonly LogProblem[];
}

const MOST_PROBLEMS = 1000;

/** Verifies records, from the first entry on, in the order of the log. Reads once; memory does not grow with the log unless `leafHashes` are needed. */
export async function verifyLog(records: AsyncIterable<LogRecord> | Iterable<LogRecord>, expect: Expectation = {}): Promise<LogVerdict> {
  const problems: LogProblem[] = [];
  const report = (revision: bigint, problem: string) => {
    if (problems.length < MOST_PROBLEMS) problems.push({ revision, problem });
  };
  const signed = openExpected(expect, report);
  const kept = expect.leafHashes && hashesOf(expect.leafHashes);
  const differing: bigint[] = [];
  let keptFrontier: Uint8Array[] = [];
  let keptRoot: Uint8Array | undefined;
  let frontier: Uint8Array[] = [];
  let rootAtCheckpoint: Uint8Array | undefined = signed?.size === 0n ? EMPTY_ROOT : undefined;
  let size = 0n;
  let previous: LogEntry | undefined;
  for await (const record of records) {
    const hash = leafHash(record.entry);
    const keptHash = kept && (await kept.next()).value;
    if (keptHash instanceof Uint8Array) {
      keptFrontier = appendToFrontier(keptFrontier, size, keptHash);
      if (hex(keptHash) !== hex(hash)) differing.push(size + 1n);
    }
    frontier = appendToFrontier(frontier, size, hash);
    size += 1n;
    if (size === signed?.size) [rootAtCheckpoint, keptRoot] = [rootOf(frontier), rootOf(keptFrontier)];
    previous = check(record, previous, size, report) ?? previous;
  }
  if (signed && signed.size > size) report(size + 1n, `missing: the checkpoint covers ${signed.size} entries, these are ${size}`);
  if (signed && rootAtCheckpoint && hex(rootAtCheckpoint) !== hex(signed.root)) {
    const located = kept && keptRoot && hex(keptRoot) === hex(signed.root);
    if (located) for (const revision of differing) report(revision, "this entry is not the one that was signed");
    else
      report(
        signed.size,
        `the entries up to here have another root than the checkpoint: one of 1 to ${signed.size} is not what was signed`,
      );
  } else {
    for (const revision of differing) report(revision, "its leaf hash is not the one that was kept");
  }
  problems.sort((a, b) => Number(a.revision - b.revision));
  const covered = signed === undefined ? 0n : signed.size < size ? signed.size : size;
  return { ok: problems.length === 0, entries: size, covered, root: rootOf(frontier), epoch: previous?.epoch ?? "", problems };
}

type Report = (revision: bigint, problem: string) => void;

function openExpected(expect: Expectation, report: Report): Checkpoint | undefined {
  if (expect.checkpoint === undefined) return undefined;
  const verifier = expect.verifierKey === undefined ? undefined : parseVerifier(expect.verifierKey);
  const opened = openCheckpoint(expect.checkpoint, verifier);
  if (opened === undefined) report(0n, "the checkpoint is not a signed note of a log");
  else if (expect.verifierKey !== undefined && verifier === undefined) report(0n, "the verifier key is malformed");
  else if (verifier !== undefined && !opened.signed) report(opened.checkpoint.size, "the checkpoint is not signed by the verifier key");
  return opened?.checkpoint;
}

/** Checks one record in its place; undefined where it cannot be read at all. */
function check(record: LogRecord, previous: LogEntry | undefined, revision: bigint, report: Report): LogEntry | undefined {
  let entry: LogEntry;
  try {
    entry = fromBinary(LogEntrySchema, record.entry);
  } catch {
    report(revision, "cannot be read");
    return undefined;
  }
  if (entry.revision !== revision) report(revision, `in this place stands entry ${entry.revision}`);
  if (entry.time === undefined) report(revision, "has no time");
  else if (previous?.time && timestampMs(entry.time) < timestampMs(previous.time))
    report(revision, "its time is before that of the entry before");
  if (entry.event.case === undefined) report(revision, "has no event that this version knows");
  checkEpoch(entry, previous, revision, report);
  const commitments = new Set(commitmentsOf(entry).map(hex));
  for (const { salt, value } of record.openings) {
    if (salt.length !== SALT_BYTES) report(revision, `an opening has a salt of ${salt.length} bytes, not ${SALT_BYTES}`);
    else if (!commitments.delete(hex(commitment(salt, value)))) report(revision, "an opening opens no commitment of this entry");
  }
  return entry;
}

function checkEpoch(entry: LogEntry, previous: LogEntry | undefined, revision: bigint, report: Report): void {
  const opened = entry.event.case === "epochOpened" ? entry.event.value : undefined;
  if (previous === undefined) {
    if (opened?.cause !== EpochCause.CREATED || opened.previousEpoch !== "") report(revision, "is not the opening of a new log");
    else if (entry.epoch === "") report(revision, "opens an epoch without a name");
  } else if (opened) {
    if (opened.cause !== EpochCause.RESTORED || opened.previousEpoch !== previous.epoch || entry.epoch === previous.epoch)
      report(revision, "opens an epoch that does not follow the one before");
  } else if (entry.epoch !== previous.epoch) {
    report(revision, "is of another epoch than the entry before");
  }
}

async function* hashesOf(hashes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array, undefined> {
  yield* hashes;
  return undefined;
}
