// A real clock fault, by libfaketime: the clock of the guard's, the authority's or the client's machine steps and drifts by hours while
// calls run. Real processes; right and wrong are judged by this process's own clock, which stays true.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newId } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { ANA, approved, as, endOf, keepCalling, type Refunded, Teller } from "../people.ts";
import { Scene, told } from "../scene.ts";
import { FAULTS, FakeTime } from "./faketime.ts";

/** The guard stops this long before the end at the latest, and the authority's clock and this process's are read one after the other. */
const EARLY_MS = 100;
const APART_MS = 10;
const WINDOW_MS = 2000;

/** What was permitted too late, refused too early, or answered with something else. Empty: every verdict was right. */
function wrong(calls: readonly Refunded[], endMs: number, allowed: readonly string[] = []): string[] {
  return calls
    .filter(({ startedMs, endedMs, verdict }) => {
      if (allowed.includes(verdict)) return false;
      if (verdict === "permit") return startedMs >= endMs + APART_MS;
      return verdict !== "ELEVATION_EXPIRED" || endedMs <= endMs - EARLY_MS;
    })
    .map(({ startedMs, endedMs, verdict }) => `${startedMs - endMs} to ${endedMs - endMs} ms from the end: ${verdict}`);
}

/** A window that is open while the fault happens, used until it is surely over. */
async function windowDuring(scene: Scene, principal: string, fault: () => Promise<void>): Promise<{ calls: Refunded[]; endMs: number }> {
  using teller = await Teller.hire(scene, principal);
  const { id } = await approved(scene, principal, WINDOW_MS);
  const first = await teller.refund();
  const endMs = await endOf(scene, id);
  let happened = false;
  const calling = keepCalling(teller, ({ startedMs }) => happened && startedMs > endMs + 300);
  await fault();
  happened = true;
  return { calls: [first, ...(await calling)], endMs };
}

/** Whoever has a long window is permitted, and whoever had one that ended is refused, whatever the clock did meanwhile. */
async function faultsChangeNothing(scene: Scene, clock: FakeTime): Promise<void> {
  using keeper = await Teller.hire(scene, "user:keeper@acme.test");
  await approved(scene, keeper.principal, 600_000);
  let over = false;
  const kept = keepCalling(keeper, () => over);
  for (const [i, [what, happen]] of FAULTS.entries()) {
    const { calls, endMs } = await windowDuring(scene, `user:w${i}@acme.test`, () => happen(clock));
    assert.deepEqual(wrong(calls, endMs), [], `it ${what}`);
    assert.ok(calls.some(({ verdict }) => verdict === "permit") && calls.at(-1)?.verdict === "ELEVATION_EXPIRED", `it ${what}`);
  }
  over = true;
  assert.deepEqual(
    (await kept).filter(({ verdict }) => verdict !== "permit"),
    [],
  );
}

test("whatever the clock of the guard's machine does, no verdict is wrong", { timeout: 120_000 }, async (t) => {
  await using clock = await FakeTime.open(t);
  if (clock === undefined) return;
  await using scene = await Scene.open({ ledgerEnvironment: clock.environment });
  await faultsChangeNothing(scene, clock);
});

test("whatever the clock of the authority's machine does, no verdict is wrong", { timeout: 120_000 }, async (t) => {
  await using clock = await FakeTime.open(t);
  if (clock === undefined) return;
  await using scene = await Scene.open({ authorityEnvironment: clock.environment });
  await faultsChangeNothing(scene, clock);
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
  await clock.step(3 * 3_600_000);
  const gaveUp = await impatient;
  assert.match(gaveUp.stderr, /APPROVAL_WAIT_TIMEOUT/, told(gaveUp));
  assert.ok(Date.now() - Number(createTime?.seconds ?? 0n) * 1000 >= 3000, "it waited for its time");
});
