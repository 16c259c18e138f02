// What guards report stays within its bound, and what does not fit is counted.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PrincipalSchema } from "@brevet/protocol/brevet/v1/elevation";
import { DecisionBatchSchema } from "@brevet/protocol/brevet/v1/guard";
import { DecisionRecordSchema } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";
import { RecentDecisions } from "./decisions.ts";

test("the newest decisions are kept in order, the others counted, and no guard writes into another audience", () => {
  const decisions = new RecentDecisions(3);
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
