import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isTimezone, minuteOfDay, type Schedule, scheduleAllows } from "./schedule.ts";

const office: Schedule = { days: new Set([1, 2, 3, 4, 5]), fromMinute: 480, toMinute: 1080, timezone: "Europe/Berlin" };
const night: Schedule = { days: new Set([5]), fromMinute: 1320, toMinute: 360, timezone: "UTC" };
const at = (iso: string) => Date.parse(iso);

test("a schedule is open from its first minute to the one before its end, in its own time zone", () => {
  assert.deepEqual(scheduleAllows(office, at("2026-11-23T07:00:00Z")), { open: true }, "Monday 08:00 in Berlin");
  assert.deepEqual(scheduleAllows(office, at("2026-11-23T16:59:59Z")), { open: true });
  assert.deepEqual(scheduleAllows(office, at("2026-11-23T17:00:00Z")), { open: false, opensAtMs: at("2026-11-24T07:00:00Z") });
  assert.deepEqual(scheduleAllows(office, at("2026-11-23T06:59:59Z")), { open: false, opensAtMs: at("2026-11-23T07:00:00Z") });
});

test("over the weekend it opens on Monday", () => {
  assert.deepEqual(scheduleAllows(office, at("2026-11-20T20:00:00Z")), { open: false, opensAtMs: at("2026-11-23T07:00:00Z") });
});

test("an end before the start is on the next day, and belongs to the day on which it starts", () => {
  assert.equal(scheduleAllows(night, at("2026-11-20T22:00:00Z")).open, true, "Friday night");
  assert.equal(scheduleAllows(night, at("2026-11-21T05:59:00Z")).open, true, "Saturday morning");
  assert.deepEqual(scheduleAllows(night, at("2026-11-21T06:00:00Z")), { open: false, opensAtMs: at("2026-11-27T22:00:00Z") });
  assert.equal(scheduleAllows(night, at("2026-11-20T05:00:00Z")).open, false, "Friday morning");
});

test("it follows the clock's shifts", () => {
  assert.deepEqual(scheduleAllows(office, at("2026-03-27T20:00:00Z")), { open: false, opensAtMs: at("2026-03-30T06:00:00Z") });
  assert.deepEqual(scheduleAllows(office, at("2026-10-23T20:00:00Z")), { open: false, opensAtMs: at("2026-10-26T07:00:00Z") });
  const gap: Schedule = { days: new Set([0]), fromMinute: 150, toMinute: 240, timezone: "Europe/Berlin" };
  assert.deepEqual(
    scheduleAllows(gap, at("2026-03-29T00:00:00Z")),
    { open: false, opensAtMs: at("2026-03-29T01:00:00Z") },
    "02:30 does not exist that day",
  );
});

test("a whole day ends at 24:00", () => {
  const sunday: Schedule = { days: new Set([0]), fromMinute: 0, toMinute: 1440, timezone: "UTC" };
  assert.equal(scheduleAllows(sunday, at("2026-11-22T23:59:59Z")).open, true);
  assert.equal(scheduleAllows(sunday, at("2026-11-23T00:00:00Z")).open, false);
});

test("times of day are read strictly", () => {
  assert.deepEqual(["00:00", "08:30", "24:00", "24:01", "8:00", "08:60", "-1:00", ""].map(minuteOfDay), [
    0,
    510,
    1440,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  assert.deepEqual(["Europe/Berlin", "UTC", "Mars/Olympus"].map(isTimezone), [true, true, false]);
});

test("property: what it opens at is open, and the minute before is not", () => {
  const schedules = fc.record({
    days: fc.uniqueArray(fc.integer({ min: 0, max: 6 }), { minLength: 1 }).map((days) => new Set(days)),
    fromMinute: fc.integer({ min: 0, max: 1439 }),
    toMinute: fc.integer({ min: 1, max: 1440 }),
    timezone: fc.constantFrom("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham"),
  });
  fc.assert(
    fc.property(schedules, fc.integer({ min: at("2026-01-01T00:00:00Z"), max: at("2027-12-31T00:00:00Z") }), (schedule, nowMs) => {
      fc.pre(schedule.fromMinute !== schedule.toMinute);
      const answer = scheduleAllows(schedule, nowMs);
      if (answer.open) return;
      // A span that lies wholly in the hour that a shift skips comes a week later.
      assert.ok(answer.opensAtMs !== undefined);
      assert.ok(answer.opensAtMs > nowMs);
      assert.equal(scheduleAllows(schedule, answer.opensAtMs).open, true);
      const before = Math.max(nowMs, answer.opensAtMs - 60_000);
      assert.equal(scheduleAllows(schedule, before).open, false);
    }),
    { numRuns: 150 },
  );
});
