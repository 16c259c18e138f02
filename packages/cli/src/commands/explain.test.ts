import assert from "node:assert/strict";
import { test } from "node:test";
import { reasonIn } from "./explain.ts";

test("a reason is found however it was pasted", () => {
  assert.equal(reasonIn("ELEVATION_REQUIRED"), "ELEVATION_REQUIRED");
  assert.equal(reasonIn("elevation_required"), "ELEVATION_REQUIRED");
  assert.equal(reasonIn("REASON_ELEVATION_EXPIRED"), "ELEVATION_EXPIRED");
  assert.equal(reasonIn("REASON_REQUIRED"), "REASON_REQUIRED");
  assert.equal(reasonIn("ERROR:\n  Code: PermissionDenied\n  Message: GRANT_EXPIRED: the grant ended (decision dec_0)"), "GRANT_EXPIRED");
  assert.equal(reasonIn("Error: 7 PERMISSION_DENIED: NOT_ELIGIBLE: nothing would permit it"), "NOT_ELIGIBLE");
});

test("words that are no reason explain nothing", () => {
  assert.equal(reasonIn("14 UNAVAILABLE: connection refused"), undefined);
  assert.equal(reasonIn(""), undefined);
});
