// Properties of the evaluator that must hold for any candidates at any time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Elevation, ElevationState, StartMode } from "@brevet/protocol/brevet/v1/elevation";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { BUY, call, elevation, LOAD, NOW_MS, REFUND, shopPolicy } from "../testdata/calls.ts";
import { timeMs } from "./candidate.ts";
import { evaluate } from "./evaluate.ts";

const policy = shopPolicy();
const offset = fc.integer({ min: -2000, max: 2000 });
const time = offset.map((ms) => timestampFromMs(NOW_MS + ms));

/** A frozen condition that holds on a small refund, one that does not, one that fails, one that does not compile. */
const CONDITIONS = {
  "": true,
  "request.amount_cents == 100": true,
  "request.amount_cents == 1": false,
  "request.tags[0] == 'x'": false,
  nope: false,
} as const;

const candidate: fc.Arbitrary<Elevation> = fc
  .record({
    id: fc.integer({ min: 0, max: 999 }).map((n) => `elv_${n}`),
    audience: fc.constantFrom("shop-prod", "shop-prod", "shop-prod", "other"),
    entitlement: fc.constantFrom("refund-operator", "refund-operator", "loader", "gone"),
    state: fc.constantFrom(
      ElevationState.ACTIVE,
      ElevationState.ACTIVE,
      ElevationState.SCHEDULED,
      ElevationState.PENDING,
      ElevationState.DENIED,
      ElevationState.WITHDRAWN,
      ElevationState.LAPSED,
      ElevationState.EXPIRED,
      ElevationState.ENDED,
      ElevationState.REVOKED,
      ElevationState.UNSPECIFIED,
    ),
    requester: fc
      .constantFrom("user:di@acme.test", "user:di@acme.test", "user:di@acme.test", "user:eve@acme.test")
      .map((name) => ({ name })),
    methods: fc.subarray([REFUND, REFUND, LOAD, BUY]),
    condition: fc.constantFrom(...Object.keys(CONDITIONS)).map((text) => (text === "" ? undefined : { text })),
    startMode: fc.constantFrom(StartMode.ON_USE, StartMode.AT_TIME),
    startTime: time,
    startBy: time,
    pendingUntil: time,
    windowStart: time,
    windowEnd: time,
    endTime: time,
  })
  .map((init) => elevation(init));
const unique = fc.uniqueArray(candidate, { maxLength: 5, selector: (each) => each.id });
const moment = fc.record({ nowMs: offset.map((ms) => NOW_MS + ms), errorMs: fc.integer({ min: 0, max: 500 }) });

/** The rule once more, as plainly as it can be said. */
function mayRestOn(each: Elevation, nowMs: number, errorMs: number): boolean {
  const covers =
    each.audience === "shop-prod" &&
    each.requester?.name === "user:di@acme.test" &&
    each.entitlement === "refund-operator" &&
    each.methods.includes(REFUND);
  const holds = Object.entries(CONDITIONS).some(([source, value]) => source === (each.condition?.text ?? "") && value);
  const inWindow =
    each.state === ElevationState.ACTIVE &&
    nowMs - errorMs >= (timeMs(each.windowStart) ?? Infinity) &&
    nowMs + errorMs < (timeMs(each.windowEnd) ?? -Infinity);
  const mayStart =
    each.state === ElevationState.SCHEDULED &&
    (each.startMode === StartMode.AT_TIME
      ? nowMs - errorMs >= (timeMs(each.startTime) ?? Infinity)
      : nowMs + errorMs < (timeMs(each.startBy) ?? Infinity));
  return covers && holds && (inWindow || mayStart);
}

test("property: a call is permitted exactly where one elevation covers principal, audience, method, time and condition", () => {
  fc.assert(
    fc.property(unique, moment, (candidates, { nowMs, errorMs }) => {
      const decision = evaluate(policy, call({ candidates, nowMs, errorMs }));
      const expected = candidates.filter((each) => mayRestOn(each, nowMs, errorMs));
      assert.equal(decision.permit, expected.length > 0);
      if (decision.permit) {
        assert.ok(decision.elevation !== undefined && expected.includes(decision.elevation));
        assert.equal(decision.needsStart === true, decision.elevation.state === ElevationState.SCHEDULED);
        if (decision.endsMs !== undefined) assert.ok(nowMs + errorMs < decision.endsMs);
      }
    }),
    { numRuns: 3000 },
  );
});

test("property: the order of candidates never matters", () => {
  const shuffled = unique.chain((candidates) =>
    fc.tuple(fc.constant(candidates), fc.shuffledSubarray(candidates, { minLength: candidates.length })),
  );
  fc.assert(
    fc.property(shuffled, moment, ([candidates, others], time) => {
      const [one, other] = [evaluate(policy, call({ candidates, ...time })), evaluate(policy, call({ candidates: others, ...time }))];
      assert.deepEqual([one.permit, one.elevation?.id], [other.permit, other.elevation?.id]);
      if (!one.permit && !other.permit) assert.deepEqual([one.reason, one.facts], [other.reason, other.facts]);
    }),
    { numRuns: 1000 },
  );
});

test("property: access is the union of live elevations: one more candidate never takes it away", () => {
  fc.assert(
    fc.property(unique, candidate, moment, (candidates, another, time) => {
      const before = evaluate(policy, call({ candidates, ...time }));
      const after = evaluate(policy, call({ candidates: [...candidates, another], ...time }));
      assert.ok(!before.permit || after.permit);
    }),
    { numRuns: 1000 },
  );
});

test("property: a wider error of the clock never permits more", () => {
  fc.assert(
    fc.property(unique, moment, fc.integer({ min: 0, max: 500 }), (candidates, { nowMs, errorMs }, more) => {
      const wider = evaluate(policy, call({ candidates, nowMs, errorMs: errorMs + more }));
      assert.ok(!wider.permit || evaluate(policy, call({ candidates, nowMs, errorMs })).permit);
    }),
    { numRuns: 1000 },
  );
});

test("property: an unknown method is never permitted", () => {
  fc.assert(
    fc.property(fc.string(), unique, (method, candidates) => {
      fc.pre(!policy.method(method).listed);
      const covering = candidates.map((each) => ({ ...each, methods: [...each.methods, method] }));
      assert.equal(evaluate(policy, call({ method, candidates: covering })).permit, false);
    }),
    { numRuns: 500 },
  );
});
