// Where windows meet, on real sockets, exact to 100 ms: overlapping ones, use in the last moment, an extension just before the end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newId } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { wrongVerdicts } from "../faults.ts";
import { ANA, approved, as, endOf, keepCalling, Teller } from "../people.ts";
import { Scene } from "../scene.ts";

const until = (ms: number) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms - Date.now())));

test("where windows meet", { timeout: 120_000 }, async (t) => {
  await using scene = await Scene.open();

  for (const [order, durations] of [
    ["the first to be asked for ends first", [1500, 3000]],
    ["the last to be asked for ends first", [3000, 1500]],
  ] as const)
    await t.test(`of two windows that overlap, the one that ends does not take the other away: ${order}`, async () => {
      using teller = await Teller.hire(scene, `user:both${durations[0]}@acme.test`);
      const ends: number[] = [];
      // With somebody who waits, a window starts with its approval.
      for (const duration of durations) ends.push(await endOf(scene, (await approved(scene, teller.principal, duration, true)).id));
      const endMs = Math.max(...ends);
      const calls = await keepCalling(teller, ({ startedMs }) => startedMs > endMs + 300);
      assert.deepEqual(wrongVerdicts(calls, endMs), []);
      const firstEndMs = Math.min(...ends);
      assert.ok(
        calls.some(({ startedMs, verdict }) => startedMs > firstEndMs + 100 && verdict === "permit"),
        "used past the first end",
      );
    });

  await t.test("using an elevation in its last moment does not move its end", async () => {
    using teller = await Teller.hire(scene, "user:last@acme.test");
    const { id } = await approved(scene, teller.principal, 1500);
    assert.equal((await teller.refund()).verdict, "permit");
    const endMs = await endOf(scene, id);
    await until(endMs - 300);
    const calls = await keepCalling(teller, ({ startedMs }) => startedMs > endMs + 300);
    assert.deepEqual(wrongVerdicts(calls, endMs), []);
    assert.equal(await endOf(scene, id), endMs);
    const reader = await as(scene, ANA);
    assert.equal((await reader.get({ id })).elevation?.state, ElevationState.EXPIRED);
  });

  await t.test("an end that falls between two calls: permitted before, refused after", async () => {
    using teller = await Teller.hire(scene, "user:between@acme.test");
    const { id } = await approved(scene, teller.principal, 1000);
    const before = await teller.refund();
    const endMs = await endOf(scene, id);
    // Nothing happens in between: no call, and no message of the authority is waited for.
    await until(endMs + 20);
    const after = await teller.refund();
    assert.deepEqual([before.verdict, after.verdict], ["permit", "ELEVATION_EXPIRED"]);
  });

  await t.test(
    "an extension that is approved just before the end carries on without a gap; one that comes after it is refused",
    async () => {
      for (let attempt = 1; ; attempt += 1) {
        using teller = await Teller.hire(scene, `user:longer${attempt}@acme.test`);
        const own = await as(scene, teller.principal, ["group:support"]);
        const ana = await as(scene, ANA);
        const { id } = await approved(scene, teller.principal, 2500, true);
        const firstEndMs = await endOf(scene, id);
        let endMs = Infinity;
        const calling = keepCalling(teller, ({ startedMs }) => startedMs > endMs + 300);
        const extend = () => own.extend({ requestId: newId("req"), id, by: durationFromMs(1500) });
        await until(firstEndMs - 800);
        try {
          assert.ok((await extend()).elevation?.extensionEnd !== undefined, "it awaits approval");
          await until(firstEndMs - 400);
          const { elevation } = await ana.approve({ requestId: newId("req"), id });
          const approvedMs = Date.now();
          endMs = elevation?.windowEnd === undefined ? firstEndMs : timestampMs(elevation.windowEnd);
          assert.equal(endMs, firstEndMs + 1500);
          // The guard hears of it about when the approver does; on a machine that was late, the seam is another.
          if (approvedMs > firstEndMs - 150 && attempt < 5) {
            await calling;
            continue;
          }
        } catch (error) {
          endMs = firstEndMs;
          await calling;
          if (Date.now() < firstEndMs || attempt === 5) throw error;
          continue;
        }
        assert.deepEqual(wrongVerdicts(await calling, endMs), []);
        await assert.rejects(extend(), /ALREADY_DECIDED/);
        return;
      }
    },
  );
});
