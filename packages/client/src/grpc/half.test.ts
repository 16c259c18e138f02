import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeDenial, readStatus } from "@brevet/protocol";
import { Metadata } from "@grpc/grpc-js";
import { clockAheadMs, lostOnTheWay, reportOf } from "./half.ts";

const NOW_MS = Date.UTC(2026, 10, 23);

function half(metadata: Record<string, string>, headers: Record<string, string>) {
  const { code, message, details } = encodeDenial({ reason: "IDENTITY_MISSING", message: "none came", metadata });
  const sent = new Metadata();
  for (const [name, value] of Object.entries(headers)) sent.set(name, value);
  return { method: "a.B/C", audience: "shop", refused: readStatus(code, message, details), sent, deadlineMs: 1500, nowMs: NOW_MS };
}

test("a credential that was sent and not seen was lost on the way", () => {
  const sent = { authorization: "Bearer secret", "x-mine": "1" };
  assert.deepEqual(lostOnTheWay(half({ headersSeen: "user-agent,x-mine" }, sent)), ["authorization"]);
  assert.deepEqual(lostOnTheWay(half({ headersSeen: "authorization,user-agent" }, sent)), []);
  assert.deepEqual(lostOnTheWay(half({}, sent)), [], "a guard that does not say what it saw");
  assert.deepEqual(lostOnTheWay(half({ headersSeen: "user-agent" }, {})), []);
  const many = Array.from({ length: 16 }, (_, i) => `h${i}`).join(",");
  assert.deepEqual(lostOnTheWay(half({ headersSeen: many }, sent)), [], "perhaps it is among those that are not named");
});

test("a clock that is off is measured against the guard's time, and small differences are the way", () => {
  const at = (ms: number) => clockAheadMs(half({ serverTime: new Date(NOW_MS - ms).toISOString() }, {}));
  assert.deepEqual([at(45_000), at(-45_000), at(500)], [45_000, -45_000, undefined]);
  assert.equal(clockAheadMs(half({ serverTime: "soon" }, {})), undefined);
});

test("a report has names and never values, and the trace", () => {
  const trace = "ab".repeat(16);
  const report = reportOf(
    half({ decisionId: "dec_1" }, { authorization: "Bearer secret", traceparent: `00-${trace}-${"cd".repeat(8)}-01` }),
  );
  assert.deepEqual([report.decisionId, report.traceId, report.headersSent], ["dec_1", trace, ["authorization", "traceparent"]]);
  assert.ok(!JSON.stringify(report, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value)).includes("secret"));
});
