import assert from "node:assert/strict";
import { test } from "node:test";
import { catalogue, isReasonName, type ReceivedStatus } from "@brevet/protocol";
import { ElevationRequiredSchema, EntitlementOfferSchema } from "@brevet/protocol/brevet/v1/error";
import { create } from "@bufbuild/protobuf";
import { chooseEntitlement, endedUnderway, remedyFor } from "./remedy.ts";

const called = { method: "a.B/C", audience: "payments" };
const refused = (over: Partial<ReceivedStatus>): ReceivedStatus => ({
  code: 7,
  message: "m",
  reason: "ELEVATION_REQUIRED",
  metadata: { method: "a.B/C", audience: "payments" },
  help: [],
  fieldViolations: [],
  ...over,
});

test("the catalogue's class alone says what is tried: nothing that somebody decided against", () => {
  for (const reason of Object.keys(catalogue).filter(isReasonName)) {
    const { retry, code } = catalogue[reason];
    const expected = code !== 7 ? undefined : { "after-approval": "approval", "after-renewal": "renewal" }[retry as string];
    assert.equal(remedyFor(refused({ reason, code }), called), expected, reason);
  }
});

test("both the details and the offer have to name what was called", () => {
  const offer = (method: string, audience: string) => create(ElevationRequiredSchema, { method, audience });
  assert.equal(remedyFor(refused({ offer: offer("a.B/C", "payments") }), called), "approval");
  assert.equal(remedyFor(refused({ metadata: { method: "a.B/C" }, offer: offer("a.B/C", "payments") }), called), "approval");
  const wrong: Partial<ReceivedStatus>[] = [
    { offer: offer("a.B/D", "payments") },
    { offer: offer("a.B/C", "payroll") },
    { metadata: { method: "a.B/C" } },
    { metadata: { audience: "payments" } },
    { metadata: { method: "a.B/C", audience: "payroll" }, offer: offer("a.B/C", "payments") },
    { metadata: { method: "/a.B/C", audience: "payments" } },
  ];
  for (const over of wrong) assert.equal(remedyFor(refused(over), called), undefined, JSON.stringify(over.metadata));
});

test("a stream whose elevation ended while it may have run is not one that was held back", () => {
  const serverTime = "2026-01-01T10:00:00.000Z";
  const cases: [Partial<ReceivedStatus>, number, boolean][] = [
    // The window was over a minute before; the stream was issued 50 ms ago.
    [{ reason: "ELEVATION_EXPIRED", metadata: { serverTime, expiredAt: "2026-01-01T09:59:00.000Z" } }, 50, false],
    [{ reason: "ELEVATION_ENDED", metadata: { serverTime, endedAt: "2026-01-01T09:59:00.000Z" } }, 50, false],
    // It is over just now, or within what clocks may err.
    [{ reason: "ELEVATION_EXPIRED", metadata: { serverTime, expiredAt: serverTime } }, 50, true],
    [{ reason: "ELEVATION_EXPIRED", metadata: { serverTime, expiredAt: "2026-01-01T09:59:59.200Z" } }, 50, true],
    // A stream of two minutes, drained for one.
    [{ reason: "ELEVATION_EXPIRED", metadata: { serverTime, expiredAt: "2026-01-01T09:59:00.000Z" } }, 120_000, true],
    // A guard that does not say when.
    [{ reason: "ELEVATION_ENDED", metadata: {} }, 50, true],
    [{ reason: "ELEVATION_REQUIRED", metadata: {} }, 120_000, false],
  ];
  for (const [over, runningMs, expected] of cases) assert.equal(endedUnderway(refused(over), runningMs), expected, JSON.stringify(over));
});

test("fewest approvals win, then the guard's order; break-glass is not an offer to a program", () => {
  const offers = (...list: [string, number, boolean?][]) =>
    list.map(([entitlement, approvals, breakGlass = false]) => create(EntitlementOfferSchema, { entitlement, approvals, breakGlass }));
  const chosen = (...list: [string, number, boolean?][]) => {
    const choice = chooseEntitlement(offers(...list));
    return choice.ask ? choice.entitlement?.entitlement : "nothing";
  };
  assert.equal(chosen(["wide", 2], ["narrow", 1], ["other", 1]), "narrow");
  assert.equal(chosen(["glass", 0, true], ["narrow", 1]), "narrow");
  assert.equal(chosen(["automatic", 0], ["narrow", 1]), "automatic");
  assert.equal(chosen(["glass", 0, true]), "nothing");
  assert.equal(chosen(), undefined);
});
