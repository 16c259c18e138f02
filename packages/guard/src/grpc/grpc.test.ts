import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
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

test("the guard's line and the caller's error have the same decision id", async () => {
  await using at = await scene();
  const refused = await at.service.call("Refund", {
    authorization: await at.as(),
    traceparent: `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`,
  });
  const { decisionId } = refused.status.metadata;
  const line = at.lines.find((fields) => fields.decisionId === decisionId);
  assert.equal(line?.reason, "ELEVATION_REQUIRED");
  assert.equal(line?.traceId, "ab".repeat(16));
  await at.authority.until(() => at.authority.decisions.some(({ decisions }) => decisions.some((one) => one.decisionId === decisionId)));
});

test("every state of an elevation is refused under its own reason", async () => {
  const reasons = {
    PENDING: "ELEVATION_PENDING",
    DENIED: "ELEVATION_DENIED",
    WITHDRAWN: "ELEVATION_WITHDRAWN",
    LAPSED: "ELEVATION_LAPSED",
    EXPIRED: "ELEVATION_EXPIRED",
    ENDED: "ELEVATION_ENDED",
    REVOKED: "ELEVATION_REVOKED",
  } as const;
  await using at = await scene();
  for (const [state, reason] of Object.entries(reasons)) {
    at.authority.elevate({ id: "elv_a", state: ElevationState[state as keyof typeof reasons] });
    await at.authority.settled();
    const refused = await at.service.call("Refund", { authorization: await at.as() });
    assert.equal(refused.status.reason, reason);
    assert.equal(refused.status.metadata.elevation, "elv_a");
    assert.match(refused.message, /elv_a/);
  }
  assert.equal(at.service.handled.length, 0);
});
