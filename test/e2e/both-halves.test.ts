// A refusal is logged on both sides under one decision id, the same field for field, and `brevet explain` shows both halves and what would have helped.
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { credentials, InterceptingCall, type Interceptor, Metadata, type ServiceError } from "@grpc/grpc-js";
import { LedgerClient } from "../../examples/ledger/src/calls.ts";
import { RefundRequestSchema } from "../../examples/ledger/src/gen/payments/v1/ledger_pb.ts";
import { elevate, readError } from "../../packages/client/src/grpc/grpc.ts";
import { APPROVER, AUDITOR, CALLER, REFUND, Scene, told } from "../scene.ts";

const inThirtySeconds: Interceptor = (options, next) => new InterceptingCall(next({ ...options, deadline: Date.now() + 30_000 }));
const TRACE = "ab".repeat(16);

/** The guard's line of a decision, when it is there. */
async function lineOf(scene: Scene, decision: string): Promise<Record<string, unknown>> {
  for (let i = 0; ; i += 1) {
    const line = scene.ledger.log.find((text) => text.includes(decision));
    if (line !== undefined) return JSON.parse(line) as Record<string, unknown>;
    assert.ok(i < 200, `the guard logged nothing of ${decision}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** `brevet explain`, until both halves have arrived. */
async function explained(scene: Scene, id: string, who: readonly string[], has: RegExp): Promise<string> {
  for (let i = 0; ; i += 1) {
    const finished = await scene.stage.brevet(["explain", id, ...who]);
    if (finished.status === 0 && has.test(finished.stdout)) return finished.stdout;
    assert.ok(i < 20, told(finished));
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

test("both sides log one refusal alike, and explain shows both halves", { timeout: 60_000 }, async () => {
  await using scene = await Scene.open();
  const lines: { fields: Record<string, unknown>; message: string }[] = [];
  const write = (fields: object, message: string): void => void lines.push({ fields: { ...fields }, message });
  const principal = "user:eve@acme.test";
  const identity = (audience: string) => scene.token(principal, audience);
  const options = { authority: scene.url, audience: "payments-prod", identity, logger: { info: write, warn: write } };
  const client = new LedgerClient(scene.address, credentials.createInsecure(), { interceptors: [inThirtySeconds, elevate(options)] });
  const metadata = new Metadata();
  metadata.set("traceparent", `00-${TRACE}-${"cd".repeat(8)}-01`);
  const request = create(RefundRequestSchema, { charge: scene.charge, amountCents: 1n, currency: "EUR" });
  const error = await new Promise<ServiceError | null>((resolve) => client.refund(request, metadata, (failed) => resolve(failed)));
  assert.ok(error);
  const { reason, metadata: facts } = readError(error);
  assert.equal(reason, "NOT_ELIGIBLE");
  const id = facts.decisionId ?? "";

  const guards = await lineOf(scene, id);
  const [callers] = lines;
  for (const field of ["decisionId", "reason", "method", "audience", "principal", "traceId"])
    assert.deepEqual(callers?.fields[field], guards[field], field);
  assert.equal(guards.traceId, TRACE);
  const status = guards.status as { code: string; message: string };
  assert.deepEqual([status.code, status.message], ["PERMISSION_DENIED", callers?.message]);
  const [left, gave] = [Number(guards.deadlineMs), Number(callers?.fields.deadlineMs)];
  assert.ok(left <= gave && left > 0 && gave <= 30_000, `${left} of ${gave}`);

  // Nothing more is called: the half goes by itself.
  const text = await explained(scene, id, ["--as", principal], /metadata sent/);
  assert.match(text, /NOT_ELIGIBLE \(PERMISSION_DENIED\)/);
  assert.match(text, /Rule: services\.payments\.v1\.Ledger\.methods\.Refund \(elevated\)/);
  assert.match(text, /Nearest miss: no entitlement lets this caller ask for it/);
  assert.match(text, new RegExp(`trace +${TRACE}`));
  assert.doesNotMatch(text, /Where they differ/);
  assert.match(
    await explained(scene, id, AUDITOR, /metadata sent/),
    /Nearest miss: entitlement refund-operator, 1 approval by group:payments-oncall/,
  );
  const stranger = await scene.stage.brevet(["explain", id, "--as", "user:someone@acme.test"]);
  assert.deepEqual([stranger.status, stranger.stderr.startsWith("NOT_FOUND: ")], [1, true], told(stranger));
  client.close();
});

test("a decision outlives the authority, a pasted error is explained with it, and a call can be explained before it is made", {
  timeout: 60_000,
}, async () => {
  await using scene = await Scene.open();
  const refund = ["refund", "--charge", scene.charge, "--amount", "100", "--currency", "EUR", "--address", scene.address, ...CALLER];
  const { stderr } = await scene.stage.caller(refund);
  const id = /dec_[0-9A-Z]{26}/.exec(stderr)?.[0] ?? "";
  await explained(scene, id, CALLER, /Guard's half/);
  await scene.stage.stop(scene.authority, "SIGKILL");
  const { port } = new URL(scene.url);
  await scene.stage.serve(["--dev", "--data", `${scene.data}/authority`, "--listen", `127.0.0.1:${port}`, "--admin-listen", "off"]);
  const pasted = await explained(scene, stderr.trim(), CALLER, /Guard's half/);
  assert.match(pasted, /Nearest miss: would be permitted with entitlement refund-operator, 1 approval by group:payments-oncall/);
  assert.match(pasted, new RegExp(`brevet request ${REFUND} --for 15m`));
  assert.match(pasted, /Caller's half:\n +not reported/);
  const before = await scene.stage.brevet(["explain", REFUND, "--audience", "payments-prod", ...CALLER]);
  assert.match(before.stdout, /^Refused: ELEVATION_REQUIRED\n/, told(before));
  const forbidden = await scene.stage.brevet(["explain", "payments.v1.Ledger/Nope", "--audience", "payments-prod", ...APPROVER]);
  assert.match(forbidden.stdout, /^Refused: METHOD_FORBIDDEN\n/, told(forbidden));
});
