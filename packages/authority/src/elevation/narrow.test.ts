// A policy change against live elevations only narrows.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { RevokeCause } from "@brevet/protocol/brevet/v1/log";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { countingVotes } from "./approvers.ts";
import { METHOD, MINUTE, minutes, opened, PAYOUT, POLICY, START, World } from "./testdata/world.ts";

const PAIR = { method: METHOD, entitlement: "pair", reason: "INC-1" } as const;

function active(world: World, length = 20): string {
  const id = opened(world.request("user:rita@test", { ...PAIR, duration: minutes(length) }));
  world.waiting.add(id);
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("approve", "user:bo@test", id));
  return id;
}

function changed(from: string, to: string): string {
  assert.ok(POLICY.includes(from), `the policy has no ${from}`);
  return POLICY.replace(from, to);
}

const PAIR_BLOCK = POLICY.slice(POLICY.indexOf("  pair:"), POLICY.indexOf("  migrate:"));
const inPair = (from: string, to: string) => changed(PAIR_BLOCK, PAIR_BLOCK.replace(from, to));

function revokedByPolicy(world: World, id: string): boolean {
  const event = world.entries.findLast((entry) => entry.elevation === id)?.event;
  return world.state(id).state === ElevationState.REVOKED && event?.case === "elevationRevoked" && event.value.cause === RevokeCause.POLICY;
}

test("a removed entitlement is revoked at once", () => {
  const world = new World();
  const id = active(world);
  world.apply(changed(PAIR_BLOCK, ""));
  assert.ok(revokedByPolicy(world, id));
});

test("a removed requester loses what is live", () => {
  const world = new World();
  const id = active(world);
  world.apply(inPair('["user:rita@test", "user:sam@test", "group:claimed"]', '["user:sam@test", "group:claimed"]'));
  assert.ok(revokedByPolicy(world, id));
});

test("whoever asked with a group claim keeps it while the group stays, and loses it with the group", () => {
  for (const [requesters, kept] of [
    ['["user:sam@test", "group:claimed"]', true],
    ['["user:rita@test", "user:sam@test"]', false],
  ] as const) {
    const world = new World();
    world.claimed.set("user:eve@test", ["group:claimed"]);
    const id = opened(world.request("user:eve@test", PAIR));
    const stay = kept ? '["user:rita@test", "user:sam@test", "group:claimed", "user:new@test"]' : requesters;
    world.apply(inPair('["user:rita@test", "user:sam@test", "group:claimed"]', stay));
    assert.equal(world.state(id).state === ElevationState.PENDING, kept, requesters);
  }
});

test("a method that goes is cut out, and the rest stays", () => {
  const world = new World();
  const id = active(world);
  world.apply(inPair(`[${METHOD}, ${PAYOUT}]`, `[${METHOD}]`));
  assert.deepEqual(world.state(id).methods, [METHOD]);
  assert.equal(world.state(id).state, ElevationState.ACTIVE);
});

test("a new method widens nothing that is live", () => {
  const world = new World(inPair(`[${METHOD}, ${PAYOUT}]`, `[${METHOD}]`));
  const id = active(world);
  world.apply(POLICY);
  assert.deepEqual(world.state(id).methods, [METHOD]);
  assert.ok(!world.events(id).includes("elevationNarrowed"), "nothing is written where nothing changes");
});

test("a shorter max brings an earlier end, and a longer one nothing", () => {
  const world = new World();
  const id = active(world);
  world.apply(inPair("max: 30m", "max: 15m"));
  assert.equal(
    timestampMs(world.state(id).windowEnd ?? { seconds: 0n, nanos: 0, $typeName: "google.protobuf.Timestamp" }),
    START + 15 * MINUTE,
  );
  world.apply(POLICY);
  assert.equal(
    timestampMs(world.state(id).windowEnd ?? { seconds: 0n, nanos: 0, $typeName: "google.protobuf.Timestamp" }),
    START + 15 * MINUTE,
  );
});

test("a max that has passed already revokes", () => {
  const world = new World();
  const id = active(world);
  world.pass(16 * MINUTE);
  world.apply(inPair("max: 30m", "max: 15m"));
  assert.ok(revokedByPolicy(world, id));
});

test("a max that shrank before the start holds for the window", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { ...PAIR, duration: minutes(20) }));
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("approve", "user:bo@test", id));
  world.apply(inPair("max: 30m", "max: 12m"));
  opened(world.run("start", "workload:guard", id));
  const { windowStart, windowEnd } = world.state(id);
  assert.equal(windowStart && windowEnd && timestampMs(windowEnd) - timestampMs(windowStart), 12 * MINUTE);
});

test("a removed approver's vote ceases to count; one who is added brings no old vote", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", PAIR));
  opened(world.run("approve", "user:ana@test", id));
  world.apply(
    changed('"group:oncall": ["user:ana@test", "user:bo@test", "user:rita@test"]', '"group:oncall": ["user:bo@test", "user:dan@test"]'),
  );
  assert.ok(world.events(id).includes("votesVoided"));
  assert.equal(world.state(id).stages[0]?.approved, 0);
  const late = world.run("approve", "user:ana@test", id);
  assert.equal(late.ok ? "" : late.denial.reason, "NOT_AN_APPROVER");
  opened(world.run("approve", "user:bo@test", id));
  assert.equal(world.state(id).state, ElevationState.PENDING);
  opened(world.run("approve", "user:dan@test", id));
  assert.equal(world.state(id).state, ElevationState.SCHEDULED);
});

test("a higher quorum ends what is pending, and leaves what was approved", () => {
  const pending = new World();
  const open = opened(pending.request("user:rita@test", PAIR));
  pending.apply(inPair("quorum: 2", "quorum: 3"));
  assert.ok(revokedByPolicy(pending, open));
  const world = new World();
  const id = active(world);
  world.apply(inPair("quorum: 2", "quorum: 3"));
  assert.equal(world.state(id).state, ElevationState.ACTIVE);
});

test("an extension that waits is refused where extending was taken away", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { method: METHOD, entitlement: "refund" }));
  world.waiting.add(id);
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("approve", "user:bo@test", id));
  opened(world.run("extend", "user:rita@test", id, { by: minutes(15) }));
  world.apply(changed("extend: { max: 40m, approval: same }", "extend: { max: 20m, approval: same }"));
  assert.equal(world.state(id).extensionEnd, undefined);
  assert.ok(world.events(id).includes("extensionClosed"));
  assert.equal(world.state(id).state, ElevationState.ACTIVE);
});

test("what is final stays as it ended", () => {
  const world = new World();
  const id = active(world);
  opened(world.run("end", "user:rita@test", id));
  world.apply(changed(PAIR_BLOCK, ""));
  assert.equal(world.state(id).state, ElevationState.ENDED);
});

test("a shorter max shortens a window that has not started, and voters have to look again", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { ...PAIR, duration: minutes(20) }));
  const seenRevision = world.state(id).revision;
  world.apply(inPair("max: 30m }", "max: 12m }"));
  const { state, duration, methods, windowEnd } = world.state(id);
  assert.equal(state, ElevationState.PENDING);
  assert.equal(duration && durationMs(duration), 12 * MINUTE);
  assert.deepEqual([methods, windowEnd], [[PAYOUT, METHOD], undefined]);
  const late = world.run("approve", "user:ana@test", id, { seenRevision });
  assert.equal(late.ok ? "" : late.denial.reason, "REVISION_CHANGED");
});

test("votes for an extension are told from those for the elevation, and only those of the open round count", () => {
  const world = new World(inPair("approval: none", "approval: same"));
  const id = active(world, 10);
  opened(world.run("extend", "user:rita@test", id, { by: minutes(5) }));
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("approve", "user:cy@test", id));
  assert.deepEqual(
    world.state(id).votes.map((vote) => vote.extension),
    [false, false, true, true],
  );
  opened(world.run("extend", "user:rita@test", id, { by: minutes(5) }));
  opened(world.run("approve", "user:ana@test", id));
  assert.deepEqual(
    countingVotes(world.state(id)).map((vote) => vote.revision),
    [world.state(id).revision],
  );
});

test("a vote says which right it was cast with", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", PAIR));
  opened(world.run("approve", "user:bo@test", id));
  const event = world.entries.at(-1)?.event;
  assert.ok(event?.case === "voteCast");
  assert.equal(world.text(event.value.selector?.commitment), "group:oncall");
  assert.deepEqual(
    event.value.groups.map((group) => world.text(group.commitment)),
    ["group:oncall", "group:leads"],
  );
});
