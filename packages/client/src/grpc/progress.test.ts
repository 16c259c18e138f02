import assert from "node:assert/strict";
import { test } from "node:test";
import { describeProgress, type ProgressEvent } from "./progress.ts";

test("each step is a line that a person can act on", () => {
  const about = { method: "payments.v1.Ledger/Refund", elevation: "elv_1", entitlement: "refund-operator" };
  const lines: [ProgressEvent, RegExp][] = [
    [{ kind: "asked", ...about, state: "PENDING" }, /refund-operator.*elv_1 is PENDING/],
    [
      { kind: "waiting", ...about, approvers: ["group:oncall"], eligibleApprovers: 2, approved: 0, quorum: 1 },
      /1 of 1 from group:oncall \(2 people\): brevet approve elv_1/,
    ],
    [{ kind: "waiting", ...about, approvers: [], approved: 1, quorum: 2 }, /approval 2 of 2: brevet approve elv_1/],
    [{ kind: "approved", ...about, by: ["user:ana@example.com"] }, /approved by user:ana@example.com/],
    [{ kind: "running", ...about }, /calling payments.v1.Ledger\/Refund again/],
    [
      {
        kind: "unreachable",
        method: about.method,
        authority: "https://brevet",
        since: "2026-01-01T00:00:00.000Z",
        problem: "ECONNREFUSED",
      },
      /https:\/\/brevet has not answered since 2026-01-01T00:00:00.000Z \(ECONNREFUSED\); payments.v1.Ledger\/Refund waits on/,
    ],
    [{ kind: "reachable", method: about.method, authority: "https://brevet" }, /https:\/\/brevet answers again/],
    [{ kind: "window", method: about.method, secondsLeft: 7 }, /ends in 7s/],
  ];
  for (const [event, pattern] of lines) assert.match(describeProgress(event), pattern);
});
