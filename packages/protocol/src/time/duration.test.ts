import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, parseDuration } from "./duration.ts";

test("durations are read as people write them", () => {
  const cases: Record<string, number> = { "90s": 90_000, "15m": 900_000, "1h30m": 5_400_000, "2d": 172_800_000, "250ms": 250 };
  for (const [text, ms] of Object.entries(cases)) assert.equal(parseDuration(text), ms, text);
});

test("what is no positive duration is none", () => {
  for (const text of ["", "15", "-5m", "1.5h", "5 m", "0s", "1h-30m", "m", "1y", "99999999999999999d", "NaNs"])
    assert.equal(parseDuration(text), undefined, text);
});

test("durations are shown in their two largest units", () => {
  assert.equal(formatDuration(3_900_000), "1h 5m");
  assert.equal(formatDuration(42_000), "42s");
  assert.equal(formatDuration(250), "250ms");
  assert.equal(formatDuration(-5), "0ms");
});
