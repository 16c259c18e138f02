import assert from "node:assert/strict";
import { test } from "node:test";
import { newId } from "@brevet/protocol";
import { type DecisionBatch, DecisionBatchSchema } from "@brevet/protocol/brevet/v1/guard";
import { toBinary } from "@bufbuild/protobuf";
import { DecisionLog } from "./decisions.ts";

const permit = { method: "a.B/C", principal: "user:sam@acme.test", elevation: "elv_1", nowMs: 1000.25, policyVersion: 1n, callStatus: 0 };
const denial = {
  decisionId: "dec_1",
  method: "a.B/C",
  listed: true,
  principal: "user:eve@acme.test",
  elevation: "",
  reason: "ELEVATION_REQUIRED",
  nowMs: 1000.75,
  policyVersion: 1n,
  traceId: "",
  status: new Uint8Array(0),
  headersSeen: ["te"],
  permitted: false,
} as const;

test("permits are counted per elevation, method and status, and go first; denials of somebody come one by one", () => {
  const log = new DecisionLog({ audience: "a", newId });
  for (let i = 0; i < 5; i += 1) log.permitted({ ...permit, nowMs: 1000 + i });
  log.permitted({ ...permit, callStatus: 5 });
  log.permitted({ ...permit, elevation: "elv_2" });
  log.denied(denial);
  log.denied({ ...denial, decisionId: "dec_2" });
  const batch = log.take();
  assert.deepEqual(
    batch?.decisions.map(({ permitted, elevation, callStatus, count }) => [permitted, elevation, callStatus, count]),
    [
      [true, "elv_1", 0, 5n],
      [true, "elv_1", 5, 1n],
      [true, "elv_2", 0, 1n],
      [false, "", 0, 1n],
      [false, "", 0, 1n],
    ],
  );
  assert.equal(log.take(), undefined);
});

test("what does not fit is counted, and the count is told once", () => {
  const log = new DecisionLog({ audience: "a", newId, maxDenials: 3 });
  for (let i = 0; i < 10; i += 1) log.denied({ ...denial, decisionId: `dec_${i}` });
  const batch = log.take();
  assert.equal(batch?.decisions.length, 3);
  assert.equal(batch?.dropped, 7n);
  log.confirmed(1n);
  log.denied(denial);
  assert.equal(log.take()?.dropped, 0n);
});

test("a flood of denials takes no room from permits, which go first", () => {
  const log = new DecisionLog({ audience: "a", newId, maxDenials: 2, maxPermits: 2 });
  for (let i = 0; i < 10; i += 1) log.denied({ ...denial, decisionId: `dec_${i}` });
  for (let i = 0; i < 3; i += 1) log.permitted({ ...permit, elevation: `elv_${i}` });
  const batch = log.take();
  assert.deepEqual(
    batch?.decisions.map(({ elevation, decisionId }) => elevation || decisionId),
    ["elv_0", "elv_1", "dec_0", "dec_1"],
  );
  assert.equal(batch?.dropped, 9n);
});

test("more permits than fit into a batch come in the next one, still before denials, and are counted meanwhile", () => {
  const log = new DecisionLog({ audience: "a", newId });
  log.denied(denial);
  for (let i = 0; i < 700; i += 1) log.permitted({ ...permit, elevation: `elv_${i % 350}`, callStatus: i < 350 ? 0 : 5 });
  const first = log.take();
  assert.equal(first?.decisions.length, 500);
  assert.equal(log.size, 201);
  for (let i = 0; i < 700; i += 1) log.permitted({ ...permit, elevation: `elv_${i % 350}`, callStatus: i < 350 ? 0 : 5 });
  log.confirmed(1n);
  const batches = [first];
  for (let batch = log.take(); batch !== undefined; batch = log.take()) {
    batches.push(batch);
    log.confirmed(batch.sequence);
  }
  const records = batches.flatMap((batch) => batch?.decisions ?? []);
  assert.equal(
    records.filter(({ permitted }) => permitted).reduce((sum, { count }) => sum + count, 0n),
    1400n,
  );
  assert.equal(records.at(-1)?.decisionId, "dec_1");
  assert.equal(log.size, 0);
});

test("denials without an identity are counted per reason and method, so that anybody's flood is one record", () => {
  const log = new DecisionLog({ audience: "a", newId, maxDenials: 3 });
  const unknown = { ...denial, principal: "", reason: "IDENTITY_MISSING" } as const;
  for (let i = 0; i < 1000; i += 1) log.denied({ ...unknown, decisionId: `dec_${i}`, nowMs: 1000 + i });
  log.denied({ ...unknown, decisionId: "dec_other_method", method: "a.B/D" });
  log.denied({ ...unknown, decisionId: "dec_other_reason", reason: "IDENTITY_MALFORMED" });
  log.denied({ ...unknown, decisionId: "dec_still_counted" });
  const batch = log.take();
  assert.deepEqual(
    batch?.decisions.map(({ decisionId, count }) => [decisionId, count]),
    [
      ["dec_0", 1001n],
      ["dec_other_method", 1n],
      ["dec_other_reason", 1n],
    ],
  );
  assert.equal(batch.dropped, 0n);
  log.confirmed(1n);
  log.denied({ ...unknown, decisionId: "dec_later" });
  assert.deepEqual(
    log.take()?.decisions.map(({ decisionId, count }) => [decisionId, count]),
    [["dec_later", 1n]],
    "what was sent is not counted again",
  );
});

test("many decisions go in batches, none twice and none lost", () => {
  const log = new DecisionLog({ audience: "a", newId });
  for (let i = 0; i < 1200; i += 1) log.denied({ ...denial, decisionId: `dec_${i}` });
  const ids: string[] = [];
  for (let batch = log.take(); batch !== undefined; batch = log.take()) {
    assert.ok(batch.decisions.length <= 500);
    ids.push(...batch.decisions.map(({ decisionId }) => decisionId));
    log.confirmed(batch.sequence);
  }
  assert.equal(ids.length, 1200);
  assert.equal(new Set(ids).size, 1200);
});

test("an anonymous count names nobody", () => {
  const log = new DecisionLog({ audience: "a", newId });
  log.permitted({ ...permit, elevation: "" });
  assert.equal(log.take()?.decisions[0]?.principal, "");
});

test("a batch is kept until it is confirmed, so that a broken link loses none", () => {
  const log = new DecisionLog({ audience: "a", newId });
  log.denied(denial);
  const first = log.take();
  log.denied({ ...denial, decisionId: "dec_2" });
  assert.equal(log.take(), undefined, "one at a time");
  assert.equal(log.unconfirmed, first);
  log.confirmed(0n);
  assert.equal(log.unconfirmed, first, "an older confirmation is about another batch");
  log.confirmed(first?.sequence ?? 0n);
  assert.equal(log.unconfirmed, undefined);
  const second = log.take();
  assert.deepEqual([second?.sequence, second?.decisions[0]?.decisionId], [2n, "dec_2"]);
});

test("what only an observing policy let pass is told apart from a denial and from a permit", () => {
  const log = new DecisionLog({ audience: "a", newId });
  log.denied({ ...denial, principal: "user:sam@acme.test", permitted: true });
  log.denied({ ...denial, principal: "user:sam@acme.test", decisionId: "dec_2" });
  assert.deepEqual(
    log.take()?.decisions.map(({ permitted, observed }) => [permitted, observed]),
    [
      [true, true],
      [false, false],
    ],
  );
});

test("a batch stays far below what the authority takes at once, and what is left out of it comes in the next", () => {
  const log = new DecisionLog({ audience: "a", newId });
  const status = new Uint8Array(4000);
  for (let i = 0; i < 300; i += 1) log.denied({ ...denial, decisionId: `dec_${i}`, status });
  log.permitted(permit);
  const ids: string[] = [];
  for (let batch = log.take(); batch !== undefined; batch = log.take()) {
    assert.ok(toBinary(DecisionBatchSchema, batch).length <= 256 * 1024);
    assert.equal(batch.dropped, 0n);
    ids.push(...batch.decisions.filter(({ permitted }) => !permitted).map(({ decisionId }) => decisionId));
    log.confirmed(batch.sequence);
  }
  assert.deepEqual(
    ids,
    Array.from({ length: 300 }, (_, i) => `dec_${i}`),
  );
});

test("a record that cannot be sent is counted, and keeps back no other", () => {
  const log = new DecisionLog({ audience: "a", newId });
  log.denied({ ...denial, decisionId: "dec_long", status: new Uint8Array(300_000) });
  log.denied({ ...denial, decisionId: "dec_odd", policyVersion: -1n });
  log.permitted({ ...permit, elevation: "elv_odd", policyVersion: -1n });
  log.permitted({ ...permit, elevation: "elv_odd", policyVersion: -1n });
  log.denied(denial);
  const batch = log.take();
  assert.deepEqual(
    batch?.decisions.map(({ decisionId }) => decisionId),
    ["dec_1"],
  );
  assert.equal(batch.dropped, 4n);
  assert.equal(log.size, 0);
});

test("whatever number a handler ends a call with, a gRPC status is reported", () => {
  const log = new DecisionLog({ audience: "a", newId });
  for (const callStatus of [0, 16, 17, -1, -2147024891, 2 ** 31, 1.5, Number.NaN]) log.permitted({ ...permit, callStatus });
  const batch = log.take();
  assert.ok(batch);
  assert.deepEqual(
    batch.decisions.map(({ callStatus, count }) => [callStatus, count]),
    [
      [0, 1n],
      [16, 1n],
      [2, 6n],
    ],
  );
  toBinary(DecisionBatchSchema, batch);
});

test("a batch behind which the link breaks again and again is halved, then dropped, and counted", () => {
  const log = new DecisionLog({ audience: "a", newId, maxDenials: 4 });
  for (let i = 0; i < 5; i += 1) log.denied({ ...denial, decisionId: `dec_${i}` });
  const idsOf = (batch: DecisionBatch | undefined) => batch?.decisions.map(({ decisionId }) => decisionId);
  assert.equal(log.again(), undefined);
  const first = log.take();
  assert.deepEqual(idsOf(first), ["dec_0", "dec_1", "dec_2", "dec_3"]);
  assert.deepEqual(idsOf(log.again()), ["dec_0", "dec_1", "dec_2", "dec_3"], "one break proves nothing");
  const half = log.again();
  assert.deepEqual([half?.sequence, idsOf(half)], [1n, ["dec_0", "dec_1"]]);
  assert.equal(log.again(), undefined);
  log.denied({ ...denial, decisionId: "dec_later" });
  const next = log.take();
  assert.deepEqual([next?.sequence, idsOf(next), next?.dropped], [2n, ["dec_later"], 5n]);
  assert.deepEqual(idsOf(log.again()), ["dec_later"], "each batch counts for itself");
});

test("names of methods that callers make up are one record", () => {
  const log = new DecisionLog({ audience: "a", newId });
  const unknown = { ...denial, principal: "", listed: false, reason: "IDENTITY_MISSING" } as const;
  for (let i = 0; i < 3000; i += 1) log.denied({ ...unknown, method: `a.B/M${i}` });
  log.denied({ ...unknown, listed: true });
  const batch = log.take();
  assert.deepEqual(
    batch?.decisions.map(({ method, count }) => [method, count]),
    [
      ["a.B/M0", 3000n],
      ["a.B/C", 1n],
    ],
  );
});

test("what anybody can cause takes no room from what somebody did, is sent behind it, and is counted while it waits", () => {
  const log = new DecisionLog({ audience: "a", newId });
  const unknown = { ...denial, principal: "", reason: "IDENTITY_MISSING" } as const;
  for (let i = 0; i < 5000; i += 1) {
    log.denied({ ...unknown, decisionId: `dec_x${i}`, method: `a.B/M${i}` });
    log.permitted({ ...permit, elevation: "", method: `a.B/M${i}` });
  }
  for (let i = 0; i < 2000; i += 1) {
    log.denied({ ...denial, decisionId: `dec_${i}` });
    log.permitted({ ...permit, elevation: `elv_${i}` });
  }
  const batches: DecisionBatch[] = [];
  for (let batch = log.take(); batch !== undefined; batch = log.take()) {
    batches.push(batch);
    log.denied({ ...unknown, method: "a.B/M499" });
    log.confirmed(batch.sequence);
    if (batches.length > 100) break;
  }
  const records = batches.flatMap(({ decisions }) => decisions);
  assert.equal(records.filter(({ principal, permitted }) => principal !== "" && !permitted).length, 2000);
  assert.equal(records.filter(({ elevation }) => elevation !== "").length, 2000);
  const anybodys = batches.map(({ decisions }) => decisions.filter(({ principal, permitted }) => principal === "" && !permitted));
  assert.ok(anybodys.every(({ length }) => length <= 20));
  assert.ok(anybodys.flat().some(({ method, count }) => method === "a.B/M499" && count > 20n));
  assert.equal(
    batches.reduce((sum, { dropped }) => sum + dropped, 0n),
    9000n,
  );
});
