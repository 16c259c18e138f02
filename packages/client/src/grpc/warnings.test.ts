// A program knows before its window ends: once, in time, and again when it was extended.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationSchema } from "@brevet/protocol/brevet/v1/elevation";
import { TestClock } from "@brevet/testing";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ProgressEvent } from "./progress.ts";
import { Warnings, windowLeftMs } from "./warnings.ts";

const MINUTE = 60_000;

function scene(beforeMs = MINUTE) {
  const clock = new TestClock();
  const told: ProgressEvent[] = [];
  const warnings = new Warnings({ clock, beforeMs, onProgress: (event) => told.push(event), logger: undefined });
  return { clock, warnings, left: () => told.map((event) => (event.kind === "ending" ? event.secondsLeft : event.kind)) };
}

test("a window is told of a minute before its end, once, however many calls say when it ends", () => {
  const { clock, warnings, left } = scene();
  warnings.ends("a.B/C", 15 * MINUTE);
  clock.advance(10 * MINUTE);
  // In whole seconds, as the trailer has it.
  warnings.ends("a.B/C", 5 * MINUTE - 1000);
  clock.advance(4 * MINUTE - 1);
  assert.deepEqual(left(), []);
  clock.advance(1);
  warnings.ends("a.B/C", MINUTE);
  clock.advance(MINUTE);
  assert.deepEqual(left(), [60]);
  assert.equal(clock.pending, 0);
});

test("of a short window it is the last fifth, and of a late one too", () => {
  const { clock, warnings, left } = scene();
  warnings.ends("a.B/C", 50_000);
  clock.advance(40_000);
  assert.deepEqual(left(), [10]);
});

test("an extension is told of anew, and an overlapping window that ends earlier is not", () => {
  const { clock, warnings, left } = scene();
  warnings.ends("a.B/C", 15 * MINUTE);
  warnings.ends("a.B/C", 10 * MINUTE);
  clock.advance(14 * MINUTE);
  warnings.ends("a.B/C", 11 * MINUTE);
  clock.advance(10 * MINUTE);
  assert.deepEqual(left(), [60, 60]);
});

test("methods are told of apart, and nothing that is over is", () => {
  const { clock, warnings, left } = scene(10_000);
  warnings.ends("a.B/C", MINUTE);
  warnings.ends("a.B/D", 2 * MINUTE);
  warnings.ends("a.B/E", 0);
  clock.advance(3 * MINUTE);
  assert.deepEqual(left(), [10, 10]);
});

test("a clock that is off makes no window longer than it is", () => {
  const elevation = create(ElevationSchema, { windowStart: timestampFromMs(0), windowEnd: timestampFromMs(15 * MINUTE) });
  assert.equal(windowLeftMs(elevation, 5 * MINUTE), 10 * MINUTE);
  assert.equal(windowLeftMs(elevation, -120 * MINUTE), 15 * MINUTE);
  assert.equal(windowLeftMs(create(ElevationSchema), 0), 0);
});
