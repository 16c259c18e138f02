import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { TimeEstimate } from "@brevet/protocol";
import type { GuardAcknowledgement } from "@brevet/protocol/brevet/v1/guard";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Knowledge } from "../core/knowledge.ts";
import { Acknowledger } from "./acknowledge.ts";

test("the clock is spoken of once it is known, and what is enforced before that", async () => {
  const knowledge = new Knowledge("ledger");
  knowledge.heard(1, { epoch: "epo_1", revision: 7n });
  const sent: GuardAcknowledgement[] = [];
  let now: TimeEstimate = { authorityMs: 10_000, errorMs: 3_600_000 };
  const acknowledger = new Acknowledger({
    enforced: () => knowledge,
    now: () => now,
    wallMs: () => 17_000,
    saved: () => Promise.resolve(true),
    send: (acknowledgement) => sent.push(acknowledgement),
  });
  const said = async () => {
    acknowledger.soon();
    for (let i = 0; i < 3; i += 1) await turn();
    return sent.map(({ position, clockOffset }) => [position?.revision, clockOffset && durationMs(clockOffset)]);
  };
  assert.deepEqual(await said(), [[7n, undefined]]);
  now = { authorityMs: 10_000, errorMs: 2 };
  assert.deepEqual(await said(), [
    [7n, undefined],
    [7n, -7000],
  ]);
  assert.equal((await said()).length, 2, "nothing new");
});
