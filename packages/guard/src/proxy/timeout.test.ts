import assert from "node:assert/strict";
import { test } from "node:test";
import { double, assert as holds, property } from "fast-check";
import { timeoutMsOf, timeoutOf } from "./timeout.ts";

test("every unit of grpc-timeout is read, and nothing that is not exactly one", () => {
  assert.deepEqual(["2H", "3M", "4S", "5m", "6u", "7n", "99999999H"].map(timeoutMsOf), [
    7.2e6,
    180_000,
    4000,
    5,
    0.006,
    7e-6,
    99_999_999 * 3.6e6,
  ]);
  for (const none of ["", "1", "S", "-1S", "1.5S", " 1S", "1S ", "123456789m", "1s", "1S, 2S"])
    assert.equal(timeoutMsOf(none), undefined, none);
});

test("a deadline that was written anew is never later, and loses less than a ten-thousandth", () => {
  holds(
    property(double({ min: 0.001, max: 3e14, noNaN: true }), (ms) => {
      const read = timeoutMsOf(timeoutOf(ms)) ?? 0;
      assert.ok(read <= ms * (1 + 1e-9) && read >= Math.min(ms * (1 - 1e-4) - 0.001, 99_999_999 * 3.6e6), `${ms} became ${read}`);
    }),
  );
  assert.equal(timeoutOf(-5), "1u", "what ran out is the shortest");
});
