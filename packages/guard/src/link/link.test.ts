import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { generateSigningKey } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { guard } from "../grpc/grpc.ts";
import { GUARD_TOKEN, TestAuthority } from "../testdata/authority.ts";
import { AUDIENCE, DESCRIPTORS, makeKeys, POLICY } from "../testdata/facts.ts";
import { scene } from "../testdata/scene.ts";

const silent = { info() {}, warn() {}, error() {} };

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await wait(5);
}

test("a broken link is resumed behind what the guard has, and the state stays in use meanwhile", async () => {
  await using at = await scene();
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  const { port, keys, revision } = at.authority;
  await at.authority.stop();
  await until(() => !at.guard.status().connected);
  assert.equal(at.guard.status().elevations, 1);
  assert.match(at.guard.status().problem ?? "", /start the authority/);
  await using again = await TestAuthority.start({ policy: POLICY, descriptors: DESCRIPTORS, port, keys });
  again.revision = revision;
  const revoked = again.make({ id: "elv_a", state: ElevationState.REVOKED });
  again.elevations.set("elv_a", revoked);
  await until(() => at.guard.status().connected);
  await again.settled();
  assert.equal(again.hellos[0]?.after?.revision, revision);
  assert.equal(again.hellos[0]?.instance, at.authority.hellos[0]?.instance);
  assert.equal((await at.service.call("Refund", { authorization: await at.as() })).status.reason, "ELEVATION_REVOKED");
});

test("after a restore the guard forgets all that the new epoch does not have", async () => {
  await using at = await scene();
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  const { port, keys } = at.authority;
  await at.authority.stop();
  await using restored = await TestAuthority.start({ policy: POLICY, descriptors: DESCRIPTORS, port, keys });
  restored.epoch = "epo_2";
  restored.revision = 3n;
  await until(() => at.guard.status().epoch === "epo_2");
  assert.equal(at.guard.status().elevations, 0);
  assert.equal(at.guard.status().revision, 3n);
  assert.equal((await at.service.call("Refund", { authorization: await at.as() })).status.reason, "ELEVATION_REQUIRED");
});

test("an acknowledgement says what is enforced: the revision, the policy, the clock", async () => {
  await using at = await scene({ offsetMs: 3_600_000 });
  at.authority.applyPolicy(POLICY.replace("Ping: { access: open }", "Ping: { access: forbidden }"));
  const { revision } = at.authority;
  await at.authority.until(() => at.authority.acknowledgements.some(({ policyVersion }) => policyVersion === 2n));
  const last = at.authority.acknowledgements.at(-1);
  assert.equal(last?.position?.revision, revision);
  assert.ok(Math.abs(Number(last?.clockOffset?.seconds ?? 0) - 3600) <= 1);
  assert.ok(Number(last?.clockError?.seconds) < 1);
  assert.equal((await at.service.call("Ping", { authorization: await at.as() })).status.reason, "METHOD_FORBIDDEN");
});

test("a policy that this guard cannot read refuses everything until a readable one comes", async () => {
  await using at = await scene();
  at.authority.applyPolicy("apiVersion: brevet.dev/v9\naudience: payments-test\n");
  await until(() => !at.guard.status().ready);
  const refused = await at.service.call("Ping");
  assert.equal(refused.status.reason, "POLICY_MISCONFIGURED");
  assert.ok(at.lines.some(({ message }) => /cannot enforce the policy/.test(String(message))));
  at.authority.applyPolicy(POLICY);
  await until(() => at.guard.status().ready);
  assert.equal((await at.service.call("Ping")).code, 0);
});

test("what is wrong with a policy is for the guard's operator, not for callers that nobody knows", async () => {
  await using at = await scene();
  at.authority.applyPolicy(POLICY.replace("condition: request.amount_cents <= 500", "condition: request.secret_field <= 500"));
  await until(() => !at.guard.status().ready);
  const refused = await at.service.call("Refund");
  assert.equal(refused.status.reason, "POLICY_MISCONFIGURED");
  assert.match(refused.message, /cannot enforce the newest policy/);
  assert.ok(!/secret_field/.test(refused.message + JSON.stringify(refused.status.metadata)));
  assert.match(at.guard.status().policyProblem ?? "", /secret_field/);
  assert.ok(at.lines.some(({ problem }) => /secret_field/.test(String(problem))));
  at.authority.applyPolicy(POLICY);
  await until(() => at.guard.status().ready);
  assert.equal(at.guard.status().policyProblem, undefined);
});

test("keys that change take effect, and the same keys sent again keep what was verified", async () => {
  await using at = await scene();
  const elevation = at.authority.elevate({ entitlement: "shown", methods: ["test.v1.Ledger/Shown"] });
  await at.authority.settled();
  const headers = { authorization: await at.as(), "brevet-grant": at.authority.grant(elevation) };
  assert.equal((await at.service.call("Shown", headers)).code, 0);
  at.authority.setGrantKeys([generateSigningKey()]);
  at.authority.elevate({ id: "elv_marker" });
  await at.authority.settled();
  assert.equal((await at.service.call("Shown", headers)).status.reason, "GRANT_KEY_UNKNOWN");
  at.authority.setPeopleKeys((await makeKeys()).peopleJwks);
  at.authority.elevate({ id: "elv_marker" });
  await at.authority.settled();
  assert.equal((await at.service.call("GetEntry", headers)).status.reason, "IDENTITY_SIGNATURE_INVALID");
});

test("what keeps the link down is logged once, with cause and fix", async () => {
  const lines: { cause?: string; fix?: string }[] = [];
  const logger = { ...silent, warn: (fields: object) => void lines.push(fields) };
  await using authority = await TestAuthority.start({ policy: POLICY, descriptors: DESCRIPTORS });
  let token = "wrong";
  const made = guard({ authority: authority.url, audience: AUDIENCE, identity: () => token, logger });
  await until(() => made.status().problem !== undefined);
  await wait(1200);
  assert.equal(lines.length, 1);
  assert.match(lines[0]?.cause ?? "", /who are you/);
  assert.match(lines[0]?.fix ?? "", /identity token whose audience is the authority's/);
  assert.ok(!JSON.stringify(lines).includes("wrong"));
  token = GUARD_TOKEN;
  await made.ready(AbortSignal.timeout(20_000));
  await made.close();
});

test("an identity that cannot be read is named as such", async () => {
  await using authority = await TestAuthority.start({ policy: POLICY, descriptors: DESCRIPTORS });
  const made = guard({
    authority: authority.url,
    audience: AUDIENCE,
    identity: () => Promise.reject(new Error("no such file: /var/run/token")),
    logger: silent,
  });
  await until(() => made.status().problem !== undefined);
  assert.match(made.status().problem ?? "", /no such file: \/var\/run\/token/);
  await assert.rejects(made.ready(AbortSignal.timeout(10)));
  await made.close();
  await assert.rejects(made.ready(), /closed before it was ready/);
});

test("an identity goes in plaintext to this machine only", () => {
  const options = { audience: AUDIENCE, identity: () => "", logger: silent };
  assert.throws(() => guard({ ...options, authority: "http://brevet.acme.test:7400" }), /plaintext to brevet\.acme\.test is refused/);
  assert.throws(() => guard({ ...options, authority: "brevet:7400" }), TypeError);
  assert.throws(() => guard({ ...options, audience: "brevet", authority: "https://brevet:7400" }), /own audience/);
});

test("what was decided last is reported when the guard closes", async () => {
  await using at = await scene();
  await at.service.call("Ping");
  await at.service.call("Refund", { authorization: await at.as() });
  await at.guard.close();
  const decisions = at.authority.decisions.flatMap((batch) => batch.decisions);
  assert.deepEqual(decisions.map(({ method, permitted }) => `${method} ${permitted}`).toSorted(), [
    "test.v1.Ledger/Ping true",
    "test.v1.Ledger/Refund false",
  ]);
});
