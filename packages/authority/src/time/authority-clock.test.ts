// The authority's time, whatever the machine's clocks do.
import assert from "node:assert/strict";
import { test } from "node:test";
import { TestClock } from "@brevet/testing";
import * as fc from "fast-check";
import { AuthorityClock, spanOf, startProblem } from "./authority-clock.ts";

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;

type Move = { readonly kind: "pass" | "step" | "drift"; readonly ms: number };

const moves = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant<"pass">("pass"), ms: fc.double({ min: 0, max: 2 * HOUR, noNaN: true }) }),
    fc.record({ kind: fc.constant<"step">("step"), ms: fc.double({ min: -30 * DAY, max: 30 * DAY, noNaN: true }) }),
    // Time passes, and the wall clock runs at up to three times the speed, or backwards.
    fc.record({ kind: fc.constant<"drift">("drift"), ms: fc.double({ min: -HOUR, max: HOUR, noNaN: true }) }),
  ),
  { maxLength: 40 },
);

function play(machine: TestClock, { kind, ms }: Move): void {
  if (kind === "pass") machine.advance(ms);
  if (kind === "step") machine.step(ms);
  if (kind !== "drift") return;
  for (let i = 0; i < 10; i += 1) {
    machine.step(ms / 5);
    machine.advance(Math.abs(ms) / 10);
  }
}

test("it never goes back, never falls behind the monotonic clock, and is never ahead of it by more than guards allow for", () => {
  fc.assert(
    fc.property(moves, fc.boolean(), (given, readOften) => {
      const machine = new TestClock();
      const clock = new AuthorityClock({ machine });
      const startMs = clock.wallMs();
      let beforeMs = startMs;
      for (const [place, move] of given.entries()) {
        play(machine, move);
        if (!readOften && place < given.length - 1) continue;
        const nowMs = clock.wallMs();
        assert.ok(nowMs >= beforeMs, `${nowMs} after ${beforeMs}`);
        assert.ok(Number.isInteger(nowMs));
        beforeMs = nowMs;
        const passedMs = machine.monotonicMs();
        assert.ok(nowMs - startMs > passedMs - 1.01, `${nowMs - startMs} of ${passedMs}`);
        assert.ok(nowMs - startMs <= passedMs * 1.00005 + 0.01, `${nowMs - startMs} of ${passedMs}`);
      }
    }),
    { numRuns: 500 },
  );
});

test("it follows a wall clock that runs a little fast, and meets it", () => {
  const machine = new TestClock();
  const clock = new AuthorityClock({ machine });
  for (let hour = 0; hour < 24; hour += 1) {
    machine.advance(HOUR);
    machine.step(100); // 28 ppm
    clock.wallMs();
  }
  assert.ok(Math.abs(clock.wallMs() - machine.wallMs()) <= 1);
});

test("time that the machine slept has passed, however seldom it is asked", () => {
  const machine = new TestClock();
  let sleptMs = 0;
  const clock = new AuthorityClock({ machine, bootMs: () => Math.floor((machine.monotonicMs() + sleptMs + 77_700) / 10) * 10 });
  const startMs = clock.wallMs();
  machine.advance(10 * SECOND);
  sleptMs += 2 * HOUR;
  machine.step(2 * HOUR);
  machine.advance(SECOND);
  assert.ok(Math.abs(clock.wallMs() - startMs - 11 * SECOND - 2 * HOUR) <= 10);
  machine.advance(10 * SECOND);
  assert.ok(Math.abs(clock.wallMs() - startMs - 21 * SECOND - 2 * HOUR) <= 10, "once");
});

test("a timer counts what the machine slept, and is never early", () => {
  const machine = new TestClock();
  let sleptMs = 0;
  const clock = new AuthorityClock({ machine, bootMs: () => machine.monotonicMs() + sleptMs });
  const fired: string[] = [];
  clock.after(HOUR, () => fired.push("hour"), { hold: true });
  clock.after(90 * SECOND, () => fired.push("cancelled")).cancel();
  const cancelledLater = clock.after(100 * SECOND, () => fired.push("cancelled later"));
  clock.after(DAY, () => fired.push("day"));
  machine.advance(70 * SECOND);
  cancelledLater.cancel();
  machine.advance(HOUR - 70 * SECOND - 1);
  assert.deepEqual(fired, []);
  machine.advance(1.001);
  assert.deepEqual(fired, ["hour"]);
  sleptMs = DAY;
  machine.advance(60 * SECOND);
  assert.deepEqual(fired, ["hour", "day"]);
  assert.equal(machine.pending, 0);
});

test("it is never before what it was told, and goes on from there", () => {
  const machine = new TestClock();
  const clock = new AuthorityClock({ machine, bootMs: () => machine.monotonicMs() });
  machine.advance(7 * SECOND);
  const laterMs = machine.wallMs() + HOUR;
  clock.notBefore(laterMs);
  clock.notBefore(laterMs - DAY);
  machine.advance(5 * SECOND);
  assert.equal(clock.wallMs(), laterMs + 5 * SECOND);
});

test("a wall clock that parted from it is told of once, and again when that changes", () => {
  const machine = new TestClock();
  const told: number[] = [];
  const clock = new AuthorityClock({ machine, onParted: (aheadMs) => told.push(Math.round(aheadMs / SECOND)) });
  const run = () => {
    for (let i = 0; i < 5; i += 1) {
      machine.advance(SECOND);
      clock.wallMs();
    }
  };
  run();
  machine.step(29 * SECOND);
  run();
  assert.deepEqual(told, []);
  machine.step(2 * HOUR);
  run();
  machine.step(-2 * HOUR);
  run();
  machine.step(-HOUR);
  run();
  machine.step(-HOUR);
  run();
  assert.deepEqual(told, [2 * 3600 + 29, 29 - 3600, 29 - 7200]);
});

test("a start far from the last entry is to be confirmed, with both times and the fix", () => {
  const lastMs = Date.UTC(2026, 0, 5, 12);
  for (const near of [-5 * 60 * SECOND, 0, SECOND, 30 * DAY]) assert.equal(startProblem(lastMs, lastMs + near), undefined);
  const before = startProblem(lastMs, lastMs - HOUR) ?? "";
  const after = startProblem(lastMs, lastMs + 31 * DAY) ?? "";
  assert.match(before, /2026-01-05T11:00:00\.000Z, which is 1 h before .*2026-01-05T12:00:00\.000Z.*correct.*--accept-clock/);
  assert.match(after, /2026-02-05T12:00:00\.000Z, which is 31 d after .*2026-01-05T12:00:00\.000Z.*correct.*--accept-clock/);
  assert.notEqual(startProblem(lastMs, lastMs - 5 * 60 * SECOND - 1), undefined);
  assert.notEqual(startProblem(lastMs, lastMs + 30 * DAY + 1), undefined);
});

test("a span is read in its two largest units", () => {
  assert.deepEqual([0, 999, 61_000, HOUR, HOUR + 59_000, 2 * DAY + HOUR].map(spanOf), ["0 s", "0 s", "1 min 1 s", "1 h", "1 h", "2 d 1 h"]);
});
