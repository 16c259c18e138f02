// Whoever reads the guard's log knows before a window that is in use ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeKeys } from "../testdata/facts.ts";
import { LiveWorld } from "../testdata/live.ts";

const keys = await makeKeys();
const MINUTE = 60_000;
const warnings = (world: LiveWorld) => world.lines.filter(({ message }) => String(message).startsWith("a window that is in use ends"));

test("a window in use is told of once, a minute before its end, with its open streams", async () => {
  const world = await LiveWorld.make(keys);
  const { id } = world.elevate({ endsInMs: 15 * MINUTE });
  for (let i = 0; i < 3; i += 1) world.open("Chat");
  world.advance(14 * MINUTE - 1);
  assert.deepEqual(warnings(world), []);
  world.advance(1);
  world.open("Chat");
  const [line, ...more] = warnings(world);
  assert.deepEqual(more, []);
  assert.deepEqual([line?.["elevation"], line?.["principal"], line?.["secondsLeft"], line?.["streams"]], [id, "user:sam@acme.test", 60, 3]);
  assert.equal(line?.["message"], "a window that is in use ends in 1m, with 3 open streams");
  world.advance(MINUTE);
  assert.equal(warnings(world).length, 1);
  assert.equal(world.bell.pending, 0, "and forgotten");
});

test("a short window is told of in its last fifth", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: MINUTE });
  world.open("Chat");
  world.advance(48_000);
  assert.deepEqual(
    warnings(world).map(({ secondsLeft }) => secondsLeft),
    [12],
  );
});

test("a window that nobody uses here, or that is over or revoked, is not told of", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 15 * MINUTE });
  world.advance(15 * MINUTE);
  assert.deepEqual(warnings(world), []);
});

test("an extended window is told of before its new end, also where only a stream uses it", async () => {
  const world = await LiveWorld.make(keys);
  const { id } = world.elevate({ endsInMs: 15 * MINUTE });
  world.open("Chat");
  world.advance(10 * MINUTE);
  world.elevate({ id, startedAgoMs: 10 * MINUTE, endsInMs: 20 * MINUTE });
  world.advance(19 * MINUTE - 1);
  assert.deepEqual(warnings(world), []);
  world.advance(1);
  assert.deepEqual(
    warnings(world).map(({ secondsLeft }) => secondsLeft),
    [60],
  );
});
