import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReceivedStatus } from "@brevet/protocol";
import { ElevationSchema, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { endingOf, endsInMs } from "./ending.ts";

test("an end is waited for no longer than clocks err, and only that of what the refusal named", () => {
  const about = { code: 7, message: "m", help: [], fieldViolations: [] };
  const refused = (metadata: ReceivedStatus["metadata"]): ReceivedStatus => ({ ...about, reason: "ELEVATION_EXPIRED", metadata });
  const ending = endingOf(refused({ elevation: "elv_a", serverTime: "1970-01-01T00:01:00.000Z" }), 500);
  const found = (endMs: number, over: object = {}) =>
    create(ElevationSchema, { id: "elv_a", state: ElevationState.ACTIVE, windowEnd: timestampFromMs(endMs), ...over });
  assert.equal(endsInMs(ending, found(60_400), 600), 320);
  assert.equal(endsInMs(ending, found(60_400), 901), 1000, "the guard's time is ahead");
  assert.equal(endsInMs(ending, found(61_200), 500), undefined, "it was extended");
  assert.equal(endsInMs(ending, found(60_400, { id: "elv_b" }), 500), undefined);
  assert.equal(endsInMs(ending, found(60_400, { state: ElevationState.EXPIRED }), 500), undefined);
  assert.equal(endingOf(refused({ elevation: "elv_a" }), 500), undefined);
});
