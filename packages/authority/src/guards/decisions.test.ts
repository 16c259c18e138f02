// What guards report stays within its bound, and what does not fit is counted.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PrincipalSchema } from "@brevet/protocol/brevet/v1/elevation";
import { DecisionBatchSchema } from "@brevet/protocol/brevet/v1/guard";
import { DecisionRecordSchema } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";
import { RecentDecisions } from "./decisions.ts";

test("the newest decisions are kept in order, the others counted, and no guard writes into another audience", () => {
  const decisions = new RecentDecisions({ kept: 3 });
  const somebody = create(PrincipalSchema, { name: "workload:somebody" });
  const batch = (ids: string[], dropped = 0n) =>
    create(DecisionBatchSchema, {
      decisions: ids.map((decisionId) => create(DecisionRecordSchema, { decisionId, audience: "another", guard: somebody })),
      dropped,
    });
  const from = (name: string) => ({ audience: "payments", guard: create(PrincipalSchema, { name }), instance: "gud_1" });
  decisions.add(from("workload:a"), batch(["1", "2"]));
  decisions.add(from("workload:b"), batch(["3", "4", "5"], 7n));
  assert.deepEqual(
    decisions.list("payments").map(({ decisionId, guard, audience }) => [decisionId, guard?.name, audience]),
    ["3", "4", "5"].map((id) => [id, "workload:b", "payments"]),
  );
  assert.equal(decisions.dropped("payments"), 9n);
  assert.deepEqual([decisions.list("another"), decisions.dropped("another")], [[], 0n]);
});

test("what a guard reports is cut, and bounded in bytes: a guard cannot fill the authority's memory", () => {
  const decisions = new RecentDecisions();
  const guard = create(PrincipalSchema, { name: "workload:a" });
  const long = "x".repeat(1_000_000);
  const record = create(DecisionRecordSchema, {
    decisionId: long,
    method: long,
    principal: long,
    elevation: long,
    traceId: long,
    status: new Uint8Array(4096),
    headersSeen: Array.from({ length: 1000 }, () => long),
  });
  const [batches, each] = [20, 100];
  for (let i = 0; i < batches; i += 1) {
    const batch = create(DecisionBatchSchema, { decisions: Array.from({ length: each }, () => record) });
    decisions.add({ audience: "payments", guard, instance: "gud_1" }, batch);
  }
  const kept = decisions.list("payments");
  for (const one of kept) {
    const texts = [one.decisionId, one.method, one.principal, one.elevation, one.traceId, ...one.headersSeen];
    assert.deepEqual([texts.length, new Set(texts.map((text) => text.length))], [5 + 64, new Set([256])]);
  }
  assert.ok(kept.length > 100 && kept.length * 64 * 256 < 16 * 1024 * 1024, `${kept.length} kept`);
  assert.equal(decisions.dropped("payments"), BigInt(batches * each - kept.length));
  decisions.add(
    { audience: "payments", guard, instance: "gud_1" },
    create(DecisionBatchSchema, { decisions: [{ decisionId: "last", status: new Uint8Array(100_000) }] }),
  );
  const last = decisions.list("payments").at(-1);
  assert.deepEqual([last?.decisionId, last?.status.length], ["last", 0]);
});
