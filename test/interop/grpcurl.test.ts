// Go's grpcurl (grpc-go), without any Brevet library: sees the refusal with its details decoded through reflection; then the same call succeeds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { APPROVER, CALLER, REFUND, Scene } from "../scene.ts";
import { requirePeer, runPeer } from "./peer.ts";

test("grpcurl shows why and what to do, and the same call succeeds after the approval", async (t) => {
  if (!requirePeer(t, "grpcurl", ["-version"], "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3")) return;
  await using scene = await Scene.open();
  const token = await scene.token("user:sam@acme.test", "payments-prod", ["group:support"]);
  const body = JSON.stringify({ charge: scene.charge, amount_cents: 1250, currency: "EUR" });
  const call = () => runPeer("grpcurl", ["-plaintext", "-H", `authorization: Bearer ${token}`, "-d", body, scene.address, REFUND]);

  const listed = await runPeer("grpcurl", ["-plaintext", scene.address, "list"]);
  assert.match(listed.stdout, /payments\.v1\.Ledger/);

  const refused = await call();
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /Code: PermissionDenied/);
  assert.match(refused.stderr, /Message: ELEVATION_REQUIRED: .*brevet request payments\.v1\.Ledger\/Refund/);
  assert.match(refused.stderr, /google\.rpc\.ErrorInfo[\s\S]*"reason":\s*"ELEVATION_REQUIRED"/, "details are decoded, not base64");
  assert.match(refused.stderr, /brevet\.v1\.ElevationRequired[\s\S]*"entitlement":\s*"refund-operator"/);
  assert.ok(!refused.stderr.includes(token));

  const asked = await scene.brevet("request", REFUND, "--for", "5m", "--reason", "OPS-7 charged twice", ...CALLER);
  await scene.brevet("approve", String(asked.id), ...APPROVER);
  const permitted = await call();
  assert.equal(permitted.status, 0, permitted.stderr);
  assert.match(permitted.stdout, /"amountCents":\s*"1250"/);

  await scene.brevet("revoke", String(asked.id), "--comment", "enough", ...APPROVER);
  const revoked = await call();
  assert.match(revoked.stderr, /Message: ELEVATION_REVOKED: /);
});
