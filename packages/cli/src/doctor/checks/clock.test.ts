import assert from "node:assert/strict";
import { test } from "node:test";
import { majority, type NamedClock, SAME_MS } from "./clock.ts";

const clocks = (...aheadMs: number[]): NamedClock[] => aheadMs.map((ahead, i) => ({ name: `clock ${i}`, aheadMs: ahead, errorMs: 0 }));
const offs = (...aheadMs: number[]) => majority(clocks(...aheadMs))?.off.map(({ name }) => name);

test("the clock that differs from the others is the one that is off, whichever it is", () => {
  for (const off of [45_000, -45_000, 7_200_000]) {
    assert.deepEqual(offs(0, 0, off), ["clock 2"]);
    assert.deepEqual(offs(0, off, 0), ["clock 1"]);
    // This machine's own: all others are as far from it.
    assert.deepEqual(offs(0, -off, -off), ["clock 0"]);
  }
});

test("with two clocks, or as many on either side, nobody can tell", () => {
  assert.equal(offs(0, 45_000), undefined);
  assert.equal(offs(0, 0, 45_000, 45_000), undefined);
  assert.equal(offs(0, 45_000, -45_000), undefined);
});

test("clocks that agree are left alone, and so is a difference that the way explains", () => {
  assert.deepEqual(offs(0, 20, -300), []);
  assert.deepEqual(offs(0, SAME_MS), []);
  const slow: NamedClock[] = [...clocks(0, 0), { name: "far", aheadMs: 6000, errorMs: 1500 }];
  assert.deepEqual(majority(slow)?.off, []);
});
