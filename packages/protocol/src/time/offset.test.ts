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

test("a clock that runs wrong, by up to a fifth, is wrong only until it shows: from then on the error covers what it does", () => {
  fc.assert(
    fc.property(
      fc.double({ min: -0.2, max: 0.2, noNaN: true }),
      fc.array(
        fc.record({ pauseMs: fc.double({ min: 400, max: 10_000, noNaN: true }), there: fc.double({ min: 0, max: 2, noNaN: true }) }),
        {
          minLength: 4,
          maxLength: 40,
        },
      ),
      (wrong, exchanges) => {
        fc.pre(Math.abs(wrong) > 0.02);
        const authorityAt = (localMs: number) => 1e12 + localMs * (1 + wrong);
        const estimator = new OffsetEstimator();
        let localMs = 1000;
        exchanges.forEach(({ pauseMs, there }, i) => {
          const t1 = localMs + pauseMs;
          // At the latest just before the next sample.
          if (i > 2) {
            const estimate = estimator.estimate(t1);
            assert.ok(estimate && Math.abs(estimate.authorityMs - authorityAt(t1)) <= estimate.errorMs + ROUNDING_MS);
          }
          estimator.sample(t1, Math.floor(authorityAt(t1 + there)), Math.floor(authorityAt(t1 + there)), t1 + 2 * there);
          localMs = t1 + 2 * there;
        });
        assert.ok(estimator.unsure);
      },
    ),
    { numRuns: 500 },
  );
});

test("after one step the clock is trusted as before within seconds, and the error covers it all the while", () => {
  const stepMs = fc.oneof(fc.double({ min: 600, max: 1e8, noNaN: true }), fc.double({ min: -1e8, max: -600, noNaN: true }));
  fc.assert(
    fc.property(stepMs, fc.double({ min: 0, max: 10_000, noNaN: true }), (step, agoMs) => {
      const estimator = new OffsetEstimator();
      const exchange = (offsetMs: number, atMs: number) => estimator.sample(atMs, atMs + 1 + offsetMs, atMs + 1 + offsetMs, atMs + 2);
      exchange(1e12, 1000);
      exchange(1e12, 11_000);
      const start = 21_000 + agoMs;
      for (let atMs = start; atMs <= start + 60_000; atMs += 500) {
        exchange(1e12 + step, atMs);
        const estimate = estimator.estimate(atMs + 500);
        assert.ok(estimate && Math.abs(estimate.authorityMs - (atMs + 500 + 1e12 + step)) <= estimate.errorMs + ROUNDING_MS);
        if (atMs > start + 1000) assert.ok(estimate.errorMs < 10, `${estimate.errorMs}`);
      }
      assert.equal(estimator.unsure, false);
    }),
    { numRuns: 200 },
  );
});

test("a suspend while a step still raises doubts ends in trust as well, and the error covers it all the while", () => {
  const jump = fc.double({ min: -1e8, max: 1e8, noNaN: true });
  const samples = fc.integer({ min: 0, max: 5 });
  fc.assert(
    fc.property(jump, jump, samples, samples, fc.boolean(), (step, slept, before, between, seeded) => {
      const estimator = new OffsetEstimator();
      let [atMs, offsetMs] = [1000, 1e12];
      const exchange = () => {
        estimator.sample(atMs, Math.floor(atMs + 1 + offsetMs), Math.floor(atMs + 1 + offsetMs), atMs + 2);
        atMs += 1000;
      };
      const holds = () => {
        const estimate = estimator.estimate(atMs);
        assert.ok(estimate && Math.abs(estimate.authorityMs - (atMs + offsetMs)) <= estimate.errorMs + ROUNDING_MS);
      };
      for (let i = 0; i <= before; i += 1) exchange();
      offsetMs += step;
      for (let i = 0; i < between; i += 1) exchange();
      estimator.reset();
      offsetMs += slept;
      if (seeded) estimator.seed({ authorityMs: atMs + offsetMs, errorMs: 5 }, atMs);
      for (let i = 0; i < 70; i += 1) {
        exchange();
        holds();
      }
      assert.equal(estimator.unsure, false);
    }),
    { numRuns: 300 },
  );
});

test("one sample after a suspend takes no doubt away", () => {
  const estimator = new OffsetEstimator({ resolutionMs: 0 });
  estimator.sample(0, 1000, 1000, 0);
  estimator.sample(1000, 4000, 4000, 1000);
  estimator.reset();
  estimator.sample(2000, 6000, 6000, 2000);
  assert.equal(estimator.estimate(3000)?.errorMs, 1000);
});

test("an estimate from elsewhere counts as a sample, and loosens with its age", () => {
  const estimator = new OffsetEstimator({ resolutionMs: 0 });
  estimator.seed({ authorityMs: 5000, errorMs: 40 }, 1000);
  assert.deepEqual(estimator.estimate(1000), { authorityMs: 5000, errorMs: 40 });
  assert.deepEqual(estimator.estimate(11_000), { authorityMs: 15_000, errorMs: 41 });
  estimator.seed({ authorityMs: 5000, errorMs: Infinity }, 1000);
  estimator.sample(20_000, 24_005, 24_005, 20_010);
  assert.equal(estimator.estimate(20_010)?.errorMs, 5 + 0.001);
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
