import assert from "node:assert/strict";
import { before, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { makeKeys, type TestKeys } from "../testdata/facts.ts";
import { Known, NOON } from "../testdata/known.ts";

let keys: TestKeys;
before(async () => {
  keys = await makeKeys();
});

for (const [what, reason, stepMs] of [
  ["hours ahead", "IDENTITY_EXPIRED", 3 * 3_600_000],
  ["hours back", "IDENTITY_NOT_YET_VALID", -3 * 3_600_000],
] as const)
  test(`a token is not refused by a time in doubt, ${what}, but once a fresh one has come`, async () => {
    const known = new Known(keys);
    known.elevate();
    const authorization = [await known.as(undefined, { nbf: Math.floor(NOON / 1000) })];
    assert.equal(await known.outcome("Refund", { authorization }), "permit");
    const fresh = Promise.withResolvers<void>();
    known.settling = fresh.promise;
    known.nowMs = NOON + stepMs;
    let answered = "";
    const waiting = known.outcome("Refund", { authorization }).then((outcome) => (answered = outcome));
    await turn();
    assert.equal(answered, "");
    known.nowMs = NOON;
    known.settling = undefined;
    fresh.resolve();
    assert.equal(await waiting, "permit");
    known.nowMs = NOON + stepMs;
    assert.equal(await known.outcome("Refund", { authorization }), reason, "a time that is certain counts at once");
  });

test("what does not hang on the time is refused at once, in doubt or not", async () => {
  const known = new Known(keys);
  known.settling = new Promise(() => {});
  assert.equal(await known.outcome("Refund"), "IDENTITY_MISSING");
  assert.equal(await known.outcome("Hidden", { authorization: [await known.as()] }), "METHOD_FORBIDDEN");
});
