import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { type ClockMark, carriedOver } from "./mark.ts";

const mark: ClockMark = { boot: "a", bootMs: 1_000_000, wallMs: 5_000_000, authorityMs: 9_000_000, errorMs: 5 };
const HOUR = 3_600_000;

const at = (elapsedMs: number, wallMs = elapsedMs, boot = "a", bootMs = mark.bootMs + elapsedMs) =>
  carriedOver(mark, { boot, bootMs, wallMs: mark.wallMs + wallMs });

test("in the same run of the machine the time goes on to within 30 ms, for a restart of a minute", () => {
  const { estimate, problem } = at(60_000);
  assert.equal(problem, undefined);
  assert.equal(estimate.authorityMs, mark.authorityMs + 60_000);
  assert.ok(estimate.errorMs < 35, `${estimate.errorMs}`);
});

test("a wall clock that was set ahead only widens the error: an end is judged by the later, a start by the earlier clock", () => {
  const { estimate } = at(60_000, 60_000 + HOUR);
  assert.ok(estimate.authorityMs - estimate.errorMs <= mark.authorityMs + 60_000);
  assert.ok(estimate.authorityMs + estimate.errorMs >= mark.authorityMs + 60_000 + HOUR);
});

test("a wall clock that went back counts for nothing beside the boot-time clock", () => {
  assert.equal(at(60_000, -HOUR).estimate.authorityMs, mark.authorityMs + 60_000);
  assert.ok(at(60_000, -HOUR).estimate.errorMs < 35);
});

test("after a start of the machine there is the wall clock only, and the guard counts as stale", () => {
  const { estimate, problem } = at(HOUR, HOUR, "b", 30_000);
  assert.equal(problem, undefined);
  assert.equal(estimate.authorityMs, mark.authorityMs + HOUR);
  assert.ok(estimate.errorMs > 2000 && estimate.errorMs < 5000);
});

test("a wall clock before the last time known, or that shows less than the machine has been up, tells nothing", () => {
  for (const [name, wallMs, bootMs, says] of [
    ["set back", -1, 30_000, /1 s before/],
    ["back at 1970", -mark.wallMs, 30_000, /5000 s before/],
    ["reset by its battery", 1000, HOUR, /less time/],
  ] as const) {
    const { estimate, problem } = at(0, wallMs, "b", bootMs);
    assert.equal(estimate.errorMs, Infinity, name);
    assert.match(problem ?? "", says, name);
    assert.ok(estimate.authorityMs >= mark.authorityMs);
  }
});

test("a boot-time clock that began anew under the same name, as in a container, is another run", () => {
  assert.ok(at(HOUR, HOUR, "a", 10_000).estimate.errorMs > 2000);
  assert.equal(at(HOUR, 1000, "a", 900_000).estimate.errorMs, Infinity);
});

test("without a name of the machine's run the wall clock stands alone", () => {
  assert.ok(
    carriedOver({ ...mark, boot: "" }, { boot: "", bootMs: mark.bootMs + 1000, wallMs: mark.wallMs + 1000 }).estimate.errorMs > 2000,
  );
});

test("whichever one clock is wrong, ahead or behind, the true time lies within the error or is not known, as long as the boot-time clock is true", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 48 * HOUR }), fc.integer({ min: -48 * HOUR, max: 48 * HOUR }), (elapsedMs, stepMs) => {
      const { estimate } = at(elapsedMs, elapsedMs + stepMs);
      assert.ok(Math.abs(estimate.authorityMs - (mark.authorityMs + elapsedMs)) <= estimate.errorMs);
    }),
  );
});
