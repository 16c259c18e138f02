// A guarded service that is killed and started again while the authority is away: it goes on from what its guard kept on the disk.
import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import type { Running } from "../../packages/cli/src/demo/stage.ts";
import { approved, endOf, keepCalling, Teller } from "../people.ts";
import { Scene, told } from "../scene.ts";

const MINUTE = 60_000;

async function kill({ process: child }: Running): Promise<void> {
  const closed = once(child, "close");
  child.kill("SIGKILL");
  await closed;
}

async function said({ log }: Running, words: RegExp, from = 0): Promise<string> {
  for (let i = 0; i < 1500; i += 1) {
    const line = log.slice(from).find((text) => words.test(text));
    if (line !== undefined) return line;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${words} was not said:\n${log.join("\n")}`);
}

test("a service killed while the authority is away: live elevations go on to their very end, revoked ones stay revoked", {
  timeout: 120_000,
}, async () => {
  const state = (data: string) => join(data, "guard-state");
  await using scene = await Scene.open({ ledgerWords: (data) => ["--state", state(data)] });
  const { stage, data, url, address } = scene;
  const [lasting, ending, revoked, nobody] = await Promise.all(
    ["lasting", "ending", "revoked", "nobody"].map((name) => Teller.hire(scene, `user:${name}@acme.test`)),
  );
  assert.ok(lasting && ending && revoked && nobody);
  await approved(scene, lasting.principal, 10 * MINUTE, true);
  const { id: revokedId } = await approved(scene, revoked.principal, 10 * MINUTE, true);
  assert.equal((await revoked.refund()).verdict, "permit");
  const { id: endingId } = await approved(scene, ending.principal, 15_000);
  assert.equal((await ending.refund()).verdict, "permit");
  const endMs = await endOf(scene, endingId);
  const admin = ["--as", "user:pat@acme.test", "--groups", "group:platform"];
  // Answered once every guard has acknowledged it.
  const answer = await stage.brevet(["revoke", revokedId, "--wait", ...admin]);
  assert.equal(answer.status, 0, told(answer));

  await Promise.all([kill(scene.authority), kill(scene.ledger)]);
  const where = ["--listen", address, "--state", state(data)];
  const again = await stage.service(data, ["--authority", url, "--as", "workload:ledger", ...where]);
  await said(again, /the guard goes on from what it kept/);

  assert.equal((await lasting.refund()).verdict, "permit");
  assert.equal((await revoked.refund()).verdict, "ELEVATION_REVOKED");
  assert.equal((await nobody.refund()).verdict, "ELEVATION_REQUIRED");
  const calls = await keepCalling(ending, ({ startedMs }) => startedMs > endMs + 500);
  for (const { startedMs, endedMs, verdict } of calls) {
    if (endedMs < endMs - 1000) assert.equal(verdict, "permit", `${endMs - endedMs} ms before the end`);
    if (startedMs > endMs + 100) assert.equal(verdict, "ELEVATION_EXPIRED", `${startedMs - endMs} ms after the end`);
  }
  assert.ok(
    calls.some(({ verdict }) => verdict === "permit"),
    "it was still open after the restart",
  );

  const from = again.log.length;
  const { host } = new URL(url);
  await stage.authority(join(data, "authority"), ["--listen", host]);
  await said(again, /linked to the authority again/, from);
  assert.equal((await lasting.refund()).verdict, "permit");
  assert.equal((await revoked.refund()).verdict, "ELEVATION_REVOKED");
  await approved(scene, nobody.principal, 10 * MINUTE);
  assert.equal((await nobody.refund()).verdict, "permit", "its first use starts it, at the authority");
});
