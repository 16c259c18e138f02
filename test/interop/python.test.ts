// Python's grpcio, without any Brevet library: refused with a message that says what to run; after the approval the same call succeeds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { APPROVER, CALLER, REFUND, Scene } from "../scene.ts";
import { requirePeer, runPeer } from "./peer.ts";

const python = process.env.BREVET_PYTHON ?? "python3";
const script = fileURLToPath(new URL("refund.py", import.meta.url));
const protos = fileURLToPath(new URL("../../examples/ledger/proto", import.meta.url));

interface Answer {
  readonly ok: boolean;
  readonly code?: string;
  readonly message?: string;
  readonly details?: number;
  readonly refunded?: number;
}

test("grpcio is told what to run, and the same call succeeds after the approval", async (t) => {
  if (!requirePeer(t, python, ["-c", "import grpc, grpc_tools"], "install grpcio and grpcio-tools, or set BREVET_PYTHON")) return;
  await using scene = await Scene.open();
  const TOKEN = await scene.token("user:sam@acme.test", "payments-prod", ["group:support"]);
  const call = async (environment: NodeJS.ProcessEnv): Promise<Answer> => {
    const finished = await runPeer(python, [script, scene.address, scene.charge, "1250", protos], environment);
    assert.equal(finished.status, 0, finished.stderr);
    return JSON.parse(finished.stdout) as Answer;
  };

  const anonymous = await call({ TOKEN: "" });
  assert.deepEqual([anonymous.ok, anonymous.code], [false, "UNAUTHENTICATED"]);
  assert.match(anonymous.message ?? "", /^IDENTITY_MISSING: /);
  assert.doesNotMatch(anonymous.message ?? "", /refund-operator/, "nothing of the policy before identity");

  const refused = await call({ TOKEN });
  assert.deepEqual([refused.ok, refused.code], [false, "PERMISSION_DENIED"]);
  assert.match(
    refused.message ?? "",
    /^ELEVATION_REQUIRED: payments\.v1\.Ledger\/Refund .*refund-operator.* brevet request payments\.v1\.Ledger\/Refund .*dec_[0-9A-Z]{26}/s,
  );
  assert.ok((refused.details ?? 0) > 100 && (refused.details ?? 0) < 4096, `details: ${refused.details} bytes`);

  // The command that the message names runs as it stands, but for the reason, which is the caller's to give.
  const command = /brevet (request \S+(?: --\S+ \S+)*)/.exec(refused.message ?? "")?.[1]?.split(" ") ?? [];
  assert.deepEqual(command.slice(0, 2), ["request", REFUND]);
  const reason = command.indexOf("--reason");
  if (reason !== -1) command.splice(reason, 2);
  const asked = await scene.brevet(...command, "--reason", "OPS-7 charged twice", ...CALLER);
  const pending = await call({ TOKEN });
  assert.match(pending.message ?? "", /^ELEVATION_PENDING: /);
  await scene.brevet("approve", String(asked.id), ...APPROVER);

  assert.deepEqual(await call({ TOKEN }), { ok: true, refunded: 1250 });
  await scene.brevet("end", String(asked.id), ...CALLER);
  const ended = await call({ TOKEN });
  assert.match(ended.message ?? "", /^ELEVATION_ENDED: /);
});
