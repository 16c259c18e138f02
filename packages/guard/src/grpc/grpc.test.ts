import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { scene } from "../testdata/scene.ts";

test("a call without an elevation is refused with an offer, and with one it runs", async () => {
  await using at = await scene();
  const { authority, service } = at;
  const authorization = await at.as();
  const refused = await service.call("Refund", { authorization });
  assert.equal(refused.code, status.PERMISSION_DENIED);
  assert.equal(refused.status.reason, "ELEVATION_REQUIRED");
  assert.match(refused.message, /^ELEVATION_REQUIRED: test\.v1\.Ledger\/Refund needs an approved elevation \(refunds, 1 approval/);
  assert.match(
    refused.message,
    /Run: brevet request test\.v1\.Ledger\/Refund --for 15m {2}or open https:\/\/brevet\.test\/r\/refunds \(decision dec_/,
  );
  assert.equal(refused.status.offer?.entitlements[0]?.entitlement, "refunds");
  assert.deepEqual(refused.trailers.get("grpc-retry-pushback-ms"), ["-1"]);
  authority.elevate();
  await authority.settled();
  const run = await service.call("Refund", { authorization });
  assert.equal(run.code, status.OK);
  assert.ok(Number(run.trailers.get("brevet-window-ends")[0]) > 3500);
  assert.equal(service.handled.length, 1);
});
