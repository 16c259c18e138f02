import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { before, test } from "node:test";
import { formatVerifier, signCheckpoint } from "@brevet/protocol";
import {
  EpochCause,
  EpochOpenedSchema,
  type LogEntry,
  LogEntrySchema,
  type LogRecord,
  LogRecordSchema,
  PrincipalSeenSchema,
} from "@brevet/protocol/brevet/v1/log";
import { clone, create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { randomSalt, Sealer } from "./seal.ts";
import { appendToFrontier, leafHash, rootOf } from "./tree.ts";
import { type Expectation, verifyLog } from "./verify.ts";

const LENGTH = 20;
const T0 = 1_790_000_000_000;
const { privateKey } = generateKeyPairSync("ed25519");
const origin = "brevet/epo_1";
const verifierKey = formatVerifier(origin, createPublicKey(privateKey));
let records: LogRecord[];
let leafHashes: Uint8Array[];

before(() => {
  records = Array.from({ length: LENGTH }, (_, i) => {
    const sealer = new Sealer(randomSalt);
    const value = create(PrincipalSeenSchema, { id: `prn_${i}`, name: sealer.seal(`user:${i}@example.com`) });
    const opened = create(EpochOpenedSchema, { cause: EpochCause.CREATED, format: 1 });
    const entry = create(LogEntrySchema, {
      epoch: "epo_1",
      revision: BigInt(i + 1),
      time: timestampFromMs(T0 + i * 1000),
      event: i === 0 ? { case: "epochOpened", value: opened } : { case: "principalSeen", value },
    });
    return create(LogRecordSchema, { entry: toBinary(LogEntrySchema, entry), openings: sealer.take(entry).openings });
  });
  leafHashes = records.map(({ entry }) => leafHash(entry));
});

function copies(): LogRecord[] {
  return records.map((record) => clone(LogRecordSchema, record));
}

function at<T>(list: readonly T[], revision: number): T {
  return list[revision - 1] ?? assert.fail(`there is no ${revision}`);
}

function checkpointOf(size: number): string {
  let frontier: Uint8Array[] = [];
  for (const [i, hash] of leafHashes.slice(0, size).entries()) frontier = appendToFrontier(frontier, BigInt(i), hash);
  return signCheckpoint({ origin, size: BigInt(size), root: rootOf(frontier) }, privateKey);
}

/** Rewrites one entry as somebody would who knows the format. */
function rewrite(record: LogRecord, change: (entry: LogEntry) => void): void {
  const entry = fromBinary(LogEntrySchema, record.entry);
  change(entry);
  record.entry = toBinary(LogEntrySchema, entry);
}

async function wrongOnes(tampered: readonly LogRecord[], expect: Expectation = {}): Promise<number[]> {
  const verdict = await verifyLog(tampered, expect);
  assert.equal(verdict.ok, verdict.problems.length === 0);
  return [...new Set(verdict.problems.map(({ revision }) => Number(revision)))];
}

test("an untouched log verifies, alone, against its checkpoint, and against an older one", async () => {
  assert.deepEqual(await wrongOnes(records), []);
  for (const size of [0, 1, 7, LENGTH]) {
    const verdict = await verifyLog(records, { checkpoint: checkpointOf(size), verifierKey, leafHashes });
    assert.deepEqual(
      [verdict.ok, verdict.problems, verdict.entries, verdict.covered, verdict.epoch],
      [true, [], 20n, BigInt(size), "epo_1"],
    );
  }
  assert.equal((await verifyLog([])).ok, true);
});

test("a log without its openings verifies: they may have been erased", async () => {
  const bare = copies();
  for (const record of bare) record.openings = [];
  assert.deepEqual(await wrongOnes(bare, { checkpoint: checkpointOf(LENGTH), verifierKey }), []);
});

test("an entry that was altered with care is found by the checkpoint, and named where hashes were kept", async () => {
  const tampered = copies();
  rewrite(at(tampered, 8), (entry) => {
    entry.actor = "prn_somebody_else";
  });
  assert.deepEqual(await wrongOnes(tampered), []);
  const expect = { checkpoint: checkpointOf(LENGTH), verifierKey };
  assert.deepEqual(await wrongOnes(tampered, expect), [LENGTH]);
  assert.deepEqual(await wrongOnes(tampered, { ...expect, leafHashes }), [8]);
  assert.deepEqual(await wrongOnes(tampered, { checkpoint: checkpointOf(7), verifierKey }), []);
});

test("any bit that flips in any entry is found, and exactly that entry is named", async () => {
  const expect = { checkpoint: checkpointOf(LENGTH), verifierKey };
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: LENGTH }), fc.nat(), fc.nat({ max: 7 }), async (revision, place, bit) => {
      const tampered = copies();
      const { entry } = at(tampered, revision);
      entry[place % entry.length] = (entry[place % entry.length] ?? 0) ^ (1 << bit);
      assert.ok((await wrongOnes(tampered, expect)).length > 0);
      assert.deepEqual(await wrongOnes(tampered, { ...expect, leafHashes }), [revision]);
    }),
    { numRuns: 150 },
  );
});

test("entries that are exchanged are named, both", async () => {
  const tampered = copies();
  [tampered[4], tampered[11]] = [at(tampered, 12), at(tampered, 5)];
  assert.deepEqual(
    (await wrongOnes(tampered)).filter((revision) => revision === 5 || revision === 12),
    [5, 12],
  );
  assert.deepEqual(await wrongOnes(tampered, { checkpoint: checkpointOf(LENGTH), verifierKey, leafHashes }), [5, 12]);
});

test("an entry that is cut out is named, and those behind it are not blamed", async () => {
  const tampered = copies().toSpliced(8, 2);
  assert.deepEqual(await wrongOnes(tampered), [9]);
  assert.deepEqual(await wrongOnes(tampered, { checkpoint: checkpointOf(LENGTH), verifierKey, leafHashes }), [9]);
});

test("a log whose end is cut off behind a checkpoint is found, and one without its beginning", async () => {
  const expect = { checkpoint: checkpointOf(LENGTH), verifierKey };
  assert.deepEqual(await wrongOnes(copies().slice(0, 15), expect), [16]);
  assert.deepEqual(await wrongOnes(copies().slice(0, 15), { ...expect, leafHashes }), [16]);
  assert.deepEqual(await wrongOnes([], expect), [1]);
  assert.ok((await wrongOnes(copies().slice(3))).includes(1));
});

test("an entry that is repeated, and one that is made up at the end, is named", async () => {
  assert.ok((await wrongOnes(copies().toSpliced(6, 0, at(records, 6)))).includes(7));
  const longer = copies();
  const invented = clone(LogRecordSchema, at(records, LENGTH));
  rewrite(invented, (entry) => {
    entry.revision = BigInt(LENGTH + 1);
    entry.epoch = "epo_2";
  });
  assert.deepEqual(await wrongOnes([...longer, invented]), [LENGTH + 1]);
});

test("openings that are exchanged, altered or added are named, also where nothing was signed", async () => {
  const swapped = copies();
  const [fifth, ninth] = [at(swapped, 5), at(swapped, 9)];
  [fifth.openings, ninth.openings] = [ninth.openings, fifth.openings];
  assert.deepEqual(await wrongOnes(swapped), [5, 9]);
  assert.deepEqual(await wrongOnes(swapped, { checkpoint: checkpointOf(LENGTH), verifierKey, leafHashes }), [5, 9]);

  const altered = copies();
  for (const opening of at(altered, 3).openings) opening.value = new TextEncoder().encode("user:mallory@example.com");
  for (const opening of at(altered, 4).openings) opening.salt = opening.salt.slice(0, 31);
  at(altered, 6).openings.push(...at(records, 6).openings);
  assert.deepEqual(await wrongOnes(altered), [3, 4, 6]);
});

test("times that go backwards and epochs that do not follow are named", async () => {
  const tampered = copies();
  rewrite(at(tampered, 6), (entry) => {
    entry.time = timestampFromMs(T0 - 1);
  });
  rewrite(at(tampered, 14), (entry) => {
    entry.event = {
      case: "epochOpened",
      value: create(EpochOpenedSchema, { cause: EpochCause.RESTORED, previousEpoch: "epo_9", format: 1 }),
    };
  });
  assert.deepEqual(
    (await wrongOnes(tampered)).filter((revision) => revision === 6 || revision === 14),
    [6, 14],
  );
});

test("a restored log goes on in an epoch of its own", async () => {
  let frontier: Uint8Array[] = [];
  for (const [i, hash] of leafHashes.entries()) frontier = appendToFrontier(frontier, BigInt(i), hash);
  const goesOn = { previousRevision: BigInt(LENGTH), previousRoot: rootOf(frontier) };
  const restored = async (change: object) => {
    const value = create(EpochOpenedSchema, { cause: EpochCause.RESTORED, previousEpoch: "epo_1", format: 1, ...goesOn, ...change });
    const entry = create(LogEntrySchema, {
      epoch: "epo_2",
      revision: BigInt(LENGTH + 1),
      time: timestampFromMs(T0 + 60_000),
      event: { case: "epochOpened", value },
    });
    return verifyLog([...records, create(LogRecordSchema, { entry: toBinary(LogEntrySchema, entry) })]);
  };
  const verdict = await restored({});
  assert.deepEqual([verdict.ok, verdict.epoch, verdict.problems], [true, "epo_2", []]);
  assert.equal((await restored({ previousRevision: BigInt(LENGTH - 1) })).ok, false);
  assert.equal((await restored({ previousRoot: new Uint8Array(32) })).ok, false);
});

test("entries that a reader may not read come as hashes, and the tree still has the signed root", async () => {
  const expect = { checkpoint: checkpointOf(LENGTH), verifierKey };
  const hidden = (revision: number) => create(LogRecordSchema, { revision: BigInt(revision), leafHash: at(leafHashes, revision) });
  const partly = copies().map((record, i) => (i > 0 && i % 3 === 0 ? hidden(i + 1) : record));
  const verdict = await verifyLog(partly, expect);
  assert.deepEqual([verdict.ok, verdict.problems, verdict.entries, verdict.unread], [true, [], 20n, 6n]);
  const gap = partly.toSpliced(9, 1);
  assert.ok((await verifyLog(gap, expect)).problems.some(({ revision, problem }) => revision === 10n && problem.startsWith("missing")));
  const other = partly.with(9, create(LogRecordSchema, { revision: 10n, leafHash: new Uint8Array(32) }));
  assert.deepEqual(await wrongOnes(other, expect), [LENGTH]);
  const swapped = partly.with(9, hidden(13));
  assert.ok((await wrongOnes(swapped, expect)).includes(10));
  const nothing = partly.with(9, create(LogRecordSchema, { revision: 10n }));
  assert.ok((await wrongOnes(nothing, expect)).includes(10));
});

test("a checkpoint that is no note, or signed by another, is not taken for one", async () => {
  const other = formatVerifier(origin, createPublicKey(generateKeyPairSync("ed25519").privateKey));
  assert.deepEqual(await wrongOnes(records, { checkpoint: checkpointOf(LENGTH), verifierKey: other }), [0]);
  assert.deepEqual(await wrongOnes(records, { checkpoint: checkpointOf(LENGTH), verifierKey: "nonsense" }), [0]);
  assert.deepEqual(await wrongOnes(records, { checkpoint: "nonsense", verifierKey }), [0]);
});

test("kept hashes that are not what was signed do not hide an altered entry", async () => {
  const tampered = copies();
  rewrite(at(tampered, 8), (entry) => {
    entry.actor = "prn_somebody_else";
  });
  const matching = tampered.map(({ entry }) => leafHash(entry));
  assert.deepEqual(await wrongOnes(tampered, { checkpoint: checkpointOf(LENGTH), verifierKey, leafHashes: matching }), [LENGTH]);
});
