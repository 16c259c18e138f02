import assert from "node:assert/strict";
import { test } from "node:test";
import { traceIdOf } from "./trace.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT = "00f067aa0ba902b7";

test("the trace id of one valid traceparent is read", () => {
  assert.equal(traceIdOf([`00-${TRACE}-${PARENT}-01`]), TRACE);
  assert.equal(traceIdOf([`cc-${TRACE}-${PARENT}-01-what-the-future-brings`]), TRACE);
});

test("anything else is no trace", () => {
  const zeros = (length: number) => "0".repeat(length);
  for (const value of [
    `ff-${TRACE}-${PARENT}-01`,
    `00-${zeros(32)}-${PARENT}-01`,
    `00-${TRACE}-${zeros(16)}-01`,
    `00-${TRACE.toUpperCase()}-${PARENT}-01`,
    `00-${TRACE}-${PARENT}-01-more`,
    `00-${TRACE}-${PARENT}-01, 00-${TRACE}-${PARENT}-01`,
    `00-${TRACE}-${PARENT}`,
    ` 00-${TRACE}-${PARENT}-01`,
    `cc-${TRACE}-${PARENT}-01-${"x".repeat(300)}`,
    "",
  ])
    assert.equal(traceIdOf([value]), "", value);
  assert.equal(traceIdOf([]), "");
  assert.equal(traceIdOf([Buffer.from("x")]), "");
  assert.equal(traceIdOf([`00-${TRACE}-${PARENT}-01`, `00-${TRACE}-${PARENT}-01`]), "", "two headers: nobody can say which");
});
