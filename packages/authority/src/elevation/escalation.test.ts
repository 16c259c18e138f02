// A stage that nobody answers is put to others too: in time, once, and whatever happens to the authority meanwhile.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ElevationServiceApproveRequestSchema,
  ElevationServiceListRequestSchema,
  ElevationState,
} from "@brevet/protocol/brevet/v1/elevation";
import { LogEntrySchema } from "@brevet/protocol/brevet/v1/log";
import { create, fromBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { compareProjections } from "../log/rebuild.ts";
import { evolve, nextDueMs } from "./evolve.ts";
import { granted, inDirectory, TestAuthority, TestClock } from "./testdata/authority.ts";
import { METHOD, MINUTE, minutes, opened, POLICY, reasonOf, START, World } from "./testdata/world.ts";
import { ElevationTimer } from "./timer.ts";

const SLOW = { method: METHOD, entitlement: "slow" } as const;

const escalations = (world: World, id: string) => world.events(id).filter((event) => event === "stageEscalated").length;
const asked = (world: World, id: string, stage: number) =>
  world.state(id).stages[stage]?.escalatedTo.map(({ commitment }) => world.text(commitment));

test("others may vote only once the stage has been open long enough, and those asked first still may", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", SLOW));
  assert.equal(timestampMs(world.state(id).stages[0]?.escalateTime ?? assert.fail()), START + 10 * MINUTE);
  world.pass(10 * MINUTE - 1);
  assert.equal(reasonOf(world.run("approve", "user:bo@test", id)), "NOT_AN_APPROVER");
  world.pass(1);
  assert.deepEqual(asked(world, id, 0), ["group:leads"]);
  assert.equal(world.state(id).stages[0]?.escalateTime, undefined);
  opened(world.run("approve", "user:ana@test", id));
  assert.equal(world.state(id).stage, 1);
});

test("the clock of a second stage runs from when it opened, not from the request", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", SLOW));
  world.pass(8 * MINUTE);
  opened(world.run("approve", "user:ana@test", id));
  world.pass(4 * MINUTE);
  assert.equal(escalations(world, id), 0, "neither stage was open long enough");
  world.pass(MINUTE);
  assert.deepEqual([asked(world, id, 0), asked(world, id, 1)], [[], ["user:ana@test", "user:bo@test"]]);
  assert.equal(reasonOf(world.run("approve", "user:ana@test", id)), "ALREADY_VOTED", "one person counts once over all stages");
  opened(world.run("approve", "user:bo@test", id));
  assert.equal(world.state(id).state, ElevationState.SCHEDULED);
});

test("a vote that comes when the escalation is due finds it, though no timer wrote it", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", SLOW));
  world.nowMs += 10 * MINUTE;
  opened(world.run("approve", "user:bo@test", id));
  assert.deepEqual(world.events(id), ["elevationRequested", "stageEscalated", "voteCast"]);
});

test("nobody is asked any more about what has lapsed meanwhile", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", SLOW));
  world.pass(30 * MINUTE);
  assert.deepEqual(world.events(id), ["elevationRequested", "elevationLapsed"]);
  assert.equal(timestampMs(world.state(id).endTime ?? assert.fail()), START + 30 * MINUTE);
});

test("an extension is put to others too when nobody answers, and not beyond the window", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", { ...SLOW, duration: minutes(20) }));
  world.waiting.add(id);
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("approve", "user:cy@test", id));
  world.pass(5 * MINUTE);
  opened(world.run("extend", "user:rita@test", id, { by: minutes(10) }));
  world.pass(9 * MINUTE);
  assert.equal(escalations(world, id), 0);
  world.pass(MINUTE);
  assert.deepEqual(asked(world, id, 0), ["group:leads"]);
  opened(world.run("deny", "user:bo@test", id));
  world.pass(5 * MINUTE);
  assert.equal(world.events(id).at(-1), "elevationExpired");
});

test("an approver who takes the first stage's votes away opens it again, for the whole time once more", () => {
  const world = new World();
  const id = opened(world.request("user:rita@test", SLOW));
  world.pass(4 * MINUTE);
  opened(world.run("approve", "user:ana@test", id));
  world.pass(4 * MINUTE);
  world.apply(POLICY.replace('approvers: ["user:ana@test"], quorum: 1, escalate', 'approvers: ["user:bo@test"], quorum: 1, escalate'));
  assert.equal(world.state(id).stage, 0);
  assert.equal(timestampMs(world.state(id).stages[0]?.escalateTime ?? assert.fail()), START + 18 * MINUTE);
  world.pass(5 * MINUTE);
  assert.equal(escalations(world, id), 0, "the second stage is not open");
  world.pass(5 * MINUTE);
  assert.deepEqual(asked(world, id, 0), ["group:leads"]);
});

test("a policy that no longer escalates asks nobody else, and one that begins to does not widen what was asked before", () => {
  const without = POLICY.replace(', escalate: { after: 10m, to: ["group:leads"] }', "");
  const removed = new World();
  const one = opened(removed.request("user:rita@test", SLOW));
  removed.apply(without);
  removed.pass(10 * MINUTE);
  assert.deepEqual([removed.events(one).slice(1), asked(removed, one, 0)], [["stageEscalated"], []]);
  assert.equal(reasonOf(removed.run("approve", "user:bo@test", one)), "NOT_AN_APPROVER");
  const added = new World(without);
  const other = opened(added.request("user:rita@test", SLOW));
  added.apply(POLICY);
  added.pass(29 * MINUTE);
  assert.equal(escalations(added, other), 0);
  assert.equal(reasonOf(added.run("approve", "user:bo@test", other)), "NOT_AN_APPROVER");
});

test("a quorum that only the escalation can complete is not refused; one that it comes too late for is", () => {
  const text = (after: string) =>
    POLICY.replace(
      'approvers: ["user:ana@test"], quorum: 1, escalate: { after: 10m',
      `approvers: ["user:ana@test"], quorum: 2, escalate: { after: ${after}`,
    ).replace('- { approvers: ["user:cy@test"], quorum: 1, escalate: { after: 5m, to: ["user:ana@test", "user:bo@test"] } }', "");
  const world = new World(text("10m"));
  const id = opened(world.request("user:rita@test", SLOW));
  world.pass(4 * MINUTE);
  opened(world.run("approve", "user:ana@test", id));
  world.pass(6 * MINUTE);
  assert.equal(escalations(world, id), 1, "a vote that does not complete the stage does not begin its time anew");
  opened(world.run("approve", "user:cy@test", id));
  assert.equal(world.state(id).state, ElevationState.SCHEDULED);
  assert.equal(reasonOf(new World(text("30m")).request("user:rita@test", SLOW)), "QUORUM_UNREACHABLE");
});

const settled = async (clock: TestClock, atMs: number) => {
  while (clock.nextMs() !== atMs) await new Promise((resolve) => setImmediate(resolve));
};
const timerOf = ({ log, policies, clock }: TestAuthority) =>
  new ElevationTimer({ log, policies, clock, onFault: (error) => assert.fail(String(error)) });
const eventsOf = async ({ log }: TestAuthority, elevation: string) =>
  (await log.store.entries(0n, { elevation })).map((record) => fromBinary(LogEntrySchema, record.entry).event.case);

test("the authority escalates by itself, once, also after restarts, and those who are asked then see it and vote", () =>
  inDirectory(async (directory) => {
    const clock = new TestClock();
    let id = "";
    {
      await using authority = await TestAuthority.start(directory, clock);
      await using timer = timerOf(authority);
      id = granted(await authority.request("user:rita@test", SLOW)).elevation.id;
      assert.equal((await authority.readable.get(authority.caller("user:bo@test"), id)).ok, false, "not asked yet");
      await settled(clock, START + 10 * MINUTE);
      assert.equal(await timer.tick(), 0);
    }
    clock.turn(6 * MINUTE);
    {
      await using authority = await TestAuthority.start(directory, clock);
      await using timer = timerOf(authority);
      await settled(clock, START + 10 * MINUTE);
      assert.equal(await timer.tick(), 0);
      clock.turn(4 * MINUTE);
      await settled(clock, START + 30 * MINUTE);
      assert.deepEqual(await eventsOf(authority, id), ["elevationRequested", "stageEscalated"]);
    }
    clock.turn(MINUTE);
    await using authority = await TestAuthority.start(directory, clock);
    await using timer = timerOf(authority);
    await settled(clock, START + 30 * MINUTE);
    assert.equal(await timer.tick(), 0);
    assert.deepEqual(await eventsOf(authority, id), ["elevationRequested", "stageEscalated"]);
    const bo = authority.caller("user:bo@test");
    const decidable = create(ElevationServiceListRequestSchema, { filter: { decidable: true } });
    const [shown] = granted(await authority.readable.list(bo, decidable)).elevations;
    assert.equal(shown?.id, id);
    assert.deepEqual(
      shown?.stages[0]?.escalatedTo.map(({ text }) => text),
      ["group:leads"],
    );
    assert.equal(shown?.eligibleApprovers, 3);
    granted(await authority.elevations.approve(bo, create(ElevationServiceApproveRequestSchema, { id, requestId: "vote-of-bo" })));
    // The second stage opened with that vote.
    await settled(clock, START + 16 * MINUTE);
    clock.turn(5 * MINUTE);
    await settled(clock, START + 30 * MINUTE);
    assert.deepEqual(await eventsOf(authority, id), ["elevationRequested", "stageEscalated", "voteCast", "stageEscalated"]);
    const differences = await authority.log.write((tx) => compareProjections(tx, { evolve, nextDueMs }));
    assert.deepEqual(differences, []);
  }));

test("an escalation waits for the policy that the store has, and nothing that runs out does", () =>
  inDirectory(async (directory) => {
    await using authority = await TestAuthority.start(directory);
    const { policies, clock } = authority;
    const slow = granted(await authority.request("user:rita@test", SLOW)).elevation.id;
    const lapsing = granted(await authority.request("user:sam@test", { ...SLOW, entitlement: "refund" })).elevation.id;
    await authority.apply(POLICY.replace("description: Refund", "description: Refunds"));
    policies.version -= 1n;
    clock.turn(10 * MINUTE);
    await using timer = new ElevationTimer({ log: authority.log, policies, clock });
    assert.equal(await timer.tick(), 0);
    policies.version += 1n;
    assert.equal(await timer.tick(), 1);
    assert.deepEqual(await eventsOf(authority, slow), ["elevationRequested", "stageEscalated"]);
    policies.version -= 1n;
    clock.turn(20 * MINUTE);
    await timer.tick();
    for (const id of [slow, lapsing]) assert.equal((await authority.log.store.elevation(id))?.state, ElevationState.LAPSED);
  }));
