// What may say something about people or their data is sealed in the log, opened for whom it concerns, and can be erased.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { keysOfJwks, verifyGrant } from "@brevet/protocol";
import {
  type Elevation,
  ElevationSchema,
  ElevationServiceApproveRequestSchema,
  ElevationServiceIssueGrantRequestSchema,
  ElevationServiceListRequestSchema,
  ElevationServiceStartRequestSchema,
} from "@brevet/protocol/brevet/v1/elevation";
import { KeyRetiredSchema, OpeningsErasedSchema } from "@brevet/protocol/brevet/v1/log";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { granted, ISSUER, inDirectory, TestAuthority } from "./testdata/authority.ts";
import { AUDIENCE, compiled, METHOD, MIGRATE, MINUTE, POLICY, START } from "./testdata/world.ts";

const payload = new TextEncoder().encode("the one request");
const payloadDigest = new Uint8Array(createHash("sha256").update(payload).digest());
const CONDITION = "principal.kind == 'user'";
const WITH_CONDITION = POLICY.replace(
  '    requesters: ["user:sam@test"]\n',
  `    requesters: ["user:sam@test"]\n    condition: ${CONDITION}\n`,
);
const own = { audience: "", actor: "", requestId: "", elevation: "" } as const;

async function asked(authority: TestAuthority, run = "run-7"): Promise<Elevation> {
  const ask = { method: MIGRATE, entitlement: "migrate", payload, payloadDigest, run } as const;
  return granted(await authority.request("user:sam@test", ask)).elevation;
}

async function approved(authority: TestAuthority): Promise<Elevation> {
  const { id } = await asked(authority);
  authority.waiting.add(id);
  const message = create(ElevationServiceApproveRequestSchema, { id, requestId: authority.requestId(), payloadDigest });
  return granted(await authority.elevations.approve(authority.caller("user:ana@test"), message));
}

const erase = (authority: TestAuthority, commitment: Uint8Array | undefined) =>
  authority.log.write(async (tx) => {
    const value = create(OpeningsErasedSchema, { commitments: [commitment ?? assert.fail("nothing to erase")] });
    tx.append({ ...own, event: { case: "openingsErased", value } });
  });

const issue = (authority: TestAuthority, id: string) =>
  authority.elevations.issueGrant(
    authority.caller("user:sam@test"),
    create(ElevationServiceIssueGrantRequestSchema, { id, requestId: authority.requestId() }),
  );

const use = (authority: TestAuthority, id: string, init: MessageInitShape<typeof ElevationServiceStartRequestSchema> = {}) =>
  authority.elevations.start(
    authority.caller("workload:guard"),
    create(ElevationServiceStartRequestSchema, { id, requestId: authority.requestId(), ...init }),
  );

async function withAuthority(run: (authority: TestAuthority) => Promise<void>): Promise<void> {
  await inDirectory(async (directory) => {
    await using authority = await TestAuthority.start(directory);
    await authority.apply(WITH_CONDITION);
    await run(authority);
  });
}

test("the log has condition, run, digest and payload as commitments only", () =>
  withAuthority(async (authority) => {
    const { id } = await asked(authority);
    const records = await authority.log.store.entries(0n, { elevation: id });
    const bytes = Buffer.concat(records.map(({ entry }) => entry));
    for (const secret of [CONDITION, "run-7", payloadDigest, payload].map((each) => Buffer.from(each)))
      assert.equal(bytes.indexOf(secret), -1);
    const stored = await authority.log.store.elevation(id);
    assert.deepEqual([stored?.condition?.text, stored?.run?.text, stored?.payloadDigest?.value.length], ["", "", 0]);
  }));

test("the payload is shown to the requester and to whoever may vote now, one at a time", () =>
  withAuthority(async (authority) => {
    const shown = await asked(authority);
    assert.deepEqual([shown.condition?.text, shown.run?.text], [CONDITION, "run-7"]);
    assert.deepEqual([shown.payloadDigest?.value, shown.payload?.value], [payloadDigest, payload]);
    const get = async (who: string) => granted(await authority.readable.get(authority.caller(who), shown.id));
    assert.deepEqual((await get("user:ana@test")).payload?.value, payload);
    assert.deepEqual((await get("user:audit@test")).payload?.value, new Uint8Array(), "an auditor does not vote");
    assert.deepEqual((await get("user:audit@test")).payloadDigest?.value, payloadDigest);
    const page = granted(await authority.readable.list(authority.caller("user:ana@test"), create(ElevationServiceListRequestSchema)));
    assert.deepEqual(page.elevations[0]?.payload?.value, new Uint8Array(), "lists stay small");
  }));

test("a guard is shown what calls have to meet, and neither run nor payload", () =>
  withAuthority(async (authority) => {
    const { id } = await approved(authority);
    const shown = granted(await use(authority, id));
    assert.deepEqual([shown.condition?.text, shown.payloadDigest?.value], [CONDITION, payloadDigest]);
    assert.deepEqual([shown.run, shown.payload], [undefined, undefined]);
  }));

test("the same question is found by what is sealed, and another run asks anew", () =>
  withAuthority(async (authority) => {
    const { id } = await asked(authority);
    assert.equal((await asked(authority)).id, id);
    assert.notEqual((await asked(authority, "run-8")).id, id);
  }));

test("a grant says entitlement, condition and digest as they were approved", () =>
  withAuthority(async (authority) => {
    const { id } = await approved(authority);
    const { grant } = granted(await issue(authority, id));
    const keys = keysOfJwks(await authority.grants.jwks());
    const check = verifyGrant(grant, { keys, issuer: ISSUER, audience: AUDIENCE, nowMs: START + 1, errorMs: 0 });
    assert.ok(check.ok);
    const [detail] = check.claims.authorization_details;
    assert.deepEqual(
      [detail.entitlement, detail.condition, detail.payload],
      ["migrate", CONDITION, Buffer.from(payloadDigest).toString("base64url")],
    );
  }));

test("the longest condition and many methods fit into one grant", () =>
  withAuthority(async ({ grants }) => {
    const condition = `principal.kind == 'user' && principal.name != '${'"'.repeat(900)}${"x".repeat(1050)}'`;
    assert.ok(condition.length <= 2000);
    const methods = Array.from({ length: 200 }, (_, i) => `payments.v1.Ledger/Method${i}`);
    const window = { windowStart: timestampFromMs(START), windowEnd: timestampFromMs(START + MINUTE) };
    const elevation = create(ElevationSchema, { id: "elv_1", audience: AUDIENCE, entitlement: "wide", method: METHOD, methods, ...window });
    const facts = {
      elevation,
      grant: "gnt_1",
      principal: "user:sam@test",
      issuedMs: START,
      key: new Uint8Array(32),
      payload: payloadDigest,
    };
    const signer = await grants.signer();
    for (const each of [condition, ""]) assert.ok(grants.sign({ ...facts, condition: each }, signer).length <= 8192);
  }));

test("once its digest is erased, a bound approval neither starts nor is granted", () =>
  withAuthority(async (authority) => {
    const { id, payloadDigest: sealed } = await approved(authority);
    await erase(authority, sealed?.commitment);
    const used = await use(authority, id, { payloadDigest });
    assert.equal(used.ok ? "" : used.denial.reason, "GRANT_PAYLOAD_MISMATCH");
    const grant = await issue(authority, id);
    assert.equal(grant.ok ? "" : grant.denial.reason, "GRANT_PAYLOAD_MISMATCH");
  }));

test("once its condition is erased, no grant is issued, and none is logged", () =>
  withAuthority(async (authority) => {
    const { id, condition } = await approved(authority);
    await erase(authority, condition?.commitment);
    const before = authority.log.position().revision;
    const grant = await issue(authority, id);
    assert.equal(grant.ok ? "" : grant.denial.reason, "POLICY_MISCONFIGURED");
    assert.equal(authority.log.position().revision, before);
  }));

test("a retired key verifies for 15 minutes, a revoked one not at all", () =>
  withAuthority(async (authority) => {
    const kids = async () => [...keysOfJwks(await authority.grants.jwks()).keys()];
    const { kid } = await authority.grants.signer();
    const retire = (revoked: boolean) =>
      authority.log.write(async (tx) =>
        tx.append({ ...own, event: { case: "keyRetired", value: create(KeyRetiredSchema, { kid, revoked }) } }),
      );
    await retire(false);
    assert.deepEqual(await kids(), [kid]);
    await assert.rejects(authority.grants.signer(), /no key/);
    authority.clock.turn(15 * MINUTE - 1);
    assert.deepEqual(await kids(), [kid]);
    authority.clock.turn(1);
    assert.deepEqual(await kids(), []);
    const stored = (await authority.log.store.keys()).find((key) => key.kid === kid);
    assert.deepEqual([stored?.retired, stored?.retiredMs, stored?.revoked], [true, START, false]);
  }));

test("a key that is revoked goes at once, also after it was retired", () =>
  withAuthority(async (authority) => {
    const { kid } = await authority.grants.signer();
    for (const revoked of [false, true]) {
      const value = create(KeyRetiredSchema, { kid, revoked });
      await authority.log.write(async (tx) => tx.append({ ...own, event: { case: "keyRetired", value } }));
    }
    assert.equal(keysOfJwks(await authority.grants.jwks()).size, 0);
  }));

test("without an audience, the only one that knows the caller and lists the method is meant", () =>
  withAuthority(async (authority) => {
    const elevation = granted(await authority.request("user:rita@test", { audience: "" })).elevation;
    assert.equal(elevation.audience, AUDIENCE);
    const again = { audience: "", requestId: "request-again", run: "again" };
    const { id } = granted(await authority.request("user:rita@test", again)).elevation;
    assert.equal(granted(await authority.request("user:rita@test", again)).elevation.id, id, "a repeat is found");
    const refusal = async (method: string) => {
      const answer = await authority.request("user:rita@test", { audience: "", method });
      return answer.ok ? undefined : answer.denial;
    };
    const unlisted = await refusal("payments.v1.Other/Refund");
    assert.equal(unlisted?.reason, "NOT_ELIGIBLE");
    assert.match(unlisted.message, /payments\.v1\.Other\/Refund/);
    assert.equal((await refusal("nonsense"))?.reason, "REQUEST_INVALID");
    authority.others.set("payments-other", {
      policy: compiled(POLICY.replaceAll(AUDIENCE, "payments-other")),
      version: 1n,
    });
    const several = await refusal(METHOD);
    assert.equal(several?.reason, "REQUEST_INVALID");
    assert.match(several.message, /payments-other, payments-test/);
    authority.strangers.add("user:nobody@test");
    const stranger = await authority.request("user:nobody@test", { audience: "" });
    assert.equal(stranger.ok ? "" : stranger.denial.reason, "NOT_ELIGIBLE");
  }));
