import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { ElevationState, Presentation, StartMode } from "@brevet/protocol/brevet/v1/elevation";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
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
import { shopBytes } from "../testdata/shop.ts";
import { type CallFacts, type Decision, evaluate, needsRequest } from "./evaluate.ts";
import { describeOffer, offersFor } from "./offers.ts";

const policy = shopPolicy();
const judge = (facts: Partial<CallFacts> = {}) => evaluate(policy, call(facts));
const DAY_MS = 24 * 60 * MINUTE_MS;

function reasonOf(decision: Decision): string {
  return decision.permit ? "permit" : decision.reason;
}

test("an open method needs no identity, an authenticated one needs no more", () => {
  const { principal: _, ...nobody } = call({ method: "grpc.health.v1.Health/Check" });
  assert.deepEqual(evaluate(policy, nobody), { permit: true });
  assert.equal(reasonOf(evaluate(policy, { ...nobody, method: "shop.v1.Shop/Find" })), "IDENTITY_MISSING");
  assert.deepEqual(judge({ method: "shop.v1.Shop/Find", principal: stranger }), { permit: true });
  assert.deepEqual(judge({ method: "grpc.reflection.v1.ServerReflection/ServerReflectionInfo" }), { permit: true });
});

test("what is not listed is forbidden, and without an identity nothing more is said", () => {
  for (const method of [
    "shop.v1.Shop/Nope",
    "shop.v1.Other/Refund",
    "shop.v1.Shop/Chat",
    "Refund",
    "",
    "shop.v1.Shop/refund",
    "__proto__/constructor",
  ]) {
    assert.equal(reasonOf(judge({ method, candidates: [elevation({ methods: [method] })] })), "METHOD_FORBIDDEN", method);
    const { principal: _, ...nobody } = call({ method });
    assert.equal(reasonOf(evaluate(policy, nobody)), "IDENTITY_MISSING");
  }
});

test("without an elevation the denial offers what the caller may request", () => {
  const decision = judge();
  assert.ok(!decision.permit);
  assert.equal(decision.reason, "ELEVATION_REQUIRED");
  assert.deepEqual(
    decision.offers.map((each) => each.id),
    ["refund-operator"],
  );
});

test("who may request nothing is not eligible, and learns of no entitlement", () => {
  assert.deepEqual(judge({ principal: stranger }), { permit: false, reason: "NOT_ELIGIBLE", facts: {}, offers: [] });
});

test("a request that an approval would not help is told so before anybody is asked", () => {
  const decision = judge({ request: largeRefund });
  assert.ok(!decision.permit);
  assert.equal(decision.reason, "CONDITION_NOT_MET");
  assert.equal(decision.facts["entitlement"], "refund-operator");
  assert.deepEqual(decision.offers, []);
});

test("a live elevation permits, and says when it ends", () => {
  const live = elevation();
  assert.deepEqual(judge({ candidates: [live] }), { permit: true, elevation: live, endsMs: NOW_MS + 14 * MINUTE_MS });
});

test("the end is judged late and the start early: no leeway", () => {
  const end = NOW_MS + 14 * MINUTE_MS;
  const start = NOW_MS - MINUTE_MS;
  const at = (nowMs: number, errorMs: number, more: Partial<CallFacts> = {}) =>
    reasonOf(judge({ candidates: [elevation()], nowMs, errorMs, ...more }));
  assert.equal(at(end - 1, 0), "permit");
  assert.equal(at(end, 0), "ELEVATION_EXPIRED");
  assert.equal(at(end - 50, 50), "ELEVATION_EXPIRED");
  assert.equal(at(end - 51, 50), "permit");
  assert.equal(at(start, 0), "permit");
  assert.equal(at(start - 1, 0), "ELEVATION_SCHEDULED");
  assert.equal(at(start + 49, 50), "ELEVATION_SCHEDULED");
  assert.equal(at(start + 50, 50), "permit");
});

test("a start that the authority has surely reached counts, however wide the error is", () => {
  const start = NOW_MS - MINUTE_MS;
  assert.equal(reasonOf(judge({ candidates: [elevation()], nowMs: start + 10, errorMs: 50, reachedMs: start })), "permit");
  assert.equal(reasonOf(judge({ candidates: [elevation()], nowMs: start + 10, errorMs: 50, reachedMs: start - 1 })), "ELEVATION_SCHEDULED");
});

test("an active one past its end is expired, and says since when", () => {
  const decision = judge({ candidates: [elevation()], nowMs: NOW_MS + 20 * MINUTE_MS });
  assert.ok(!decision.permit);
  assert.equal(decision.reason, "ELEVATION_EXPIRED");
  assert.equal(decision.facts["expiredAt"], "2026-11-22T12:14:00.000Z");
  assert.deepEqual(
    decision.offers.map((each) => each.id),
    ["refund-operator"],
  );
});

test("each final state keeps its own reason for a day, and then none", () => {
  const states = {
    DENIED: "ELEVATION_DENIED",
    WITHDRAWN: "ELEVATION_WITHDRAWN",
    LAPSED: "ELEVATION_LAPSED",
    EXPIRED: "ELEVATION_EXPIRED",
    ENDED: "ELEVATION_ENDED",
    REVOKED: "ELEVATION_REVOKED",
  } as const;
  for (const [name, reason] of Object.entries(states)) {
    const state = ElevationState[name as keyof typeof states];
    assert.equal(reasonOf(judge({ candidates: [over(state, 0)] })), reason);
    assert.equal(reasonOf(judge({ candidates: [over(state, DAY_MS)] })), reason);
    assert.equal(reasonOf(judge({ candidates: [over(state, DAY_MS + 1)] })), "ELEVATION_REQUIRED");
  }
});

test("a pending one is pending until its time, and then lapsed, never denied", () => {
  const pending = elevation({ state: ElevationState.PENDING, pendingUntil: timestampFromMs(NOW_MS + 1000) });
  assert.equal(reasonOf(judge({ candidates: [pending] })), "ELEVATION_PENDING");
  assert.equal(reasonOf(judge({ candidates: [pending], nowMs: NOW_MS + 1000 })), "ELEVATION_LAPSED");
});

test("an approved one starts with the first use, but not before its time and not after its last", () => {
  const scheduled = elevation({ state: ElevationState.SCHEDULED, startBy: timestampFromMs(NOW_MS + 1000) });
  assert.deepEqual(judge({ candidates: [scheduled] }), { permit: true, elevation: scheduled, needsStart: true });
  assert.equal(reasonOf(judge({ candidates: [scheduled], nowMs: NOW_MS + 1000 })), "ELEVATION_LAPSED");
  const later = elevation({ state: ElevationState.SCHEDULED, startMode: StartMode.AT_TIME, startTime: timestampFromMs(NOW_MS + 1000) });
  const decision = judge({ candidates: [later] });
  assert.ok(!decision.permit);
  assert.equal(decision.reason, "ELEVATION_SCHEDULED");
  assert.equal(decision.facts["startTime"], "2026-11-22T12:00:01.000Z");
  assert.equal(reasonOf(judge({ candidates: [later], nowMs: NOW_MS + 1000 })), "permit");
});

test("the approved and the current condition both have to hold", () => {
  const frozen = elevation({ condition: { text: "request.amount_cents <= 50" } });
  assert.equal(reasonOf(judge({ candidates: [frozen] })), "CONDITION_NOT_MET", "a policy change never widens what was approved");
  assert.equal(
    reasonOf(judge({ candidates: [elevation({ condition: { text: "request.amount_cents <= 99999" } })], request: largeRefund })),
    "CONDITION_NOT_MET",
    "and does narrow it",
  );
  const same = elevation({ condition: { text: policy.entitlement("refund-operator")?.conditionSource ?? "" } });
  assert.equal(reasonOf(judge({ candidates: [same] })), "permit");
  assert.equal(reasonOf(judge({ candidates: [same], request: largeRefund })), "CONDITION_NOT_MET");
});

test("an approved condition or digest that was erased permits nothing any more", () => {
  const commitment = new Uint8Array(32);
  const decision = judge({ candidates: [elevation({ condition: { commitment } })] });
  assert.equal(reasonOf(decision), "POLICY_MISCONFIGURED");
  assert.match(decision.permit ? "" : (decision.facts["problem"] ?? ""), /erased/);
  const buying = elevation({ entitlement: "buyer", methods: [BUY], payloadDigest: { commitment } });
  assert.equal(reasonOf(judge({ method: BUY, candidates: [buying], payloadDigest: new Uint8Array() })), "GRANT_PAYLOAD_MISMATCH");
});

test("a condition that fails denies as misconfigured and names the expression", () => {
  for (const condition of ["request.tags[3] == 'x'", "request.gone == 1 || true", "not cel"]) {
    const decision = judge({ candidates: [elevation({ condition: { text: condition } })] });
    assert.ok(!decision.permit);
    assert.equal(decision.reason, "POLICY_MISCONFIGURED");
    assert.equal(decision.facts["expression"], condition);
    assert.notEqual(decision.facts["problem"], "");
  }
  const { request: _, ...without } = call({ candidates: [elevation()] });
  assert.equal(reasonOf(evaluate(policy, without)), "POLICY_MISCONFIGURED", "a condition on a request that nobody read cannot hold");
});

test("an elevation of somebody else, of another audience or of nobody is none", () => {
  for (const other of [
    elevation({ requester: { name: stranger.name } }),
    elevation({ requester: { name: "" } }),
    elevation({ audience: "shop-test" }),
    { ...elevation(), requester: undefined },
  ])
    assert.equal(reasonOf(judge({ candidates: [other] })), "ELEVATION_REQUIRED");
});

test("both the frozen methods and the entitlement of today have to cover the call", () => {
  assert.equal(reasonOf(judge({ candidates: [elevation({ methods: [LOAD] })] })), "ELEVATION_REQUIRED");
  assert.equal(reasonOf(judge({ candidates: [elevation({ entitlement: "gone" })] })), "ELEVATION_REQUIRED");
  assert.equal(
    reasonOf(judge({ candidates: [elevation({ entitlement: "loader" })] })),
    "ELEVATION_REQUIRED",
    "its entitlement covers another method",
  );
  assert.equal(
    reasonOf(judge({ candidates: [elevation({ methods: [LOAD] })], presented: new Map([["elv_1", "grant"]]) })),
    "GRANT_SCOPE_MISMATCH",
    "a grant that was shown is answered",
  );
});

test("where a grant is demanded, identity is not enough", () => {
  const loading = elevation({ entitlement: "loader", methods: [LOAD] });
  const facts = { method: LOAD, candidates: [loading] };
  const without = judge(facts);
  assert.ok(
    !without.permit && without.reason === "ELEVATION_REQUIRED" && without.facts["present"] === "grant" && without.elevation === loading,
  );
  assert.equal(reasonOf(judge({ ...facts, presented: new Map([["elv_2", "grant"]]) })), "ELEVATION_REQUIRED");
  assert.equal(reasonOf(judge({ ...facts, presented: new Map([["elv_1", "grant"]]) })), "permit");
  const bound = elevation({ presentation: Presentation.BOUND });
  assert.equal(reasonOf(judge({ candidates: [bound] })), "ELEVATION_REQUIRED");
  assert.equal(reasonOf(judge({ candidates: [bound], presented: new Map([["elv_1", "grant"]]) })), "GRANT_PROOF_INVALID");
  assert.equal(reasonOf(judge({ candidates: [bound], presented: new Map([["elv_1", "bound"]]) })), "permit");
});

test("an approval of one request covers no other, and is used once", () => {
  const digest = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
  const buying = elevation({ entitlement: "buyer", methods: [BUY], payloadDigest: { value: digest(smallRefund) } });
  const facts = { method: BUY, candidates: [buying], payloadDigest: digest(smallRefund) };
  assert.deepEqual(judge(facts), { permit: true, elevation: buying, endsMs: NOW_MS + 14 * MINUTE_MS, consume: true });
  assert.equal(reasonOf(judge({ ...facts, payloadDigest: digest(largeRefund) })), "GRANT_PAYLOAD_MISMATCH");
  const { payloadDigest: _, ...unread } = facts;
  assert.equal(reasonOf(judge(unread)), "GRANT_PAYLOAD_MISMATCH");
  assert.equal(
    reasonOf(judge({ ...facts, candidates: [{ ...buying, payloadUseTime: timestampFromMs(NOW_MS) }] })),
    "GRANT_PAYLOAD_MISMATCH",
  );
  assert.equal(reasonOf(judge({ ...facts, candidates: [elevation({ entitlement: "buyer", methods: [BUY] })] })), "GRANT_PAYLOAD_MISMATCH");
});

test("an expired one never hides a live one", () => {
  const live = elevation({ id: "elv_2" });
  for (const candidates of [
    [over(ElevationState.EXPIRED, 1000), live],
    [live, over(ElevationState.REVOKED, 1000)],
  ]) {
    const decision = judge({ candidates });
    assert.ok(decision.permit && decision.elevation === live);
  }
});

test("of several live ones the call rests on the one that ends last, and a running one before one to start", () => {
  const [short, long] = [elevation({ id: "elv_a" }), elevation({ id: "elv_b", windowEnd: timestampFromMs(NOW_MS + 60 * MINUTE_MS) })];
  const waiting = elevation({ id: "elv_0", state: ElevationState.SCHEDULED, startBy: timestampFromMs(NOW_MS + MINUTE_MS) });
  const decision = judge({ candidates: [waiting, short, long] });
  assert.ok(decision.permit && decision.elevation === long && decision.needsStart === undefined);
});

test("of several that fail, the one that got furthest speaks; of the ended ones, the last", () => {
  const pending = elevation({ id: "elv_p", state: ElevationState.PENDING, pendingUntil: timestampFromMs(NOW_MS + MINUTE_MS) });
  assert.equal(reasonOf(judge({ candidates: [over(ElevationState.EXPIRED, 1000, "elv_x"), pending] })), "ELEVATION_PENDING");
  assert.equal(reasonOf(judge({ candidates: [pending, elevation({ id: "elv_c", condition: { text: "false" } })] })), "CONDITION_NOT_MET");
  assert.equal(
    reasonOf(judge({ candidates: [over(ElevationState.EXPIRED, 2000, "elv_x"), over(ElevationState.DENIED, 1000, "elv_d")] })),
    "ELEVATION_DENIED",
  );
});

test("of several that are alike, the first by id speaks, whatever their order", () => {
  const [a, b] = [over(ElevationState.DENIED, 1000, "elv_a"), over(ElevationState.DENIED, 1000, "elv_b")];
  const [c, d] = [elevation({ id: "elv_c" }), elevation({ id: "elv_d" })];
  assert.deepEqual(
    [
      [a, b],
      [b, a],
      [c, d],
      [d, c],
    ].map((candidates) => judge({ candidates }).elevation?.id),
    ["elv_a", "elv_a", "elv_c", "elv_c"],
  );
});

test("observing permits, and attaches the refusal", () => {
  const observing = shopPolicy(["services:", "mode: observe\nservices:"]);
  const decision = evaluate(observing, call({ principal: stranger }));
  assert.ok(decision.permit);
  assert.equal(decision.observed?.reason, "NOT_ELIGIBLE");
  assert.deepEqual(evaluate(observing, call({ candidates: [elevation()] })), judge({ candidates: [elevation()] }));
});

test("the request is needed where a condition of the policy or of an elevation reads it", () => {
  assert.equal(needsRequest(policy, REFUND, []), true);
  assert.equal(needsRequest(policy, LOAD, []), false);
  const loading = (condition: string) => elevation({ entitlement: "loader", methods: [LOAD], condition: { text: condition } });
  assert.equal(needsRequest(policy, LOAD, [loading("request.id == 'x'")]), true);
  assert.equal(needsRequest(policy, LOAD, [loading("principal.kind == 'ci'")]), false);
  assert.equal(needsRequest(policy, BUY, []), true, "bound to the payload");
  assert.equal(needsRequest(policy, "shop.v1.Shop/Find", [elevation({ condition: { text: "request.text == 'x'" } })]), false);
});

test("the condition of an elevation that does not cover the method, or is not approved yet, asks for no request of it", () => {
  const condition = { text: "request.id == 'x'" };
  for (const other of [
    elevation({ condition }),
    elevation({ state: ElevationState.PENDING, condition }),
    elevation({ methods: [REFUND, LOAD], condition }),
    elevation({ entitlement: "loader", condition }),
    elevation({ entitlement: "gone", methods: [LOAD], condition }),
    elevation({ entitlement: "loader", methods: [LOAD], state: ElevationState.PENDING, condition }),
  ])
    assert.equal(needsRequest(policy, LOAD, [other]), false);
});

test("offers come fewest approvals first, then narrowest, break-glass last", () => {
  const who = { ...di, groups: new Set(["group:support", "group:sre"]) };
  assert.deepEqual(
    offersFor(policy, REFUND, who).map((each) => each.id),
    ["refund-operator", "break-glass"],
  );
  assert.deepEqual(offersFor(policy, "shop.v1.Shop/Find", who), []);
});

test("an offer says how long, how many approvals, and who could give them, without the caller", () => {
  const entitlement = policy.entitlement("refund-operator");
  assert.ok(entitlement);
  const offer = describeOffer(policy, entitlement, di);
  assert.deepEqual(
    [
      offer.defaultDuration?.seconds,
      offer.maxDuration?.seconds,
      offer.approvals,
      offer.eligibleApprovers,
      offer.reasonRequired,
      offer.reasonPattern,
    ],
    [900n, 3600n, 1, 3, true, "^[A-Z]+-[0-9]+"],
  );
  assert.equal(describeOffer(policy, entitlement, { ...di, name: "user:ana@acme.test" }).eligibleApprovers, 2);
  const protectedRun = { ...di, name: "ci:acme/4711", kind: "ci" as const, claims: { ref_protected: "true" } };
  assert.equal(describeOffer(policy, entitlement, protectedRun).approvals, 0);
  assert.equal(describeOffer(policy, entitlement, { ...protectedRun, claims: {} }).approvals, 1);
});

test("conditions read what is on the wire, whatever coded it", () => {
  const unknownField = new Uint8Array([...shopBytes("Order", { amount_cents: "100" }), 0xc2, 0x3e, 1, 0]);
  assert.equal(reasonOf(judge({ candidates: [elevation()], request: unknownField })), "permit");
  const twice = new Uint8Array([...smallRefund, ...largeRefund]);
  assert.equal(
    reasonOf(judge({ candidates: [elevation()], request: twice })),
    "CONDITION_NOT_MET",
    "the last of a repeated singular field counts, as in every protobuf library",
  );
});
