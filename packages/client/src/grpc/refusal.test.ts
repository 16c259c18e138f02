import assert from "node:assert/strict";
import { test } from "node:test";
import { catalogue, formatDuration, type ReceivedStatus } from "@brevet/protocol";
import { ElevationSchema, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import { AuthorityError } from "../connection/failure.ts";
import { durationOption } from "./duration.ts";
import { readStatusObject } from "./errors.ts";
import { authorityFailed, notElevated, waitTimedOut } from "./refusal.ts";

const received = (over: Partial<ReceivedStatus>): ReceivedStatus => ({
  code: 7,
  message: "m",
  metadata: {},
  help: [],
  fieldViolations: [],
  ...over,
});
const parked = {
  method: "test.v1.Ledger/Refund",
  audience: "payments-test",
  decisionId: "dec_1",
  principal: "user:sam@test",
};
const elevation = (state: ElevationState) =>
  create(ElevationSchema, {
    id: "elv_1",
    entitlement: "refund",
    state,
    endTime: timestampFromMs(0),
    pendingUntil: timestampFromMs(60_000),
  });

test("every end of an elevation has its own reason, and a lapse is not called a denial", () => {
  for (const name of ["DENIED", "WITHDRAWN", "LAPSED", "EXPIRED", "ENDED", "REVOKED"] as const) {
    const read = readStatusObject(notElevated(parked, elevation(ElevationState[name])));
    assert.deepEqual([read.code, read.reason, read.metadata.state], [status.PERMISSION_DENIED, `ELEVATION_${name}`, name]);
    assert.match(read.message, /elv_1 \(refund\).*Run: brevet show elv_1 \(decision dec_1\)$/);
    for (const key of Object.keys(read.metadata)) assert.ok(catalogue[`ELEVATION_${name}`].metadata.includes(key), `${name} ${key}`);
  }
  assert.match(notElevated(parked, elevation(ElevationState.LAPSED)).details, /not refused/);
});

test("a wait that ran out says until when the request stays open, in keys of the catalogue", () => {
  const read = readStatusObject(waitTimedOut(parked, elevation(ElevationState.PENDING), 600_000));
  assert.equal(read.reason, "APPROVAL_WAIT_TIMEOUT");
  assert.match(read.message, /is not decided after 10m; it stays open until 1970-01-01T00:01:00\.000Z\. Run: brevet show elv_1/);
  for (const key of Object.keys(read.metadata)) assert.ok(catalogue.APPROVAL_WAIT_TIMEOUT.metadata.includes(key), key);
});

test("words of an approver cannot break out of the status", () => {
  const denied = elevation(ElevationState.DENIED);
  denied.endComment = create(ElevationSchema, { endComment: { text: `no\r\n\u202e\ud800${"x".repeat(5000)}` } }).endComment;
  const { details } = notElevated(parked, denied);
  assert.ok(Buffer.byteLength(details) <= 400);
  assert.ok(details.isWellFormed());
  assert.ok(!/[\r\n\u202e]/.test(details));
});

test("codes of the authority's own API do not pass for the service's", () => {
  const url = "https://brevet.test";
  const cases: [Partial<ReceivedStatus>, number, string][] = [
    [{ code: 5, reason: "NOT_FOUND" }, status.UNAVAILABLE, "AUTHORITY_UNREACHABLE"],
    [{ code: 5 }, status.UNAVAILABLE, "AUTHORITY_UNREACHABLE"],
    [{ code: 13 }, status.UNAVAILABLE, "AUTHORITY_UNREACHABLE"],
    [{ code: 14 }, status.UNAVAILABLE, "AUTHORITY_UNREACHABLE"],
    [{ code: 9, reason: "ELEVATION_DENIED", message: "ELEVATION_DENIED: cooling down" }, status.PERMISSION_DENIED, "ELEVATION_DENIED"],
    [{ code: 8, reason: "REQUEST_QUOTA_EXCEEDED" }, status.RESOURCE_EXHAUSTED, "REQUEST_QUOTA_EXCEEDED"],
  ];
  for (const [answer, code, reason] of cases) {
    const read = readStatusObject(authorityFailed(parked, new AuthorityError(received(answer)), url));
    assert.deepEqual([read.code, read.reason], [code, reason]);
    if (reason === "AUTHORITY_UNREACHABLE")
      assert.match(
        read.message,
        /Check that it runs, its address and its TLS\. Run: brevet list --authority https:\/\/brevet\.test \(decision dec_1\)$/,
      );
    assert.equal(read.message.match(/ELEVATION_DENIED/g)?.length ?? 0, reason === "ELEVATION_DENIED" ? 1 : 0);
  }
});

test("durations are read as people write them", () => {
  assert.deepEqual(
    ["90s", "15m", "1h30m", "250ms", 1500].map((value) => durationOption("wait", value)),
    [90_000, 900_000, 5_400_000, 250, 1500],
  );
  for (const value of ["", "15", "m", "1.5h", "15 m", -1, 0, Number.NaN, Number.POSITIVE_INFINITY])
    assert.throws(() => durationOption("wait", value), /wait: /);
  assert.deepEqual([600_000, 5_400_000, 42_000, 300].map(formatDuration), ["10m", "1h 30m", "42s", "300ms"]);
});
