import assert from "node:assert/strict";
import { test } from "node:test";
import { TestClock } from "@brevet/testing";
import { MOST_REPORTS, type Report, Reports } from "./reports.ts";

function scene(answer: () => Promise<boolean> = () => Promise.resolve(true)) {
  const clock = new TestClock();
  const sent: { ids: (string | undefined)[]; dropped: bigint }[] = [];
  const send = (reports: Report[], dropped: bigint) => {
    sent.push({ ids: reports.map(({ decisionId }) => decisionId), dropped });
    return answer();
  };
  const reports = new Reports({ clock, random: () => 0.5, send });
  return { clock, sent, reports, turn: () => new Promise((resolve) => setImmediate(resolve)) };
}

test("a report goes with the next call, or by itself within ten seconds, and once", async () => {
  const { clock, sent, reports, turn } = scene();
  reports.add({ decisionId: "1" }, true);
  reports.flush();
  await turn();
  reports.add({ decisionId: "2" }, true);
  reports.add({ decisionId: "3" }, true);
  clock.advance(10_000);
  await turn();
  reports.flush();
  assert.deepEqual(
    sent.map(({ ids }) => ids),
    [["1"], ["2", "3"]],
  );
  assert.equal(clock.pending, 0);
});

test("what was refused since the authority is away waits for a call that is made anyway", () => {
  const { clock, sent, reports } = scene();
  reports.add({ decisionId: "1" }, false);
  clock.advance(60_000);
  assert.deepEqual(sent, []);
  reports.flush();
  assert.equal(sent.length, 1);
});

test("a batch that did not arrive goes again, and what does not fit is counted", async () => {
  let away = true;
  const { sent, reports, turn } = scene(() => (away ? Promise.reject(new Error("away")) : Promise.resolve(true)));
  for (let i = 0; i < MOST_REPORTS + 5; i += 1) reports.add({ decisionId: `${i}` }, true);
  reports.flush();
  reports.add({ decisionId: "late" }, true);
  await turn();
  away = false;
  reports.flush();
  await turn();
  assert.deepEqual(sent[0]?.dropped, 5n);
  assert.equal(sent[1]?.ids.length, MOST_REPORTS);
  assert.deepEqual([sent[1]?.ids.at(-1), sent[1]?.dropped], ["late", 6n]);
});

test("an authority that takes none is not asked again, and a closed session asks nobody", async () => {
  const { clock, sent, reports, turn } = scene(() => Promise.resolve(false));
  reports.add({ decisionId: "1" }, true);
  reports.flush();
  await turn();
  reports.add({ decisionId: "2" }, true);
  clock.advance(60_000);
  assert.equal(sent.length, 1);
});
