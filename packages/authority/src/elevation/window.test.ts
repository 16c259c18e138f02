// The window and the other two clocks, kept apart: the promises that other systems broke.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { LapseCause, StartCause } from "@brevet/protocol/brevet/v1/log";
import { durationMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { METHOD, MINUTE, minutes, opened, PAYOUT, POLICY, START, World } from "./testdata/world.ts";

const REFUND = { method: METHOD, entitlement: "refund" } as const;

function approve(world: World, id: string): void {
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("approve", "user:bo@test", id));
}

const windowOf = (world: World, id: string) => {
  const { windowStart, windowEnd } = world.state(id);
  return [windowStart && (timestampMs(windowStart) - START) / MINUTE, windowEnd && (timestampMs(windowEnd) - START) / MINUTE];
};

function startCause(world: World, id: string): StartCause | undefined {
  const event = world.entries.findLast((entry) => entry.elevation === id && entry.event.case === "elevationStarted")?.event;
  return event?.case === "elevationStarted" ? event.value.cause : undefined;
}

test("waiting for the approval does not eat the window", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  world.waiting.add(id);
  world.pass(29 * MINUTE);
  approve(world, id);
  assert.deepEqual(windowOf(world, id), [29, 39]);
  assert.equal(startCause(world, id), StartCause.CALLER_WAITING);
});

test("with nobody waiting, the first use starts the window", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  approve(world, id);
  assert.equal(world.state(id).state, ElevationState.SCHEDULED);
  world.pass(14 * MINUTE);
  opened(world.run("start", "workload:guard", id));
  assert.deepEqual(windowOf(world, id), [14, 24]);
  assert.equal(startCause(world, id), StartCause.USE);
});

test("re-use never restarts a window", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  approve(world, id);
  opened(world.run("start", "user:rita@test", id));
  world.pass(9 * MINUTE);
  const entries = world.entries.length;
  opened(world.run("start", "workload:guard", id));
  assert.equal(world.entries.length, entries, "nothing is written");
  assert.deepEqual(windowOf(world, id), [0, 10]);
});

test("a time that was asked for starts the window to the millisecond, however late it is written", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { ...REFUND, startTime: timestampFromMs(START + 60 * MINUTE + 1) }));
  approve(world, id);
  world.nowMs = START + 65 * MINUTE;
  world.pass(0);
  assert.equal(startCause(world, id), StartCause.TIME);
  assert.deepEqual(windowOf(world, id), [60 + 1 / MINUTE, 70 + 1 / MINUTE]);
});

test("a window that passed while the authority was away is written as started and expired", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { ...REFUND, startTime: timestampFromMs(START + 60 * MINUTE) }));
  approve(world, id);
  world.pass(24 * 60 * MINUTE);
  assert.deepEqual(world.events(id).slice(-2), ["elevationStarted", "elevationExpired"]);
  assert.equal(timestampMs(world.state(id).endTime ?? timestampFromMs(0)), START + 70 * MINUTE);
});

test("an approval behind the time asked for starts at once, not in the past", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { ...REFUND, startTime: timestampFromMs(START + MINUTE) }));
  world.pass(20 * MINUTE);
  approve(world, id);
  assert.deepEqual(windowOf(world, id), [20, 30]);
});

test("a lapse says which clock ran out, and is no denial", () => {
  const world = new World();
  const undecided = opened(world.request("user:rita@test", REFUND));
  const unused = opened(world.request("user:sam@test", REFUND));
  approve(world, unused);
  world.pass(60 * MINUTE);
  const causes = [undecided, unused].map((id) => {
    const event = world.entries.findLast((entry) => entry.elevation === id)?.event;
    return event?.case === "elevationLapsed" ? event.value.cause : undefined;
  });
  assert.deepEqual(causes, [LapseCause.NOT_DECIDED, LapseCause.NOT_STARTED]);
  assert.equal(world.state(undecided).endedBy, undefined);
  assert.ok(world.request("user:rita@test", REFUND).ok, "no cool-down follows a lapse");
});

test("the window's end belongs to what comes after it", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  world.waiting.add(id);
  approve(world, id);
  world.nowMs = START + 10 * MINUTE - 1;
  assert.ok(world.run("start", "workload:guard", id).ok);
  world.nowMs += 1;
  const late = world.run("start", "workload:guard", id);
  assert.equal(late.ok ? "" : late.denial.reason, "ELEVATION_EXPIRED");
});

test("the narrowest vote wins, earlier ones count on, and a later wider one does not widen", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { method: METHOD, entitlement: "pair", reason: "INC-1", duration: minutes(20) }));
  world.waiting.add(id);
  opened(world.run("approve", "user:ana@test", id, { duration: minutes(5) }));
  opened(world.run("approve", "user:bo@test", id, { duration: minutes(5), seenRevision: world.state(id).revision }));
  assert.deepEqual(windowOf(world, id), [0, 5]);
});

test("another's vote in between does not make yours stale", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { method: METHOD, entitlement: "pair", reason: "INC-1" }));
  const seenRevision = world.state(id).revision;
  opened(world.run("approve", "user:ana@test", id, { seenRevision }));
  opened(world.run("approve", "user:bo@test", id, { seenRevision }));
  assert.equal(world.state(id).state, ElevationState.SCHEDULED);
});

test("the same question finds the same elevation, also after an approver narrowed it", () => {
  const world = new World();
  const ask = { method: METHOD, entitlement: "pair", reason: "INC-1", run: "run-7" } as const;
  const id = opened(world.request("user:rita@test", ask));
  opened(world.run("approve", "user:ana@test", id, { duration: minutes(5) }));
  const again = world.request("user:rita@test", ask);
  assert.ok(again.ok && again.existing);
  assert.equal(again.state?.id, id);
  assert.equal(world.state(id).holds, 2);
  for (const other of [{ run: "run-8" }, { reason: "INC-2" }, { duration: minutes(9) }, { entitlement: "refund", reason: "" }]) {
    assert.notEqual(opened(world.request("user:rita@test", { ...ask, ...other })), id);
  }
  assert.notEqual(opened(world.request("user:sam@test", ask)), id);
});

test("each waiter holds it, and only the last one's end ends it", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  opened(world.request("user:rita@test", REFUND));
  approve(world, id);
  opened(world.run("start", "user:rita@test", id));
  opened(world.run("end", "user:rita@test", id));
  assert.equal(world.state(id).state, ElevationState.ACTIVE);
  opened(world.run("end", "user:rita@test", id));
  assert.equal(world.state(id).state, ElevationState.ENDED);
});

test("an extension keeps the window until it is approved, and then moves its end", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  world.waiting.add(id);
  approve(world, id);
  opened(world.run("extend", "user:rita@test", id, { by: minutes(15) }));
  assert.deepEqual(windowOf(world, id), [0, 10]);
  opened(world.run("approve", "user:ana@test", id));
  assert.deepEqual(windowOf(world, id), [0, 10]);
  opened(world.run("approve", "user:bo@test", id));
  assert.deepEqual(windowOf(world, id), [0, 25]);
  assert.equal(world.state(id).extensionEnd, undefined);
  assert.equal(world.state(id).stage, 2);
});

test("an extension asked for in the last millisecond counts, and at the end nothing is left to extend", () => {
  const world = new World();
  const pair = { method: METHOD, entitlement: "pair", reason: "INC-1" } as const;
  const id = opened(world.request("user:rita@test", pair));
  world.waiting.add(id);
  approve(world, id);
  world.pass(10 * MINUTE - 1);
  opened(world.run("extend", "user:rita@test", id, { by: minutes(50) }));
  assert.deepEqual(windowOf(world, id), [0, 60]);
  const further = world.run("extend", "user:rita@test", id, { by: minutes(1) });
  assert.equal(further.ok ? "" : further.denial.reason, "DURATION_TOO_LONG", "the whole window is 60 minutes from its first start");
  world.pass(50 * MINUTE + 1);
  const late = world.run("extend", "user:rita@test", id, { by: minutes(1) });
  assert.equal(late.ok ? "" : late.denial.reason, "ALREADY_DECIDED");
  assert.equal(world.state(id).state, ElevationState.EXPIRED);
});

test("the last vote for an extension moves the end in the window's last millisecond, and comes too late at its end", () => {
  for (const lateMs of [0, 1]) {
    const world = new World();
    const id = opened(world.request("user:rita@test", REFUND));
    world.waiting.add(id);
    approve(world, id);
    opened(world.run("extend", "user:rita@test", id, { by: minutes(5) }));
    opened(world.run("approve", "user:ana@test", id));
    world.nowMs = START + 10 * MINUTE - 1 + lateMs;
    const vote = world.run("approve", "user:bo@test", id);
    if (lateMs === 0) {
      assert.ok(vote.ok);
      assert.deepEqual(windowOf(world, id), [0, 15]);
    } else {
      assert.equal(vote.ok ? "" : vote.denial.reason, "ALREADY_DECIDED");
      assert.deepEqual(world.events(id).slice(-1), ["elevationExpired"]);
      assert.equal(world.state(id).extensionEnd, undefined);
    }
  }
});

test("a denied extension leaves the window as it is", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  world.waiting.add(id);
  approve(world, id);
  opened(world.run("extend", "user:rita@test", id, { by: minutes(15) }));
  opened(world.run("deny", "user:ana@test", id));
  assert.equal(world.state(id).state, ElevationState.ACTIVE);
  assert.deepEqual(windowOf(world, id), [0, 10]);
  const approved = world.state(id).stages.map((stage) => stage.approved);
  assert.deepEqual(approved, [1, 1], "it is as approved as it was");
});

test("an extension that is taken back leaves the window as it is, and may be asked for again", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  world.waiting.add(id);
  approve(world, id);
  opened(world.run("extend", "user:rita@test", id, { by: minutes(15) }));
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("withdraw", "user:rita@test", id));
  assert.deepEqual([windowOf(world, id), world.state(id).state], [[0, 10], ElevationState.ACTIVE]);
  const late = world.run("approve", "user:bo@test", id);
  assert.equal(late.ok ? "" : late.denial.reason, "ALREADY_DECIDED");
  opened(world.run("extend", "user:rita@test", id, { by: minutes(15) }));
  assert.equal(world.state(id).stage, 0, "nobody has voted on this one");
});

test("a vote for an earlier question about the end does not count for the next", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", REFUND));
  world.waiting.add(id);
  approve(world, id);
  opened(world.run("extend", "user:rita@test", id, { by: minutes(5) }));
  const seenRevision = world.state(id).revision;
  opened(world.run("extend", "user:rita@test", id, { by: minutes(25) }));
  const vote = world.run("approve", "user:ana@test", id, { seenRevision });
  assert.equal(vote.ok ? "" : vote.denial.reason, "REVISION_CHANGED");
});

test("break-glass is active at once, and its review is recorded once", () => {
  const world = new World();
  const id = opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true }));
  assert.equal(world.state(id).state, ElevationState.ACTIVE);
  assert.equal(startCause(world, id), StartCause.BREAK_GLASS);
  assert.equal(timestampMs(world.state(id).reviewBy ?? timestampFromMs(0)), START + 24 * 60 * MINUTE);
  world.pass(60 * MINUTE);
  opened(world.run("review", "user:admin@test", id, { comment: "as agreed" }));
  assert.equal(world.text(world.state(id).reviewComment?.commitment), "as agreed");
  const again = world.run("review", "user:admin@test", id, { comment: "again" });
  assert.equal(again.ok ? "" : again.denial.reason, "ALREADY_DECIDED");
  assert.ok(world.request("user:sre@test", { method: PAYOUT, breakGlass: true }).ok);
});

test("who is told of a break-glass use is in its record, and may review it; others may not", () => {
  const world = new World();
  const id = opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true }));
  assert.deepEqual(
    world.state(id).notified.map(({ commitment }) => world.text(commitment)),
    ["group:leads"],
  );
  const stranger = world.run("review", "user:ana@test", id, { comment: "seen" });
  assert.equal(stranger.ok ? "" : stranger.denial.reason, "NOT_AN_APPROVER");
  assert.match(stranger.ok ? "" : stranger.denial.message, /group:leads/);
  opened(world.run("review", "user:cy@test", id, { comment: "seen" }));
});

test("an overdue review keeps the glass from being broken again, and the refusal says since when", () => {
  const world = new World();
  opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true }));
  world.pass(24 * 60 * MINUTE);
  const again = world.request("user:sre@test", { method: PAYOUT, breakGlass: true });
  assert.equal(again.ok ? "" : again.denial.reason, "NOT_ELIGIBLE");
  assert.match(again.ok ? "" : again.denial.message, /not been reviewed, overdue since 2026-01-06T09:00:00Z; group:leads or an admin/);
});

test("what the policy approves by itself takes nobody's vote, and counts no person", () => {
  const world = new World();
  const id = opened(world.request("ci:run", { ...REFUND, waiting: true }));
  const state = world.state(id);
  assert.equal(state.state, ElevationState.ACTIVE);
  assert.equal(state.automatic, true);
  assert.equal(state.votes.length, 0);
  assert.equal(state.duration && durationMs(state.duration), 10 * MINUTE);
});

test("a window that is over can be revoked while its streams drain, and no longer", () => {
  const drained = POLICY.replace("    cooldown: 5m\n", "    cooldown: 5m\n    streams: { onExpiry: drain, for: 1m }\n");
  for (const [policy, afterMs, revoked] of [
    [drained, 10 * MINUTE + 59_999, true],
    [drained, 11 * MINUTE, false],
    [POLICY, 10 * MINUTE, false],
  ] as const) {
    const world = new World(policy);
    const id = opened(world.request("user:rita@test", REFUND));
    world.waiting.add(id);
    approve(world, id);
    world.pass(afterMs);
    const outcome = world.run("revoke", "user:admin@test", id);
    assert.equal(outcome.ok, revoked, String(afterMs));
    assert.equal(world.state(id).state, revoked ? ElevationState.REVOKED : ElevationState.EXPIRED);
  }
});
