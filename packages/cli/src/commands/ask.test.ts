import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandError, exitStatus } from "../output/status.ts";
import { instantOption } from "./ask.ts";

for (const text of [
  "2027-02-30T00:00:00Z",
  "2027-02-29T12:00:00+02:00",
  "2027-04-31T00:00Z",
  "2027-13-01T00:00:00Z",
  "2027-00-10T00:00:00Z",
  "2027-01-00T00:00:00Z",
  "2027-01-01T24:00:00Z",
  "2027-01-01T23:60:00Z",
  "2027-01-01",
  "tomorrow",
])
  test(`${text} is no time, and is not taken for another`, () => {
    assert.throws(
      () => instantOption("--at", text),
      (error) => error instanceof CommandError && error.status === exitStatus.misuse && error.message.includes(`--at ${text}`),
    );
  });

test("times are taken as RFC 3339 writes them, the last day of February in a leap year too", () => {
  assert.equal(instantOption("--at", "2028-02-29T23:59:59.5Z"), Date.UTC(2028, 1, 29, 23, 59, 59, 500));
  assert.equal(instantOption("--at", "2027-01-01T00:30:00+01:00"), Date.UTC(2026, 11, 31, 23, 30));
  assert.equal(instantOption("--at", "2027-01-31t18:00z"), Date.UTC(2027, 0, 31, 18));
});
