// Who reads a decision, and what they are told: both halves, where they differ, what would have helped; and to others it does not exist.
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeDenial, GrpcCode, newId } from "@brevet/protocol";
import { ElevationRequiredSchema } from "@brevet/protocol/brevet/v1/error";
import { Reason } from "@brevet/protocol/brevet/v1/reason";
import { startTestAuthority, type TestAuthority } from "@brevet/testing";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { link } from "../testdata/guard.ts";
import { AUDIENCE, clients, policyText, REFUND, refusal, requestId, transport } from "../testdata/scene.ts";

const SAM = "user:sam@test";
const as = async (authority: TestAuthority, principal: string) => clients(transport(authority.url, await authority.token(principal)));

/** A guard that refused sam, and somebody without an identity. */
async function scene() {
  const authority = await startTestAuthority({ policy: policyText() });
  const [decisionId, nobodys] = [newId("dec"), newId("dec")];
  const offer = create(ElevationRequiredSchema, {
    entitlements: [{ entitlement: "refund", approvals: 1 }],
    method: REFUND,
    audience: AUDIENCE,
  });
  const { details } = encodeDenial({ reason: "ELEVATION_REQUIRED", message: "needs one", metadata: { decisionId, method: REFUND }, offer });
  const guard = await link(authority, { instance: "gud_1" });
  await guard.present();
  const time = timestampFromMs(Date.now());
  const seen = { method: REFUND, time, lastTime: time, count: 1n, policyVersion: 1n };
  const sams = {
    ...seen,
    decisionId,
    principal: SAM,
    reason: Reason.ELEVATION_REQUIRED,
    status: details,
    headersSeen: ["authorization", "user-agent"],
  };
  const anybodys = {
    ...seen,
    decisionId: nobodys,
    reason: Reason.IDENTITY_MISSING,
    headersSeen: ["user-agent"],
    deadline: durationFromMs(900),
  };
  guard.say({ case: "decisions", value: { decisions: [sams, anybodys], sequence: 1n } });
  await guard.until(({ message }) => message.case === "decisionsTaken");
  const explain = async (who: string, id = decisionId) =>
    (await as(authority, who)).policies.explain({ subject: { case: "decisionId", value: id } });
  return { authority, decisionId, nobodys, explain, [Symbol.asyncDispose]: () => (guard.abort.abort(), authority[Symbol.asyncDispose]()) };
}

test("whoever was refused, could have approved, or has a role reads it; to others it does not exist", async () => {
  await using at = await scene();
  for (const who of [SAM, "user:ana@test", "user:admin@test", "user:audit@test"]) {
    const { decision, reason, permitted } = await at.explain(who);
    assert.deepEqual(
      [decision?.decisionId, reason, permitted, decision?.guard?.name],
      [at.decisionId, Reason.ELEVATION_REQUIRED, false, `workload:guard-${AUDIENCE}`],
    );
  }
  const denied = await refusal(at.explain("user:rita@test"));
  const unknown = await refusal(at.explain("user:rita@test", newId("dec")));
  assert.equal(denied.reason, "NOT_FOUND");
  const plain = (text: string) => text.replaceAll(/dec_[0-9A-Z]{26}/g, "dec");
  assert.equal(plain(denied.message), plain(unknown.message), "as one that there is not");
  for (const who of [SAM, "user:ana@test"]) assert.equal((await refusal(at.explain(who, at.nobodys))).reason, "NOT_FOUND");
  assert.equal((await at.explain("user:audit@test", at.nobodys)).reason, Reason.IDENTITY_MISSING);
});

test("it is explained with the rule, the nearest miss and the remedy, and says that the caller's half was not reported", async () => {
  await using at = await scene();
  const { matchedRule, nearestMiss, remedy, explanation, caller, differences } = await at.explain(SAM);
  assert.equal(matchedRule, "services.payments.v1.Ledger.methods.Refund (elevated)");
  assert.equal(nearestMiss, "would be permitted with entitlement refund, 1 approval by group:oncall");
  assert.match(remedy, new RegExp(`brevet request ${REFUND} `));
  assert.match(explanation, /^ELEVATION_REQUIRED: needs one/);
  assert.deepEqual([caller, differences], [undefined, []]);
});

test("a report is joined to one's own decision, its differences are said, and another's report changes nothing", async () => {
  await using at = await scene();
  const report = {
    decisionId: at.decisionId,
    audience: AUDIENCE,
    code: GrpcCode.UNAVAILABLE,
    reason: "",
    method: REFUND,
    headersSent: ["authorization", "brevet-grant"],
    callerTime: timestampFromMs(Date.now() + 45_000),
    deadline: durationFromMs(2000),
  };
  await (await as(at.authority, "user:rita@test")).elevations.report({ reports: [{ ...report, code: 0 }] });
  assert.equal((await at.explain(SAM)).caller, undefined);
  await (await as(at.authority, SAM)).elevations.report({ reports: [report, { decisionId: "not one" }] });
  const { caller, differences } = await at.explain("user:audit@test");
  assert.deepEqual(caller?.headersSent, report.headersSent);
  const said = differences.join("\n");
  for (const part of [
    /guard sent PERMISSION_DENIED, the caller received UNAVAILABLE/,
    /brevet-grant was sent and did not arrive/,
    /caller's clock is 4\ds ahead/,
    /no deadline arrived/,
  ])
    assert.match(said, part);
  assert.doesNotMatch(said, /authorization/);
});

test("a call whose identity got lost is explained to whoever reported it", async () => {
  await using at = await scene();
  const report = {
    decisionId: at.nobodys,
    audience: AUDIENCE,
    code: 16,
    reason: "IDENTITY_MISSING",
    method: REFUND,
    headersSent: ["authorization"],
  };
  const sam = await as(at.authority, SAM);
  await sam.elevations.report({ reports: [report] });
  const { decision, differences } = await at.explain(SAM, at.nobodys);
  assert.deepEqual(decision?.headersSeen, ["user-agent"]);
  assert.match(differences.join("\n"), /authorization was sent and did not arrive/);
  const elsewhere = { ...report, decisionId: newId("dec") };
  await sam.elevations.report({ reports: [elsewhere] });
  const alone = await at.explain(SAM, elsewhere.decisionId);
  assert.deepEqual([alone.decision, alone.caller?.method, alone.reason], [undefined, REFUND, Reason.IDENTITY_MISSING]);
});

test("a request for an elevation brings the caller's half of the refusal along", async () => {
  await using at = await scene();
  const report = { decisionId: at.decisionId, audience: AUDIENCE, code: 7, reason: "ELEVATION_REQUIRED", method: REFUND };
  await (await as(at.authority, SAM)).elevations.request({ requestId: requestId(), method: REFUND, report });
  assert.equal((await at.explain(SAM)).caller?.reason, "ELEVATION_REQUIRED");
});

test("lists hold what the reader may read, and what is not kept is counted for roles only", async () => {
  await using at = await scene();
  const list = async (who: string, more = {}) => {
    const { decisions, dropped } = await (await as(at.authority, who)).policies.listDecisions({ audience: AUDIENCE, ...more });
    return [decisions.map(({ decisionId }) => decisionId), dropped];
  };
  assert.deepEqual(await list(SAM), [[at.decisionId], 0n]);
  assert.deepEqual(await list("user:audit@test"), [[at.nobodys, at.decisionId], 0n]);
  assert.deepEqual(await list("user:audit@test", { reason: Reason.IDENTITY_MISSING }), [[at.nobodys], 0n]);
  assert.deepEqual(await list("user:rita@test"), [[], 0n]);
  assert.deepEqual(await list(SAM, { startTime: timestampFromMs(Date.now() + 1000) }), [[], 0n]);
  assert.equal((await refusal((await as(at.authority, SAM)).policies.listDecisions({}))).reason, "REQUEST_INVALID");
});

test("a call that was not made is judged as a guard would judge it now", async () => {
  await using at = await scene();
  const sam = await as(at.authority, SAM);
  const call = (more = {}) => ({ subject: { case: "call" as const, value: { audience: AUDIENCE, method: REFUND, ...more } } });
  const before = await sam.policies.explain(call());
  assert.deepEqual([before.permitted, before.reason], [false, Reason.ELEVATION_REQUIRED]);
  assert.match(before.nearestMiss, /entitlement refund, 1 approval by group:oncall/);
  const { elevation } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
  const id = elevation?.id ?? "";
  assert.match((await sam.policies.explain(call())).nearestMiss, new RegExp(`once ${id} is approved`));
  await (await as(at.authority, "user:ana@test")).elevations.approve({ requestId: requestId(), id });
  const after = await sam.policies.explain(call());
  assert.deepEqual([after.permitted, after.nearestMiss], [true, ""]);
  assert.match(after.explanation, new RegExp(id));
  const audit = await as(at.authority, "user:audit@test");
  assert.equal((await audit.policies.explain(call({ principal: SAM }))).permitted, true);
  assert.equal((await refusal(sam.policies.explain(call({ principal: "user:rita@test" })))).reason, "ROLE_REQUIRED");
  assert.equal((await refusal(sam.policies.explain(call({ audience: "nowhere" })))).reason, "NOT_FOUND");
  assert.equal((await refusal(sam.policies.explain(call({ requestJson: "{}" })))).fieldViolations[0]?.field, "call.request_json");
  assert.equal((await sam.policies.explain(call({ method: "payments.v1.Ledger/Nope" }))).reason, Reason.METHOD_FORBIDDEN);
});
