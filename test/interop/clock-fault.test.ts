// A real clock fault, by libfaketime: the clock of the guard's, the authority's or the client's machine steps and drifts by hours while
// calls run. Real processes; right and wrong are judged by this process's own clock, which stays true.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newId } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { changeNothing, DRIFTS, drift, FAR, type Fault, RIGHT, STEPS, windowDuring, wrongVerdicts } from "../faults.ts";
import { ANA, approved, as, keepCalling, Teller } from "../people.ts";
import { Scene, told } from "../scene.ts";
import { FakeTime } from "./faketime.ts";

const HOUR = 3_600_000;
const FAULTS = [...STEPS, ...DRIFTS, ...FAR, ...RIGHT];

test("whatever the clock of the guard's machine does, no verdict is wrong", { timeout: 120_000 }, async (t) => {
  await using clock = await FakeTime.open(t);
  if (clock === undefined) return;
  await using scene = await Scene.open({ ledgerEnvironment: clock.environment });
  await changeNothing(scene, clock, FAULTS);
});

test("whatever the clock of the authority's machine does, no verdict is wrong", { timeout: 120_000 }, async (t) => {
  await using clock = await FakeTime.open(t);
  if (clock === undefined) return;
  await using scene = await Scene.open({ authorityEnvironment: clock.environment });
  await changeNothing(scene, clock, FAULTS);
  const report = await scene.brevet("audit", "verify", "--as", "user:kim@acme.test", "--groups", "group:security");
  assert.equal(report.ok, true);
});

test("whatever the clock of the client's machine does, a parked call goes on after its approval", { timeout: 120_000 }, async (t) => {
  await using clock = await FakeTime.open(t);
  if (clock === undefined) return;
  await using scene = await Scene.open();
  const { stage } = scene;
  const refund = ["refund", "--charge", scene.charge, "--amount", "1", "--currency", "EUR", "--address", scene.address];
  const elevated = (principal: string, wait: string) => {
    const who = ["--as", principal, "--groups", "group:support", "--authority", scene.url];
    return stage.caller([...refund, ...who, "--for", "1m", "--wait", wait, "--reason", "OPS-2"]);
  };
  const ana = await as(scene, ANA);
  const pendingOf = async (principal: string) => {
    for (;;) {
      const { elevations } = await ana.list({ filter: { states: [ElevationState.PENDING], decidable: true } });
      const one = elevations.find(({ requester }) => requester?.name === principal);
      if (one !== undefined) return one.id;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  stage.setEnvironment(clock.environment);
  for (const [i, [what, happen]] of FAULTS.entries()) {
    const principal = `user:c${i}@acme.test`;
    const parked = elevated(principal, "1m");
    const id = await pendingOf(principal);
    await happen(clock);
    await ana.approve({ requestId: newId("req"), id });
    const done = await parked;
    assert.equal(done.status, 0, `it ${what}: ${told(done)}`);
    // The same clock from the first look on: another process finds the elevation in use.
    const again = await elevated(principal, "1m");
    assert.equal(again.status, 0, `it ${what}: ${told(again)}`);
  }
  const impatient = elevated("user:late@acme.test", "3s");
  const id = await pendingOf("user:late@acme.test");
  const { createTime } = (await ana.get({ id })).elevation ?? {};
  await clock.step(3 * HOUR);
  const gaveUp = await impatient;
  assert.match(gaveUp.stderr, /APPROVAL_WAIT_TIMEOUT/, told(gaveUp));
  assert.ok(Date.now() - Number(createTime?.seconds ?? 0n) * 1000 >= 3000, "it waited for its time");
});

/** Back only as far as the truth: Node itself ends a process whose monotonic clock reads less than at its start. */
const AHEAD: readonly Fault[] = [
  ["steps three hours ahead", (clock) => clock.step(3 * HOUR)],
  ["steps three hours back", (clock) => clock.step(0)],
  ["drifts three hours ahead", (clock) => drift(clock, 0, 3 * HOUR)],
  ["drifts three hours back", (clock) => drift(clock, 3 * HOUR, 0)],
];

test("a guard whose monotonic clock goes wrong too permits nothing after the end, and finds its way back", {
  timeout: 180_000,
}, async (t) => {
  await using clock = await FakeTime.open(t, { monotonicToo: true });
  if (clock === undefined) return;
  await using scene = await Scene.open({ ledgerEnvironment: clock.environment });
  using keeper = await Teller.hire(scene, "user:keeper@acme.test");
  await approved(scene, keeper.principal, 600_000);
  assert.equal((await keeper.refund()).verdict, "permit");
  // For a moment it may say that it does not know.
  const unsure = ["POLICY_STALE", "POLICY_UNAVAILABLE", "AUTHORITY_UNREACHABLE"];
  for (const [i, [what, happen]] of AHEAD.entries()) {
    const { calls, endMs } = await windowDuring(scene, `user:m${i}@acme.test`, () => happen(clock));
    // It judges ends at now + error, and by an estimate that is surer than a second.
    assert.deepEqual(wrongVerdicts(calls, endMs, unsure, 1000), [], `it ${what}`);
    const back = await keepCalling(keeper, ({ verdict }) => verdict === "permit");
    assert.deepEqual(
      back.slice(0, -1).filter(({ verdict }) => !unsure.includes(verdict)),
      [],
      `it ${what}`,
    );
  }
});
