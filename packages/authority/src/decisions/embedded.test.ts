// Decisions are kept over a restart, once, within their bounds; what goes is counted.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { newId, systemClock } from "@brevet/protocol";
import { CallerReportSchema, PrincipalSchema } from "@brevet/protocol/brevet/v1/elevation";
import { type DecisionBatch, DecisionBatchSchema } from "@brevet/protocol/brevet/v1/guard";
import { DecisionRecordSchema } from "@brevet/protocol/brevet/v1/policy";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { DecisionBounds } from "./decisions.ts";
import { openEmbeddedDecisions } from "./embedded.ts";

const SAM = "user:sam@test";
const from = (name = "workload:a", audience = "payments") => ({ audience, guard: create(PrincipalSchema, { name }), instance: "gud_1" });

async function scene(bounds: Partial<DecisionBounds> = {}, clock = systemClock) {
  const data = await mkdtemp(join(tmpdir(), "brevet-decisions-"));
  let store = await openEmbeddedDecisions(data, { clock, bounds });
  let sequence = 0n;
  return {
    get store() {
      return store;
    },
    batch: (decisions: MessageInitShape<typeof DecisionRecordSchema>[], dropped = 0n): DecisionBatch => {
      sequence += 1n;
      return create(DecisionBatchSchema, { decisions: decisions.map((each) => create(DecisionRecordSchema, each)), dropped, sequence });
    },
    ids: async (audience = "payments") => (await store.list({ audience, limit: 1000 })).map(({ record }) => record.decisionId),
    reopen: async () => {
      await store[Symbol.asyncDispose]();
      store = await openEmbeddedDecisions(data, { clock, bounds });
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await rm(data, { recursive: true });
    },
  };
}

test("what was kept is there after a restart, newest first, and by its id", async () => {
  await using at = await scene();
  const [first, second] = [newId("dec"), newId("dec")];
  assert.equal(
    await at.store.add(
      from(),
      at.batch([
        { decisionId: first, principal: SAM },
        { decisionId: second, principal: SAM },
      ]),
    ),
    true,
  );
  await at.reopen();
  assert.deepEqual(await at.ids(), [second, first]);
  assert.equal((await at.store.get(first))?.principal, SAM);
  assert.equal(await at.store.get("dec_other"), undefined);
});

test("a batch that comes again, even behind a restart, is kept once", async () => {
  await using at = await scene();
  const batch = at.batch([{ decisionId: "dec_1", principal: SAM }], 3n);
  assert.deepEqual([await at.store.add(from(), batch), await at.store.add(from(), batch)], [true, false]);
  await at.reopen();
  assert.equal(await at.store.add(from(), batch), false);
  assert.equal(await at.store.add(from("workload:b"), batch), true, "another guard's is another");
  assert.deepEqual([(await at.ids()).length, await at.store.dropped("payments")], [2, 6n]);
});

test("the oldest go beyond the count, and a flood of nobody's pushes out nobody's only", async () => {
  await using at = await scene({ count: 3 });
  await at.store.add(from(), at.batch([{ decisionId: "sam", principal: SAM }]));
  await at.store.add(from(), at.batch(Array.from({ length: 250 }, (_, i) => ({ decisionId: `n${i}` }))));
  assert.deepEqual(await at.ids(), ["n249", "n248", "n247", "sam"]);
  assert.equal(await at.store.dropped("payments"), 247n);
  assert.deepEqual([await at.ids("another"), await at.store.dropped("another")], [[], 0n]);
});

test("they go beyond the bytes, and beyond the age", async () => {
  let nowMs = 1_800_000_000_000;
  const clock = { ...systemClock, wallMs: () => nowMs };
  await using at = await scene({ bytes: 30_000, ageMs: 60_000 }, clock);
  const status = new Uint8Array(4000);
  await at.store.add(from(), at.batch(Array.from({ length: 20 }, (_, i) => ({ decisionId: `d${i}`, principal: SAM, status }))));
  const kept = await at.ids();
  assert.ok(kept.length > 3 && kept.length * 4000 < 30_000, `${kept.length}`);
  nowMs += 61_000;
  await at.store.add(from(), at.batch([{ decisionId: "new", principal: SAM, time: timestampFromMs(nowMs) }]));
  assert.deepEqual(await at.ids(), ["new"]);
  assert.equal(await at.store.dropped("payments"), 20n);
});

test("a record is its guard's, cut to what a guard of ours would send", async () => {
  await using at = await scene();
  const long = "x".repeat(100_000);
  const lie = { audience: "another", guard: create(PrincipalSchema, { name: "workload:somebody" }), time: timestampFromMs(8e15) };
  const wide = {
    decisionId: long,
    method: long,
    principal: long,
    headersSeen: Array.from({ length: 1000 }, () => long),
    status: new Uint8Array(9000),
  };
  await at.store.add(from(), at.batch([{ ...lie, ...wide }]));
  const [{ record } = assert.fail()] = await at.store.list({ audience: "payments", limit: 10 });
  assert.deepEqual([record.audience, record.guard?.name, record.instance], ["payments", "workload:a", "gud_1"]);
  assert.deepEqual(
    [record.decisionId.length, record.method.length, record.headersSeen.length, record.headersSeen[0]?.length],
    [256, 256, 64, 256],
  );
  assert.equal(record.status.length, 0);
});

test("a page goes on where the one before ended, and filters narrow it", async () => {
  await using at = await scene();
  const people = [SAM, "user:rita@test"];
  await at.store.add(
    from(),
    at.batch(Array.from({ length: 10 }, (_, i) => ({ decisionId: `d${i}`, principal: people[i % 2] ?? "", method: "a.B/C" }))),
  );
  const page = await at.store.list({ audience: "payments", principal: SAM, method: "a.B/C", limit: 2 });
  assert.deepEqual(
    page.map(({ record }) => record.decisionId),
    ["d8", "d6"],
  );
  const next = await at.store.list({ audience: "payments", principal: SAM, before: page.at(-1)?.place ?? 0n, limit: 9 });
  assert.deepEqual(
    next.map(({ record }) => record.decisionId),
    ["d4", "d2", "d0"],
  );
  assert.deepEqual(await at.store.list({ audience: "payments", method: "a.B/D", limit: 9 }), []);
});

test("reports of one caller push out that caller's only, and the newest of a caller counts", async () => {
  await using at = await scene({ reportsEach: 3, reports: 5 });
  const report = (decisionId: string, method = "") => create(CallerReportSchema, { decisionId, method });
  await at.store.report("user:rita@test", [report("r")]);
  await at.store.report(
    SAM,
    ["1", "2", "3", "4"].map((id) => report(id)),
  );
  await at.store.report(SAM, [report("4", "again")]);
  assert.deepEqual(
    (await Promise.all(["r", "1", "2", "4"].map((id) => at.store.reports(id)))).map((found) => found.length),
    [1, 0, 1, 1],
  );
  assert.deepEqual(
    (await at.store.reports("4")).map(({ principal, report: { method } }) => [principal, method]),
    [[SAM, "again"]],
  );
});
