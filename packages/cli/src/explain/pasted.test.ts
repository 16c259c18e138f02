import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeDenial, GrpcCode } from "@brevet/protocol";
import { assert as assertProperty, constantFrom, oneof, property, string } from "fast-check";
import { foreignStatus } from "./foreign.ts";
import { readPasted, reasonIn } from "./pasted.ts";

const DECISION = "dec_01KB0000000000000000000000";
const SAID = `ELEVATION_REQUIRED: payments.v1.Ledger/Refund needs an approved elevation. (decision ${DECISION})`;

test("a reason is found however it was pasted", () => {
  assert.equal(reasonIn("ELEVATION_REQUIRED"), "ELEVATION_REQUIRED");
  assert.equal(reasonIn("elevation_required"), "ELEVATION_REQUIRED");
  assert.equal(reasonIn("REASON_ELEVATION_EXPIRED"), "ELEVATION_EXPIRED");
  assert.equal(reasonIn("REASON_REQUIRED"), "REASON_REQUIRED");
});

test("words that are no reason explain nothing", () => {
  assert.equal(reasonIn(""), undefined);
  assert.deepEqual(readPasted("good morning"), { metadata: {} });
});

for (const [printer, text] of [
  ["grpc-js", `Error: 7 PERMISSION_DENIED: ${SAID}\n    at callErrorFromStatus (call.js:32:19)`],
  [
    "grpcio",
    `<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.PERMISSION_DENIED\n\tdetails = "${SAID}"\n\tdebug_error_string = "x">`,
  ],
  ["grpc-go", `2026/11/23 10:00:00 rpc error: code = PermissionDenied desc = ${SAID}`],
  ["grpcurl", `ERROR:\n  Code: PermissionDenied\n  Message: ${SAID}\n`],
  ["Connect", JSON.stringify({ code: "permission_denied", message: SAID })],
] as const) {
  test(`what ${printer} prints is read: code, message, reason, decision`, () => {
    const { metadata, ...read } = readPasted(text);
    assert.deepEqual(read, {
      printer,
      code: GrpcCode.PERMISSION_DENIED,
      message: SAID,
      reason: "ELEVATION_REQUIRED",
      decisionId: DECISION,
    });
    assert.deepEqual(metadata, {});
  });
}

test("the name of a code is no reason", () => {
  for (const text of [
    "5 NOT_FOUND: no such charge",
    "rpc error: code = NotFound desc = no such charge",
    "ERROR:\n  Code: NotFound\n  Message: no such charge",
    'status = StatusCode.NOT_FOUND\n details = "no such charge"',
  ]) {
    const { code, reason, message } = readPasted(text);
    assert.deepEqual({ code, reason, message }, { code: 5, reason: undefined, message: "no such charge" }, text);
  }
  assert.equal(readPasted("5 NOT_FOUND: NOT_FOUND: there is no such elevation").reason, "NOT_FOUND");
});

test("details are read wherever they were printed as base64, and only Brevet's", () => {
  const { details, message } = encodeDenial({
    reason: "GRANT_EXPIRED",
    message: "the grant ended.",
    metadata: { decisionId: DECISION, elevation: "elv_01KB0000000000000000000000" },
  });
  const read = readPasted(`{"msg":"refused","status":{"details":"${Buffer.from(details).toString("base64")}"}}`);
  assert.equal(read.reason, "GRANT_EXPIRED");
  assert.equal(read.message, message);
  assert.equal(read.decisionId, DECISION);
  assert.equal(read.elevation, "elv_01KB0000000000000000000000");
  assert.deepEqual(readPasted("A".repeat(400)), { metadata: {} });
});

test("ErrorInfo that grpcurl prints as JSON tells its facts", () => {
  const info = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    domain: "brevet.dev",
    metadata: { decisionId: DECISION, method: "a.B/C" },
    reason: "NOT_ELIGIBLE",
  };
  const text = `ERROR:\n  Code: PermissionDenied\n  Message: refused\n  Details:\n  1)\t${JSON.stringify(info, null, 2)}\n`;
  const { reason, metadata } = readPasted(text);
  assert.equal(reason, "NOT_ELIGIBLE");
  assert.equal(metadata.method, "a.B/C");
  assert.equal(readPasted(text.replace("brevet.dev", "evil.test")).reason, undefined);
});

test("no text makes it fail", () => {
  assertProperty(
    property(
      oneof(string({ unit: "binary" }), string({ unit: constantFrom("{", "}", '"', "\\", ":", "7 ", "Code", "Message", "A/=", "\n") })),
      (text) => void readPasted(text),
    ),
  );
});

test("a status without a reason gets its most likely story", () => {
  const story = (code: number, message: string) => foreignStatus(code, message)?.says ?? "";
  assert.match(story(8, "received metadata size exceeds soft limit (9000 vs. 8192)"), /trailers/);
  assert.match(story(2, "Received http2 header with status: 403"), /plain HTTP/);
  assert.match(story(14, "No connection established. Last error: connect ECONNREFUSED"), /not reached/);
  assert.match(story(14, "unable to verify the first certificate"), /TLS/);
  assert.match(story(4, "Deadline exceeded after 2.001s"), /deadline/);
  assert.match(story(9, "the charge is closed"), /service's own/);
  assert.equal(foreignStatus(0, ""), undefined);
});
