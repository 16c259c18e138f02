// The explanation never differs from the decision, and what it calls the nearest miss would really have permitted the call.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { type CallFacts, evaluate } from "../evaluate/evaluate.ts";
import {
  BUY,
  call,
  di,
  elevation,
  LOAD,
  largeRefund,
  MINUTE_MS,
  NOW_MS,
  over,
  REFUND,
  shopPolicy,
  smallRefund,
  stranger,
} from "../testdata/calls.ts";
import { explain, matchedRule } from "./explain.ts";

const policy = shopPolicy();

test("the verdict of an explanation is the evaluator's, for any call", () => {
  fc.assert(
    fc.property(
      fc.record({
        method: fc.constantFrom(REFUND, LOAD, BUY, "shop.v1.Shop/None", "nobody.v1.Knows/It"),
        principal: fc.constantFrom(di, stranger, undefined),
        candidates: fc.subarray([
          elevation(),
          elevation({ id: "elv_2", state: ElevationState.PENDING }),
          over(ElevationState.DENIED, 1000, "elv_3"),
        ]),
        request: fc.constantFrom(smallRefund, largeRefund),
      }),
      ({ principal, ...facts }) => {
        const facing: CallFacts = { ...facts, nowMs: NOW_MS, errorMs: 0, ...(principal && { principal }) };
        const { decision, nearestMiss } = explain(policy, facing);
        assert.deepEqual(decision, evaluate(policy, facing));
        assert.equal(nearestMiss === "", decision.permit);
      },
    ),
  );
});

test("the entitlement of a nearest miss, once live, permits the call", () => {
  const { decision, nearestMiss } = explain(policy, call());
  assert.ok(!decision.permit);
  const [, id = ""] = /^would be permitted with entitlement ([a-z-]+), \d approval/.exec(nearestMiss) ?? [];
  const entitlement = policy.entitlement(id) ?? assert.fail(nearestMiss);
  const live = elevation({ entitlement: id, methods: [...entitlement.methods] });
  assert.equal(evaluate(policy, call({ candidates: [live] })).permit, true);
  for (const stage of entitlement.stages) for (const approver of stage.approvers) assert.ok(nearestMiss.includes(approver));
});

test("what the elevation at hand lacks is what is named", () => {
  const missOf = (facts: Parameters<typeof call>[0]) => explain(policy, call(facts)).nearestMiss;
  const pending = elevation({ state: ElevationState.PENDING, pendingUntil: timestampFromMs(NOW_MS + MINUTE_MS) });
  assert.equal(missOf({ candidates: [pending] }), "would be permitted once elv_1 is approved");
  assert.match(missOf({ candidates: [elevation()], request: largeRefund }), /^would be permitted with a request that meets: request\./);
  const ahead = elevation({ windowStart: timestampFromMs(NOW_MS + MINUTE_MS) });
  assert.match(missOf({ candidates: [ahead] }), /^would be permitted from .*Z on, when elv_1 starts$/);
});

test("whoever may not ask learns of no entitlement, unless they may read the policy", () => {
  const asked = call({ principal: stranger });
  const told = explain(policy, asked).nearestMiss;
  for (const name of ["refund-operator", "group:"]) assert.ok(!told.includes(name), told);
  assert.match(explain(policy, asked, { wholePolicy: true }).nearestMiss, /refund-operator.*group:support/);
});

test("the rule is named as it stands in the document", () => {
  assert.equal(matchedRule(policy, REFUND), "services.shop.v1.Shop.methods.Refund (elevated)");
  assert.match(matchedRule(policy, "shop.v1.Shop/Unheard"), /^services\.shop\.v1\.Shop\.default|^$/);
  assert.equal(matchedRule(policy, "nobody.v1.Knows/It"), "");
  for (const name of ["constructor/x", "__proto__/toString"]) assert.equal(matchedRule(policy, name), "");
});
