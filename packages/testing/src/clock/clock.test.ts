// The test clock fires what is due, in order, each at its own time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "@brevet/protocol";
import { TestClock } from "./clock.ts";

test("timers fire in the order of their times, also those that timers start", () => {
  const clock = new TestClock(0);
  const fired: [string, number][] = [];
  const note = (name: string) => () => fired.push([name, clock.monotonicMs()]);
  clock.after(20, note("b"));
  clock.after(10, () => {
    note("a")();
    clock.after(5, note("a2"));
  });
  clock.after(20, note("c"));
  clock.after(10, note("never")).cancel();
  clock.after(100, note("later"));
  clock.advance(50);
  assert.deepEqual(fired, [
    ["a", 10],
    ["a2", 15],
    ["b", 20],
    ["c", 20],
  ]);
  assert.deepEqual([clock.wallMs(), clock.pending], [50, 1]);
});

test("a step of the wall clock wakes nobody", async () => {
  const clock = new TestClock(0);
  let woken = false;
  const sleeping = sleep(clock, 1000).then(() => (woken = true));
  clock.step(3_600_000);
  await Promise.resolve();
  assert.deepEqual([woken, clock.monotonicMs(), clock.wallMs()], [false, 0, 3_600_000]);
  await clock.advanceSlowly(1000);
  await sleeping;
  assert.ok(woken);
});

test("a machine that sleeps: the wall and the boot-time clock go on, the monotonic one and timers do not", () => {
  const clock = new TestClock(1000);
  const bootMs = clock.bootMs();
  let fired = 0;
  clock.after(10, () => (fired += 1));
  clock.suspend(3_600_000);
  assert.deepEqual([clock.wallMs(), clock.monotonicMs(), clock.bootMs() - bootMs, fired], [3_601_000, 0, 3_600_000, 0]);
  clock.advance(10);
  assert.deepEqual([clock.monotonicMs(), clock.bootMs() - bootMs, fired], [10, 3_600_010, 1]);
});
