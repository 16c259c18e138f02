import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { TestClock } from "@brevet/testing";
import { AuthorityTime } from "./time.ts";

const OFFSET = 1e12;

/** A guard's time, its machine, and an authority with a true clock. */
function world() {
  const clock = new TestClock();
  const startMs = clock.wallMs();
  const doubts: number[] = [];
  let settled = 0;
  const time = new AuthorityTime({ clock, onDoubt: (ms) => void doubts.push(ms), onSettled: () => (settled += 1) });
  /** The true time: the machine's wall clock is never stepped here. */
  const trueMs = () => clock.wallMs() - startMs + OFFSET;
  const sample = () => time.sample(clock.monotonicMs(), trueMs(), trueMs(), clock.monotonicMs() + 2);
  return { clock, time, doubts, settles: () => settled, trueMs, sample };
}

test("the first look after a sleep notices it, before any timer fired", async () => {
  const { clock, time, doubts, trueMs, sample, settles } = world();
  sample();
  clock.advance(1000);
  assert.equal(time.now()?.errorMs.toFixed(0), "2");
  assert.equal(time.settling(), undefined);
  clock.suspend(3_600_000);
  const now = time.now();
  assert.deepEqual(doubts, [3_600_000]);
  assert.ok(now && now.errorMs > 1000 && Math.abs(now.authorityMs - trueMs()) < 100, "the boot-time clock tells meanwhile");
  const settling = time.settling();
  assert.ok(settling);
  let over = false;
  void settling.then(() => (over = true));
  clock.advance(10);
  await turn();
  assert.equal(over, false);
  sample();
  await settling;
  assert.equal(settles(), 1);
  assert.equal(time.settling(), undefined);
  const after = time.now();
  assert.ok(after && after.errorMs < 10 && Math.abs(after.authorityMs - trueMs()) <= after.errorMs);
});

test("a fresh sample is waited for two seconds; from then on the time counts as stale until one comes", async () => {
  const { clock, time, settles, sample, trueMs } = world();
  sample();
  clock.suspend(10_000);
  time.now();
  const settling = time.settling();
  clock.advance(2000);
  await settling;
  assert.equal(time.settling(), undefined);
  const now = time.now();
  assert.ok(now && now.errorMs > 1000 && Math.abs(now.authorityMs - trueMs()) <= now.errorMs);
  assert.ok(time.wanted);
  sample();
  assert.ok((time.now()?.errorMs ?? 99) < 10);
  assert.equal(settles(), 2);
});

test("a sample that was asked for before the sleep says nothing", () => {
  const { clock, time, trueMs, sample } = world();
  sample();
  clock.advance(1000);
  const sentMs = clock.monotonicMs();
  const receivedMs = trueMs();
  clock.advance(1);
  clock.suspend(60_000);
  time.sample(sentMs, receivedMs, receivedMs, clock.monotonicMs());
  const now = time.now();
  assert.ok(now && now.errorMs > 1000 && Math.abs(now.authorityMs - trueMs()) < 100);
});

test("a step of the wall clock is no sleep, in either direction, and half a second of sleep is none yet", () => {
  const { clock, time, doubts, sample } = world();
  sample();
  for (const ms of [3_600_000, -7_200_000, 40]) {
    clock.step(ms);
    clock.advance(100);
    assert.ok((time.now()?.errorMs ?? 99) < 10);
  }
  clock.suspend(400);
  time.now();
  assert.deepEqual(doubts, []);
  clock.suspend(400);
  time.now();
  assert.deepEqual(doubts, [800], "short ones add up");
});

test("a monotonic clock that steps by hours, ahead or back, is noticed, and the time stays within its error", () => {
  for (const ms of [3_600_000, -3_600_000]) {
    const { clock, time, doubts, trueMs, sample } = world();
    clock.advance(4_000_000);
    sample();
    clock.stepMonotonic(ms);
    const now = time.now();
    assert.deepEqual(doubts, [-ms]);
    assert.ok(now && now.errorMs > 1000 && Math.abs(now.authorityMs - trueMs()) <= now.errorMs);
    sample();
    assert.ok((time.now()?.errorMs ?? 99) < 10 && Math.abs((time.now()?.authorityMs ?? 0) - trueMs()) < 10);
  }
});

test("most looks cost no reading of the boot-time clock", () => {
  const clock = new TestClock();
  let readings = 0;
  const boot = clock.bootMs.bind(clock);
  clock.bootMs = () => {
    readings += 1;
    return boot();
  };
  const time = new AuthorityTime({ clock, onDoubt: () => {}, onSettled: () => {} });
  for (let i = 0; i < 1000; i += 1) {
    clock.advance(0.1);
    time.now();
  }
  assert.ok(readings <= 4, `${readings}`);
});

test("a mark carries the time over a restart, and a machine whose clock went back has none", () => {
  const { clock, time, trueMs, sample } = world();
  assert.equal(time.mark(), undefined);
  sample();
  const mark = time.mark();
  assert.ok(mark);
  clock.advance(30_000);
  const next = new AuthorityTime({ clock, onDoubt: () => {}, onSettled: () => {} });
  assert.equal(next.restore(mark), undefined);
  const now = next.now();
  assert.ok(now && now.errorMs < 40 && Math.abs(now.authorityMs - trueMs()) <= now.errorMs);
  const other = new TestClock(mark.wallMs - 1, "boot-2");
  const lost = new AuthorityTime({ clock: other, onDoubt: () => {}, onSettled: () => {} });
  assert.match(lost.restore(mark) ?? "", /before the time/);
  assert.equal(lost.now()?.errorMs, Infinity);
  assert.equal(lost.mark(), undefined);
  lost.sample(other.monotonicMs(), OFFSET, OFFSET, other.monotonicMs() + 1);
  assert.ok((lost.now()?.errorMs ?? 99) < 10);
});
