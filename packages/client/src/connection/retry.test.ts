import assert from "node:assert/strict";
import { test } from "node:test";
import { TestClock } from "@brevet/testing";
import { Code, ConnectError } from "@connectrpc/connect";
import { persist } from "./retry.ts";

test("the patience is used to its end: the last try is made when it is over, however long the pause would have been", async () => {
  const clock = new TestClock();
  const tries: number[] = [];
  const { signal } = new AbortController();
  const away = async () => {
    tries.push(clock.monotonicMs());
    throw new ConnectError("away", Code.Unavailable);
  };
  const made = persist(away, { clock, random: () => 0.99 }, 5000, signal, signal);
  const failed = assert.rejects(made, { name: "AuthorityError", message: "away" });
  await clock.advanceSlowly(20_000);
  await failed;
  assert.equal(tries.at(-1), 5000);
  assert.ok(tries.length < 10);
});
