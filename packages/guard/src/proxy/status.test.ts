// What a service says in its trailers is passed on under every name.
import assert from "node:assert/strict";
import { test } from "node:test";
import { codeOf, trailersOn } from "./status.ts";

test("trailers may have any name, those too that every object has", () => {
  const trailers = trailersOn([
    "constructor",
    "x",
    "tostring",
    "1",
    "__proto__",
    "a",
    "__proto__",
    "b",
    "brevet-x",
    "no",
    "grpc-status",
    "5",
  ]);
  assert.deepEqual(Object.entries(trailers), [
    ["constructor", "x"],
    ["tostring", "1"],
    ["__proto__", ["a", "b"]],
    ["grpc-status", "5"],
  ]);
});

test("a status that is none is UNKNOWN", () => {
  assert.deepEqual(["0", "16", "17", "-1", "", undefined].map(codeOf), [0, 16, 2, 2, 2, 2]);
});
