// The guard's machine sleeps while the authority's goes on: real sockets, and a clock of this process that can be told to have slept.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { type Clock, systemClock } from "@brevet/protocol";
import { POLICY } from "../testdata/facts.ts";
import { scene, type TestScene } from "../testdata/scene.ts";

const MINUTE = 60_000;

/** The machine's clock, and its sleep. */
function sleepingClock() {
  let sleptMs = 0;
  const clock: Clock = {
    ...systemClock,
    wallMs: () => systemClock.wallMs() + sleptMs,
    bootMs: () => (systemClock.bootMs?.() ?? 0) + sleptMs,
  };
  return {
    clock,
    sleep: (at: TestScene, ms: number) => {
      sleptMs += ms;
      at.authority.aheadMs += ms;
    },
  };
}

async function asleep(whenStale: string) {
  const machine = sleepingClock();
  const at = await scene({ policy: `${POLICY}\nwhenStale: ${whenStale}\n`, guard: { clock: machine.clock } });
  return { at, sleep: (ms: number) => machine.sleep(at, ms) };
}

test("the first call after a sleep waits for a fresh sample, and is judged by it: a window that ended meanwhile has ended", async () => {
  const { at, sleep } = await asleep("{ after: 1h, then: known, atMost: 2h }");
  await using _ = at;
  at.authority.elevate({ id: "elv_short", endsInMs: 5 * MINUTE });
  at.authority.elevate({ id: "elv_long", principal: "user:bo@acme.test", endsInMs: 50 * MINUTE });
  await at.authority.settled();
  const [sam, bo] = [await at.as(), await at.as("user:bo@acme.test", { exp: Math.floor(at.authority.nowMs() / 1000) + 3600 })];
  const samLater = await at.as(undefined, { exp: Math.floor(at.authority.nowMs() / 1000) + 3600 });
  assert.equal((await at.service.call("Refund", { authorization: sam })).code, 0);
  sleep(10 * MINUTE);
  const [short, long] = await Promise.all([
    at.service.call("Refund", { authorization: samLater }),
    at.service.call("Refund", { authorization: bo }),
  ]);
  assert.equal(short.status.reason, "ELEVATION_EXPIRED");
  assert.equal(long.code, 0);
  assert.ok(at.guard.status().clockErrorMs < 1000, "by a fresh sample");
  assert.equal(at.lines.filter(({ message }) => /this machine slept/.test(String(message))).length, 1);
});

for (const [then, reason] of [
  ["deny", "POLICY_STALE"],
  ["known", ""],
] as const) {
  test(`without a fresh sample the time counts as stale after two seconds, and the policy says what follows: ${then}`, async () => {
    const { at, sleep } = await asleep(`{ after: 1h, then: ${then}${then === "known" ? ", atMost: 2h" : ""} }`);
    await using _ = at;
    at.authority.elevate({ endsInMs: 30 * MINUTE });
    await at.authority.settled();
    const authorization = await at.as(undefined, { exp: Math.floor(at.authority.nowMs() / 1000) + 3600 });
    at.authority.sendTimeSamples = false;
    sleep(10 * MINUTE);
    const before = performance.now();
    const answer = await at.service.call("Refund", { authorization });
    assert.equal(answer.status.reason ?? "", reason);
    assert.ok(performance.now() - before > 1900, `${performance.now() - before}`);
    assert.equal((await at.service.call("GetEntry", { authorization })).code, 0);
    // The boot-time clock tells for how long it slept: no window outlives its end for want of a sample.
    sleep(25 * MINUTE);
    const over = await at.service.call("Refund", { authorization });
    assert.equal(over.status.reason, then === "deny" ? "POLICY_STALE" : "ELEVATION_EXPIRED");
    at.authority.sendTimeSamples = true;
    while (at.guard.status().clockErrorMs > 1000) await wait(20);
    assert.equal((await at.service.call("Refund", { authorization })).status.reason, "ELEVATION_EXPIRED");
  });
}

test("a sleep that the connection did not outlive is made up for by another connection within the two seconds", async () => {
  const { at, sleep } = await asleep("{ after: 1h, then: deny }");
  await using _ = at;
  at.authority.elevate({ endsInMs: 30 * MINUTE });
  await at.authority.settled();
  const authorization = await at.as(undefined, { exp: Math.floor(at.authority.nowMs() / 1000) + 3600 });
  at.authority.deafen();
  sleep(10 * MINUTE);
  assert.equal((await at.service.call("Refund", { authorization })).code, 0);
  assert.equal(at.authority.hellos.length, 2);
});

test("a clock that steps or is slow to tell changes nothing while the machine is awake", async () => {
  let stepMs = 0;
  const clock: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + stepMs };
  await using at = await scene({ guard: { clock } });
  at.authority.elevate();
  await at.authority.settled();
  const authorization = await at.as();
  for (const ms of [7 * 3_600_000, -7 * 3_600_000, 0]) {
    stepMs = ms;
    assert.equal((await at.service.call("Refund", { authorization })).code, 0);
    assert.ok(at.guard.status().clockErrorMs < 1000);
  }
  assert.ok(!at.lines.some(({ message }) => /slept/.test(String(message))));
});
