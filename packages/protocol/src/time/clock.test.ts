import assert from "node:assert/strict";
import { test } from "node:test";
import { type Clock, sleep, systemClock } from "./clock.ts";

/** Timers fire when told to. */
function heldClock() {
  const timers = new Set<() => void>();
  const clock: Clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after(_delayMs, callback) {
      timers.add(callback);
      return { cancel: () => void timers.delete(callback) };
    },
  };
  return { clock, timers };
}

test("a sleep ends when its timer fires, and lets go of the signal", async () => {
  const { clock, timers } = heldClock();
  const controller = new AbortController();
  const slept = sleep(clock, 10, controller.signal);
  for (const fire of timers) fire();
  await slept;
  controller.abort(new Error("too late to matter"));
});

test("an aborted sleep rejects with the reason and leaves no timer", async () => {
  const { clock, timers } = heldClock();
  const controller = new AbortController();
  const slept = sleep(clock, 10, controller.signal);
  controller.abort(new Error("enough"));
  await assert.rejects(slept, /enough/);
  assert.equal(timers.size, 0);
});

test("a sleep that begins aborted starts no timer", async () => {
  const { clock, timers } = heldClock();
  await assert.rejects(sleep(clock, 10, AbortSignal.abort(new Error("before"))), /before/);
  assert.equal(timers.size, 0);
});

test("a delay longer than a timer can take does not fire at once", async () => {
  let fired = false;
  const timer = systemClock.after(2 ** 40, () => {
    fired = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 5));
  timer.cancel();
  assert.equal(fired, false);
});

test("the monotonic clock does not go backwards", () => {
  let last = systemClock.monotonicMs();
  for (let i = 0; i < 1000; i += 1) {
    const now = systemClock.monotonicMs();
    assert.ok(now >= last);
    last = now;
  }
});
