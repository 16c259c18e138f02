import assert from "node:assert/strict";
import { test } from "node:test";
import { loadPolicy } from "../load/load.ts";
import { shopPolicy } from "../testdata/calls.ts";
import { SHOP_POLICY } from "../testdata/shop.ts";
import { runPolicyTests } from "./run.ts";

const CALL =
  'call: { principal: "user:di@acme.test", groups: ["group:support"], method: shop.v1.Shop/Refund, request: { amount_cents: 1 } }';

test("the document's tests run through the evaluator", () => {
  assert.deepEqual(
    runPolicyTests(shopPolicy()).map(({ name, passed, actual }) => [name, passed, actual]),
    [
      ["support may refund up to 500", true, "permit"],
      ["and no further", true, "deny CONDITION_NOT_MET"],
      ["nobody refunds without asking", true, "deny ELEVATION_REQUIRED"],
    ],
  );
});

test("a test fails where the policy says something else", () => {
  const [first] = runPolicyTests(shopPolicy(["request.amount_cents <= 50000", "request.amount_cents <= 49999"]));
  assert.deepEqual(first, {
    name: "support may refund up to 500",
    passed: false,
    expected: "permit",
    actual: "deny",
    problem: "CONDITION_NOT_MET",
  });
});

test("an elevation that the principal could not have makes the test fail", () => {
  const [first] = runPolicyTests(shopPolicy(['groups: ["group:support"], method', 'groups: ["group:sre"], method']));
  assert.equal(first?.passed, false);
  assert.match(first?.problem ?? "", /may not request/);
});

test("a request with a field that the message lacks makes the test fail", () => {
  const last = runPolicyTests(shopPolicy([CALL, CALL.replace("amount_cents", "amount_cent")])).at(-1);
  assert.equal(last?.passed, false);
  assert.match(last?.problem ?? "", /no shop.v1.Order/);
});

test("observing does not make tests pass", () => {
  const results = runPolicyTests(shopPolicy(["services:", "mode: observe\nservices:"]));
  assert.ok(results.every((each) => each.passed));
});

test("grant-bound and payload-bound entitlements can be tested", () => {
  const more = `
  - name: loading
    call: { principal: "user:di@acme.test", groups: ["group:support"], method: shop.v1.Shop/Load }
    with: loader
    expect: { decision: permit }
  - name: buying
    call: { principal: "user:di@acme.test", groups: ["group:support"], method: shop.v1.Shop/Buy, request: { id: x } }
    with: buyer
    expect: { decision: permit }
  - name: forbidden stays forbidden
    call: { principal: "user:di@acme.test", groups: ["group:sre"], method: shop.v1.Shop/Chat }
    with: break-glass
    expect: { decision: deny, reason: METHOD_FORBIDDEN }
`;
  assert.deepEqual(
    runPolicyTests(shopPolicy(["tests:\n", `tests:${more}`])).filter((each) => !each.passed),
    [],
  );
});

test("a request cannot be tested without descriptors, and the result says so", () => {
  const text = SHOP_POLICY.replace(/ {4}condition: .*\n/, "");
  const { policy } = loadPolicy(text);
  assert.ok(policy);
  assert.match(runPolicyTests(policy)[0]?.problem ?? "", /give descriptors/);
});
