// What the end of a window, its extension and a revocation do to live streams: exact on the virtual clock.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readStatus } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { makeKeys } from "../testdata/facts.ts";
import { DRAINS, FIVE_AT_MOST, LiveWorld, policyWith } from "../testdata/live.ts";
import type { MethodName } from "../testdata/service.ts";

const keys = await makeKeys();
const KINDS = ["Watch", "Import", "Chat"] satisfies MethodName[];

test("a live stream of any kind ends at its window's end, to the millisecond, as a committed call", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 1000 });
  const startMs = world.nowMs;
  const calls = KINDS.map((kind) => world.open(kind));
  world.advance(999);
  for (const call of calls) assert.deepEqual([call.send(), call.answerWith(), call.outcome], [true, true, "live"]);
  world.advance(1);
  for (const call of calls) {
    assert.deepEqual([call.outcome, (call.endedAtMs ?? 0) - startMs, call.status?.pushback], ["ELEVATION_EXPIRED", 1000, "-1"]);
    const { status } = call;
    assert.ok(status);
    const { metadata } = readStatus(status.code, status.message, status.details);
    assert.equal(metadata.expiredAt, new Date(startMs + 1000).toISOString());
    assert.deepEqual([call.send(), call.answerWith(), call.enforced.over], [false, false, true], "the rest is swallowed");
    call.halfClose();
    assert.equal(call.passed.includes("half-close"), false);
    call.enforced.ended(0);
  }
  assert.equal(world.streams.size, 0);
  assert.equal(world.clock.pending, 0);
});

test("an end is judged at now + error", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 1000 });
  world.known.errorMs = 50;
  const call = world.open("Chat");
  world.advance(949);
  assert.equal(call.send(), true);
  world.advance(1);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("a timer that is late lets no message pass behind the end, in either direction", async () => {
  for (const bring of ["send", "answerWith"] as const) {
    const world = await LiveWorld.make(keys);
    world.elevate({ endsInMs: 1000 });
    const call = world.open("Chat");
    // The machine was busy, or asleep: time went on, and no timer fired.
    world.known.nowMs += 999;
    assert.equal(call[bring](), true);
    world.known.nowMs += 1;
    assert.deepEqual([call[bring](), call.outcome], [false, "ELEVATION_EXPIRED"]);
  }
});

test("a timer that is early, since the estimate of the time changed, is set anew", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 1000 });
  const call = world.open("Chat");
  world.known.nowMs -= 300;
  world.advance(1299);
  assert.equal(call.outcome, "live");
  world.advance(1);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("news of the time that puts the end into the past ends the stream then", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 1000 });
  const call = world.open("Watch");
  world.known.nowMs += 5000;
  world.streams.look();
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("overlapping windows never cut each other short, whichever came first, and the trailer and the record follow", async () => {
  for (const ends of [
    [1000, 3000, 2000],
    [3000, 1000, 2000],
    [2000, 3000, 1000],
  ]) {
    const world = await LiveWorld.make(keys);
    const made = ends.map((endsInMs) => world.elevate({ endsInMs }));
    const call = world.open("Chat");
    world.advance(2999);
    assert.equal(call.send(), true);
    world.advance(1);
    assert.equal(call.outcome, "ELEVATION_EXPIRED");
    const longest = made[ends.indexOf(3000)];
    assert.equal(world.told.find(({ permitted, method }) => permitted && method.endsWith("Chat"))?.elevation, longest?.id);
  }
});

test("a window that is approved while the stream runs carries it on when the first one ends", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 2000 });
  const call = world.open("Chat");
  world.advance(1000);
  const second = world.elevate({ endsInMs: 62_000 });
  world.advance(1000);
  assert.equal(call.send(), true);
  assert.equal(call.enforced.windowEnds, "61");
  world.advance(60_999);
  call.enforced.ended(0);
  assert.deepEqual(
    world.told.filter(({ method }) => method.endsWith("Chat")).map(({ permitted, elevation }) => [permitted, elevation]),
    [[true, second.id]],
  );
  assert.deepEqual(world.refused, []);
});

test("a window that no call has started is not started by a stream that runs out", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 1000 });
  world.elevate({ state: ElevationState.SCHEDULED });
  world.known.use = () => Promise.reject(new Error("not to be started"));
  const call = world.open("Chat");
  world.advance(1000);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("use at the last moment does not lengthen a window", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 1000 });
  world.advance(999);
  const call = world.open("Chat");
  assert.equal(call.send(), true);
  assert.equal(call.enforced.windowEnds, "0");
  world.advance(1);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
  assert.equal(world.open("Chat").outcome, "ELEVATION_EXPIRED");
});

test("an extension carries a stream on to its own end, also one that comes in the last millisecond", async () => {
  const world = await LiveWorld.make(keys);
  const { id } = world.elevate({ endsInMs: 1000 });
  const call = world.open("Chat");
  world.advance(999);
  world.elevate({ id, endsInMs: 5000 });
  world.advance(4999);
  assert.equal(call.send(), true);
  world.advance(1);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("a window that is made shorter ends the stream at the new end", async () => {
  const world = await LiveWorld.make(keys);
  const { id } = world.elevate({ endsInMs: 60_000 });
  const call = world.open("Watch");
  world.advance(100);
  world.elevate({ id, endsInMs: 400 });
  world.advance(399);
  assert.equal(call.outcome, "live");
  world.advance(1);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("while a stream drains its messages pass, no new call starts, and the drain has an end", async () => {
  const world = await LiveWorld.make(keys, policyWith(DRAINS));
  world.elevate({ endsInMs: 1000, drainMs: 10_000 });
  const call = world.open("Chat");
  world.advance(1000);
  assert.equal(world.open("Chat").outcome, "ELEVATION_EXPIRED");
  assert.deepEqual([call.send(), call.answerWith(), call.enforced.windowEnds], [true, true, "0"]);
  world.advance(9999);
  assert.deepEqual([call.send(), call.answerWith()], [true, true]);
  world.advance(1);
  assert.deepEqual([call.outcome, call.send()], ["ELEVATION_EXPIRED", false]);
});

test("the entry that closes a window does not cut the drain", async () => {
  const world = await LiveWorld.make(keys, policyWith(DRAINS));
  const elevation = world.elevate({ endsInMs: 1000, drainMs: 10_000 });
  const call = world.open("Chat");
  world.advance(1100);
  const { windowEnd } = elevation;
  assert.ok(windowEnd);
  world.known.knowledge.setElevation({
    ...elevation,
    state: ElevationState.EXPIRED,
    endTime: timestampFromMs(world.nowMs - 50),
    revision: elevation.revision + 1n,
  });
  world.advance(9899);
  assert.equal(call.send(), true);
  world.advance(1);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("a revocation or a handing back ends streams at once, with the exact reason, also while they drain", async () => {
  for (const [state, reason] of [
    [ElevationState.REVOKED, "ELEVATION_REVOKED"],
    [ElevationState.ENDED, "ELEVATION_ENDED"],
  ] as const)
    for (const afterMs of [500, 1500]) {
      const world = await LiveWorld.make(keys, policyWith(DRAINS));
      const { id } = world.elevate({ endsInMs: 1000, drainMs: 10_000 });
      const calls = KINDS.map((kind) => world.open(kind));
      for (const call of calls) call.send();
      world.advance(afterMs);
      // A question that is not answered yet is no reason to end.
      world.elevate({ state: ElevationState.PENDING });
      for (const call of calls) assert.equal(call.outcome, "live");
      world.elevate({ id, state, endedAgoMs: 0 });
      for (const call of calls) assert.deepEqual([call.outcome, call.send(), call.answerWith()], [reason, false, false]);
    }
});

test("a revocation leaves a stream that another elevation covers", async () => {
  const world = await LiveWorld.make(keys);
  const { id } = world.elevate({ endsInMs: 60_000 });
  world.elevate({ endsInMs: 30_000 });
  const call = world.open("Chat");
  world.elevate({ id, state: ElevationState.REVOKED });
  assert.equal(call.send(), true);
  world.advance(30_000);
  assert.equal(call.outcome, "ELEVATION_EXPIRED", "of the one that it rested on at last");
});

test("a drain of one elevation covers a stream that rested on another", async () => {
  const world = await LiveWorld.make(keys, policyWith(DRAINS));
  world.elevate({ endsInMs: 1000, drainMs: 20_000 });
  const { id } = world.elevate({ endsInMs: 5000 });
  const call = world.open("Chat");
  world.advance(6000);
  assert.equal(call.send(), true);
  world.elevate({ id, state: ElevationState.REVOKED });
  assert.equal(call.send(), true, "it rests on the one that drains by now");
  world.advance(15_000);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("a drain is for streams that ran at the window's end, not for one that began later under another elevation", async () => {
  const world = await LiveWorld.make(keys, policyWith(DRAINS));
  world.elevate({ endsInMs: 1000, drainMs: 20_000 });
  world.advance(1000);
  const { id } = world.elevate({ endsInMs: 5000 });
  const call = world.open("Chat");
  assert.equal(call.send(), true);
  world.elevate({ id, state: ElevationState.REVOKED });
  assert.equal(call.outcome, "ELEVATION_REVOKED");
});

test("an extension that comes while a stream drains carries it on", async () => {
  const world = await LiveWorld.make(keys, policyWith(DRAINS));
  const { id } = world.elevate({ endsInMs: 1000, drainMs: 10_000 });
  const call = world.open("Chat");
  world.advance(5000);
  world.elevate({ id, endsInMs: 20_000, drainMs: 10_000 });
  world.advance(29_999);
  assert.equal(call.send(), true);
  world.advance(1);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("a condition is judged while a stream drains", async () => {
  const world = await LiveWorld.make(keys, policyWith(DRAINS, FIVE_AT_MOST));
  world.elevate({ endsInMs: 1000, drainMs: 10_000 });
  const call = world.open("Chat");
  call.send(1);
  world.advance(2000);
  assert.equal(call.send(5), true);
  assert.equal(call.send(6), false);
  assert.equal(call.outcome, "CONDITION_NOT_MET");
});

test("a unary call that runs is not cut: it was permitted", async () => {
  const world = await LiveWorld.make(keys);
  const { id } = world.known.elevate({ endsInMs: 1000 });
  const call = world.open("Refund");
  assert.equal(world.streams.size, 0);
  world.known.elevate({ id, state: ElevationState.REVOKED });
  world.advance(2000);
  assert.equal(call.answerWith(), true);
  call.enforced.ended(0);
  assert.deepEqual([call.outcome, call.enforced.windowEnds], ["live", "0"]);
});
