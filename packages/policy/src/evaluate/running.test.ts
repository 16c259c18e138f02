import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState, StreamExpiry } from "@brevet/protocol/brevet/v1/elevation";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { call, elevation, LOAD, largeRefund, MINUTE_MS, NOW_MS, REFUND, shopPolicy } from "../testdata/calls.ts";
import { type CallFacts, evaluate, readsRequest } from "./evaluate.ts";

const policy = shopPolicy();
const END_MS = NOW_MS + 14 * MINUTE_MS;
const DRAIN = { streamExpiry: StreamExpiry.DRAIN, drain: durationFromMs(10_000) };
const RUNNING: Partial<CallFacts> = { running: { sinceMs: NOW_MS } };

/** The reason, or until when the call may go on. */
function outcome(facts: Partial<CallFacts>, under = policy): string | number {
  const decision = evaluate(under, call(facts));
  return decision.permit ? (decision.drainsUntilMs ?? decision.endsMs ?? 0) : decision.reason;
}

test("a stream that ran at the window's end drains, and no new call starts meanwhile", () => {
  const candidates = [elevation(DRAIN)];
  assert.equal(outcome({ ...RUNNING, candidates, nowMs: END_MS - 1 }), END_MS);
  assert.equal(outcome({ ...RUNNING, candidates, nowMs: END_MS }), END_MS + 10_000);
  assert.equal(outcome({ ...RUNNING, candidates, nowMs: END_MS + 9999 }), END_MS + 10_000);
  assert.equal(outcome({ ...RUNNING, candidates, nowMs: END_MS + 10_000 }), "ELEVATION_EXPIRED");
  assert.equal(outcome({ ...RUNNING, candidates, nowMs: END_MS + 9990, errorMs: 10 }), "ELEVATION_EXPIRED");
  assert.equal(outcome({ candidates, nowMs: END_MS }), "ELEVATION_EXPIRED");
  assert.equal(outcome({ running: { sinceMs: END_MS }, candidates, nowMs: END_MS + 1 }), "ELEVATION_EXPIRED", "it began after the end");
});

test("the stricter of the approved and the current policy says how long streams drain", () => {
  const drainsFor = (fields: object, change: readonly [string, string] = ["", ""]) =>
    outcome({ ...RUNNING, candidates: [elevation(fields)], nowMs: END_MS }, shopPolicy(change));
  assert.equal(drainsFor({ ...DRAIN, drain: durationFromMs(60_000) }), END_MS + 30_000, "the policy says 30 s");
  assert.equal(drainsFor(DRAIN, ["onExpiry: drain, for: 30s", "onExpiry: terminate"]), "ELEVATION_EXPIRED");
  assert.equal(drainsFor({ streamExpiry: StreamExpiry.TERMINATE, drain: durationFromMs(10_000) }), "ELEVATION_EXPIRED");
  assert.equal(drainsFor({ streamExpiry: StreamExpiry.DRAIN }), "ELEVATION_EXPIRED");
  assert.equal(drainsFor({ ...DRAIN, drain: durationFromMs(-10_000) }), "ELEVATION_EXPIRED");
});

test("the entry that closes the window does not end the drain; every other final state does", () => {
  const closed = { ...DRAIN, endTime: timestampFromMs(END_MS) };
  for (const [state, expected] of [
    [ElevationState.EXPIRED, END_MS + 10_000],
    [ElevationState.ENDED, "ELEVATION_ENDED"],
    [ElevationState.REVOKED, "ELEVATION_REVOKED"],
  ] as const)
    assert.equal(outcome({ ...RUNNING, candidates: [elevation({ ...closed, state })], nowMs: END_MS + 1 }), expected);
});

test("a running stream starts no window", () => {
  const candidates = [elevation({ state: ElevationState.SCHEDULED, startBy: timestampFromMs(END_MS) })];
  assert.equal(outcome({ candidates }), 0);
  assert.equal(outcome({ ...RUNNING, candidates }), "ELEVATION_SCHEDULED");
});

test("conditions on requests that come later are not looked at, and hold for each of them", () => {
  const candidates = [elevation()];
  assert.equal(outcome({ ...RUNNING, candidates, request: largeRefund }), "CONDITION_NOT_MET");
  assert.equal(outcome({ ...RUNNING, candidates, request: largeRefund, requestsLater: true }), END_MS);
});

test("it is told which elevations need the request", () => {
  assert.equal(readsRequest(policy, REFUND, elevation()), true);
  assert.equal(readsRequest(policy, LOAD, elevation()), false, "not for that method");
  const loads = { entitlement: "loader", methods: [LOAD] };
  assert.equal(readsRequest(policy, LOAD, elevation(loads)), false);
  assert.equal(readsRequest(policy, LOAD, elevation({ ...loads, condition: { text: "request.amount_cents < 5" } })), true);
  assert.equal(readsRequest(policy, LOAD, elevation({ ...loads, condition: { text: "principal.kind == 'user'" } })), false);
});
