import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationSchema, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { TestClock } from "@brevet/testing";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { untilSettled } from "./wait.ts";

test("a look-up that fails is made again while somebody waits: the watch does not tell what it has passed", async () => {
  const clock = new TestClock();
  const active = create(ElevationSchema, { id: "elv_a", revision: 2n, state: ElevationState.ACTIVE });
  let looks = 0;
  const means = {
    clock,
    random: () => 0.5,
    // A stream that is well, and has nothing new.
    watch: {
      add({ onMissed }: { onMissed(): void }) {
        onMissed();
        return () => {};
      },
    },
    get: async () => {
      looks += 1;
      if (looks < 4) throw new ConnectError("away", Code.Unavailable);
      return active;
    },
  };
  const waiting = untilSettled({ id: "elv_a" }, means, new AbortController().signal, () => {});
  await clock.advanceSlowly(3000);
  assert.equal(looks, 4);
  assert.equal((await waiting).state, ElevationState.ACTIVE);
  const leaving = new AbortController();
  looks = 0;
  const left = untilSettled({ id: "elv_a" }, means, leaving.signal, () => {});
  await clock.advanceSlowly(10);
  leaving.abort(new Error("left"));
  await assert.rejects(left, /left/);
  await clock.advanceSlowly(3000);
  assert.deepEqual([looks, clock.pending], [1, 0], "nobody waits, nobody looks");
});
