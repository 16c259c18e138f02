import assert from "node:assert/strict";
import { test } from "node:test";
import { newId } from "@brevet/protocol";
import { TestClock } from "@brevet/testing";
import { refuse } from "../core/call.ts";
import { DecisionLog } from "../link/decisions.ts";
import { Recorder } from "./record.ts";

const SAM = { name: "user:sam@acme.test", kind: "user", groups: new Set<string>(), claims: {} } as const;

function recorder() {
  const clock = new TestClock();
  const decisions = new DecisionLog({ audience: "a", newId });
  const lines: Record<string, unknown>[] = [];
  const log = (fields: object, message: string) => void lines.push({ ...fields, message });
  const made = new Recorder({ audience: "a", newId, clock, decisions, logger: { info: log, warn: log, error: log } });
  const call = { method: "a.B/C", headersSeen: ["te"], traceId: "", knowledge: undefined, nowMs: 1000 };
  return { clock, decisions, lines, made, call };
}

test("a flood of calls without an identity is ten lines in a second and a count, and somebody's refusal always has its line", () => {
  const { clock, lines, made, call } = recorder();
  for (let i = 0; i < 50; i += 1) made.refused(refuse("IDENTITY_MISSING"), call, false);
  made.refused(refuse("ELEVATION_REQUIRED", {}, SAM), call, false);
  assert.deepEqual([lines.length, lines.at(-1)?.principal], [11, SAM.name]);
  made.refused(refuse("IDENTITY_MISSING"), call, true);
  assert.match(String(lines.pop()?.message), /only observes/);
  clock.advance(1000);
  assert.deepEqual([lines.length, lines.at(-1)?.leftOut], [12, 40]);
  clock.advance(5000);
  assert.equal(lines.length, 12);
  made.refused(refuse("IDENTITY_MISSING"), call, false);
  clock.advance(1000);
  assert.deepEqual([lines.length, lines.at(-1)?.reason], [13, "IDENTITY_MISSING"]);
});

test("what a caller makes up is written down up to a length", () => {
  const { decisions, lines, made, call } = recorder();
  const headersSeen = Array.from({ length: 200 }, (_, i) => `x-${i}-${"a".repeat(1000)}`);
  made.refused(refuse("IDENTITY_MISSING"), { ...call, method: `a.B/${"C".repeat(5000)}`, headersSeen }, false);
  const [record] = decisions.take()?.decisions ?? [];
  const [line] = lines;
  assert.ok(record && line);
  assert.deepEqual(line.headersSeen, record.headersSeen);
  assert.equal(line.method, record.method);
  assert.equal(record.headersSeen.length, 64);
  for (const text of [record.method, ...record.headersSeen]) assert.ok(Buffer.byteLength(text) <= 256);
});
