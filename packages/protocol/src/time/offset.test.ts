import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { OffsetEstimator } from "./offset.ts";

const delayMs = fc.double({ min: 0, max: 5000, noNaN: true });
const exchange = fc.record({ pauseMs: fc.double({ min: 0, max: 60_000, noNaN: true }), there: delayMs, served: delayMs, back: delayMs });
// Sums of numbers this large lose up to this much.
const ROUNDING_MS = 0.01;

test("the authority's time lies within estimate ± error, however asymmetric the delays and whichever way the clocks drift", () => {
  fc.assert(
    fc.property(
      fc.array(exchange, { minLength: 1, maxLength: 20 }),
      fc.double({ min: -100, max: 100, noNaN: true }),
      fc.double({ min: 0, max: 2e12, noNaN: true }),
      fc.double({ min: 0, max: 3_600_000, noNaN: true }),
      fc.boolean(),
      (exchanges, driftPpm, authorityStartMs, laterMs, wholeMs) => {
        const authorityAt = (localMs: number) => authorityStartMs + localMs * (1 + driftPpm / 1_000_000);
        const reading = (localMs: number) => (wholeMs ? Math.floor(authorityAt(localMs)) : authorityAt(localMs));
        const estimator = new OffsetEstimator();
        let localMs = 1000;
        for (const { pauseMs, there, served, back } of exchanges) {
          const t1 = localMs + pauseMs;
          const t4 = t1 + there + served + back;
          estimator.sample(t1, reading(t1 + there), reading(t1 + there + served), t4);
          localMs = t4;
        }
        for (const at of [localMs, localMs + laterMs]) {
          const estimate = estimator.estimate(at);
          assert.ok(estimate);
          assert.ok(Math.abs(estimate.authorityMs - authorityAt(at)) <= estimate.errorMs + ROUNDING_MS);
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test("the sample with the least delay is believed, until its age has used the advantage up", () => {
  const estimator = new OffsetEstimator({ resolutionMs: 0 });
  estimator.sample(0, 1001, 1001, 2);
  estimator.sample(1000, 2090, 2090, 1100);
  assert.deepEqual(estimator.estimate(1100), { authorityMs: 2100, errorMs: 1 + 0.11 });
  // 1000 s of age cost 100 ms, more than the 50 ms of a slow sample.
  estimator.sample(1_000_000, 1_001_090, 1_001_090, 1_000_100);
  assert.deepEqual(estimator.estimate(1_000_100), { authorityMs: 1_000_100 + 1040, errorMs: 50 + 0.01 });
});

test("only the last eight samples count", () => {
  const estimator = new OffsetEstimator({ resolutionMs: 0, driftPpm: 0 });
  estimator.sample(0, 1000, 1000, 0);
  for (let i = 1; i <= 7; i += 1) estimator.sample(i, 1000 + i + 5, 1000 + i + 5, i + 10);
  assert.equal(estimator.estimate(100)?.errorMs, 0);
  estimator.sample(8, 1000 + 8 + 5, 1000 + 8 + 5, 18);
  assert.equal(estimator.estimate(100)?.errorMs, 5);
});

test("a sample that contradicts the others replaces them: the machine slept, or a clock stepped", () => {
  const estimator = new OffsetEstimator({ resolutionMs: 0 });
  estimator.sample(0, 1000, 1000, 2);
  estimator.sample(1000, 1000 + 3_600_000, 1000 + 3_600_000, 1400);
  const estimate = estimator.estimate(1400);
  assert.ok(estimate && Math.abs(estimate.authorityMs - 3_601_200) <= estimate.errorMs);
});

test("nothing is estimated before a sample, after a reset, or from an impossible exchange", () => {
  const estimator = new OffsetEstimator();
  assert.equal(estimator.estimate(0), undefined);
  estimator.sample(10, 20, 20, 5);
  estimator.sample(0, Number.NaN, 20, 5);
  estimator.sample(0, 20, 200, 5);
  estimator.sample(0, Number.POSITIVE_INFINITY, 20, 5);
  assert.equal(estimator.estimate(0), undefined);
  estimator.sample(0, 20, 20, 5);
  assert.ok(estimator.estimate(5));
  estimator.reset();
  assert.equal(estimator.estimate(5), undefined);
});
