// A later end: what an approver cut stays cut without another vote, the hours hold for the grant too, and a denial is not worn down.
import assert from "node:assert/strict";
import { test } from "node:test";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { METHOD, MINUTE, minutes, opened, PAYOUT, POLICY, reasonOf, START, World } from "./testdata/world.ts";

const CLOSES = START + 9 * 60 * MINUTE;
const RULE = "    startWithin: 15m\n    extend: { max: 10m, approval: never }\n    schedule:";

/** Olga's entitlement, extended as `approval` says; the hours hold still. */
function office(approval: "same" | "none"): World {
  const policy = POLICY.replace(RULE, `    startWithin: 15m\n    extend: { max: 60m, approval: ${approval} }\n    schedule:`);
  assert.notEqual(policy, POLICY);
  return new World(policy);
}

/** ACTIVE, approved by ana, perhaps for less. */
function active(world: World, forMinutes?: number): string {
  const id = opened(world.request("user:olga@test", { method: PAYOUT }));
  opened(world.run("approve", "user:ana@test", id, forMinutes === undefined ? {} : { duration: minutes(forMinutes) }));
  opened(world.run("start", "user:olga@test", id));
  return id;
}

const lengthOf = (world: World, id: string) => {
  const { windowStart, windowEnd } = world.state(id);
  return windowStart && windowEnd && (timestampMs(windowEnd) - timestampMs(windowStart)) / MINUTE;
};

test("what an approver shortened is not lengthened without a vote", () => {
  const world = office("none");
  const id = active(world, 2);
  const alone = world.run("extend", "user:olga@test", id, { by: minutes(1) });
  assert.equal(reasonOf(alone), "DURATION_TOO_LONG");
  assert.ok(!alone.ok);
  assert.match(alone.denial.message, /an approver shortened it to 2m.*new elevation/);
  assert.equal(alone.denial.metadata["maxSeconds"], "0");
  assert.equal(lengthOf(world, id), 2);
  const whole = office("none");
  const other = active(whole);
  opened(whole.run("extend", "user:olga@test", other, { by: minutes(50) }));
  assert.equal(lengthOf(whole, other), 60, "nobody shortened it");
});

test("what an approver shortened is lengthened where the stages vote for it", () => {
  const world = office("same");
  const id = active(world, 2);
  opened(world.run("extend", "user:olga@test", id, { by: minutes(8) }));
  assert.equal(lengthOf(world, id), 2);
  opened(world.run("approve", "user:ana@test", id));
  assert.equal(lengthOf(world, id), 10);
});

test("the automatic rule lengthens nothing that an approver shortened: the stages are asked", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { method: METHOD, entitlement: "refund" }));
  opened(world.run("approve", "user:ana@test", id, { duration: minutes(4) }));
  opened(world.run("approve", "user:bo@test", id));
  opened(world.run("start", "user:rita@test", id));
  world.apply(POLICY.replace('automatic: principal.kind == "ci"', 'automatic: principal.kind != ""'));
  opened(world.run("extend", "user:rita@test", id, { by: minutes(5) }));
  assert.equal(lengthOf(world, id), 4);
  assert.ok(world.state(id).extensionEnd, "it waits for votes");
});

test("an extension asked for inside the hours is not granted outside them", () => {
  const world = office("same");
  world.nowMs = CLOSES - 2 * MINUTE;
  const id = active(world);
  opened(world.run("extend", "user:olga@test", id, { by: minutes(50) }));
  world.pass(5 * MINUTE);
  const late = world.run("approve", "user:ana@test", id);
  assert.equal(reasonOf(late), "OUTSIDE_SCHEDULE");
  assert.equal(lengthOf(world, id), 10);
  opened(world.run("deny", "user:ana@test", id));
});

test("a denied extension is not asked for again before the cool-down is over", () => {
  const world = new World(
    POLICY.replace("extend: { max: 40m, approval: same }\n    cooldown: 5m", "extend: { max: 40m, approval: same }\n    cooldown: 3m"),
  );
  const id = opened(world.request("user:rita@test", { method: METHOD, entitlement: "refund" }));
  for (const voter of ["user:ana@test", "user:bo@test"]) opened(world.run("approve", voter, id));
  opened(world.run("start", "user:rita@test", id));
  opened(world.run("extend", "user:rita@test", id, { by: minutes(5) }));
  opened(world.run("deny", "user:ana@test", id));
  world.pass(3 * MINUTE - 1);
  const soon = world.run("extend", "user:rita@test", id, { by: minutes(4) });
  assert.equal(reasonOf(soon), "ELEVATION_DENIED");
  assert.ok(!soon.ok);
  assert.match(soon.denial.message, /denied by user:ana@test at 2026-01-05T09:00:00Z.*again at 2026-01-05T09:03:00Z/);
  assert.deepEqual([soon.denial.retryDelayMs, soon.denial.metadata["coolDownUntil"]], [1, "2026-01-05T09:03:00Z"]);
  world.pass(1);
  opened(world.run("extend", "user:rita@test", id, { by: minutes(4) }));
  opened(world.run("withdraw", "user:rita@test", id));
  opened(world.run("extend", "user:rita@test", id, { by: minutes(4) }));
});
