// The hours of an entitlement: outside them nothing is asked for and nothing starts; what started inside runs to its end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Outcome } from "./decide.ts";
import { MINUTE, minutes, opened, PAYOUT, POLICY, START, World } from "./testdata/world.ts";

const HOUR = 60 * MINUTE;
/** Monday, 18:00 UTC; the world begins at 9. */
const CLOSES = START + 9 * HOUR;
const OPENS = "2026-01-06T08:00:00Z";
const ASK = { method: PAYOUT } as const;

function denied(outcome: Outcome): { reason: string; message: string; opensAt: string | undefined } {
  assert.ok(!outcome.ok);
  const { reason, message, metadata } = outcome.denial;
  return { reason, message, opensAt: metadata["opensAt"] };
}

function at(ms: number, text = POLICY): World {
  const world = new World(text);
  world.nowMs = ms;
  return world;
}

test("asking outside the hours is refused with the next opening, to the millisecond", () => {
  opened(at(CLOSES - 1).request("user:olga@test", ASK));
  const { reason, message, opensAt } = denied(at(CLOSES).request("user:olga@test", ASK));
  assert.deepEqual([reason, opensAt], ["OUTSIDE_SCHEDULE", OPENS]);
  assert.match(message, new RegExp(OPENS));
});

test("a first use outside the hours starts nothing: the requester is told of the hours, a guard that it has not started", () => {
  const world = at(CLOSES - 5 * MINUTE);
  const id = opened(world.request("user:olga@test", ASK));
  opened(world.run("approve", "user:ana@test", id));
  world.pass(5 * MINUTE);
  assert.deepEqual(denied(world.run("start", "user:olga@test", id)).opensAt, OPENS);
  const guard = denied(world.run("start", "workload:guard", id));
  assert.equal(guard.reason, "ELEVATION_SCHEDULED");
  assert.match(guard.message, new RegExp(`outside its schedule .*${OPENS}`));
  assert.equal(world.state(id).state, ElevationState.SCHEDULED);
});

test("a window that started inside the hours runs to its end beyond them, and is not extended there", () => {
  const extending = POLICY.replace(
    'requesters: ["user:olga@test"]\n    duration: { default: 10m, max: 10m }\n    pending: 30m\n    startWithin: 15m\n    extend: { max: 10m, approval: never }',
    'requesters: ["user:olga@test"]\n    duration: { default: 10m, max: 10m }\n    pending: 30m\n    startWithin: 15m\n    extend: { max: 60m, approval: none }',
  );
  const world = at(CLOSES - 2 * MINUTE, extending);
  const id = opened(world.request("user:olga@test", ASK));
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("start", "workload:guard", id));
  opened(world.run("extend", "user:olga@test", id, { by: minutes(10) }));
  world.pass(2 * MINUTE);
  assert.deepEqual(denied(world.run("extend", "user:olga@test", id, { by: minutes(10) })).reason, "OUTSIDE_SCHEDULE");
  world.pass(18 * MINUTE - 1);
  assert.equal(world.state(id).state, ElevationState.ACTIVE);
  world.pass(1);
  assert.equal(timestampMs(world.state(id).endTime ?? assert.fail()), CLOSES + 18 * MINUTE);
});

test("an approval that could not lead to a start is refused, so that nobody believes that it helped", () => {
  const world = at(CLOSES - MINUTE);
  const id = opened(world.request("user:olga@test", ASK));
  world.pass(2 * MINUTE);
  const { reason, message, opensAt } = denied(world.run("approve", "user:ana@test", id));
  assert.deepEqual([reason, opensAt], ["OUTSIDE_SCHEDULE", OPENS]);
  assert.match(message, /lapse before that/);
  assert.equal(world.state(id).votes.length, 0);
  opened(world.run("deny", "user:ana@test", id));
});

test("approved shortly before the hours begin, it starts with the first use inside them, not for the caller who waits", () => {
  const overnight = POLICY.replace(
    "pending: 30m\n    startWithin: 15m\n    extend: { max: 10m, approval: never }\n    schedule",
    "pending: 20h\n    startWithin: 15m\n    extend: { max: 10m, approval: never }\n    schedule",
  );
  const world = at(CLOSES - MINUTE, overnight);
  const id = opened(world.request("user:olga@test", { ...ASK, waiting: true }));
  world.waiting.add(id);
  world.pass(14 * HOUR - 9 * MINUTE);
  opened(world.run("approve", "user:ana@test", id));
  assert.equal(world.state(id).state, ElevationState.SCHEDULED);
  world.pass(10 * MINUTE);
  opened(world.run("start", "workload:guard", id));
});

test("a time that was asked for is judged by the hours, when asked for, when approved late and when it comes", () => {
  const inside = { ...ASK, startTime: timestampFromMs(CLOSES - 10 * MINUTE) };
  const asked = denied(at(START).request("user:olga@test", { ...ASK, startTime: timestampFromMs(CLOSES) }));
  assert.deepEqual([asked.reason, asked.opensAt], ["OUTSIDE_SCHEDULE", OPENS]);
  const late = at(CLOSES - 20 * MINUTE);
  const id = opened(late.request("user:olga@test", inside));
  late.pass(20 * MINUTE);
  assert.equal(denied(late.run("approve", "user:ana@test", id)).reason, "OUTSIDE_SCHEDULE");
  const moved = at(CLOSES - 20 * MINUTE);
  const other = opened(moved.request("user:olga@test", inside));
  opened(moved.run("approve", "user:ana@test", other));
  moved.apply(POLICY.replace('to: "18:00"', 'to: "17:00"'));
  moved.pass(15 * MINUTE);
  assert.equal(moved.state(other).state, ElevationState.LAPSED);
  assert.equal(timestampMs(moved.state(other).endTime ?? assert.fail()), CLOSES - 10 * MINUTE);
});
