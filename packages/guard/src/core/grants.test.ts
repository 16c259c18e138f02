import assert from "node:assert/strict";
import { test } from "node:test";
import { generateSigningKey } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { grantOf, makeKeys, SAM } from "../testdata/facts.ts";
import { Known, NOON } from "../testdata/known.ts";

const keys = await makeKeys();
const SHOWN = { entitlement: "shown", methods: ["test.v1.Ledger/Shown"] } as const;

test("where the policy demands a grant, identity alone is refused, and says which elevation's grant is wanted", async () => {
  const known = new Known(keys);
  const elevation = known.elevate(SHOWN);
  const authorization = [await known.as()];
  const decision = await known.decide("Shown", { authorization });
  assert.ok(decision.kind === "refuse");
  assert.equal(decision.reason, "ELEVATION_REQUIRED");
  assert.equal(decision.facts.elevation, elevation.id);
  assert.equal(decision.facts.present, "grant");
  assert.equal(await known.outcome("Shown", { authorization, grants: [known.grant(elevation)] }), "permit");
});

test("each way that a grant can be wrong has its own reason", async () => {
  const known = new Known(keys);
  const elevation = known.elevate(SHOWN);
  const authorization = [await known.as()];
  const good = known.grant(elevation);
  const s = Math.floor(NOON / 1000);
  const [header = "", claims = "", signature = ""] = good.split(".");
  const head = (fields: object) => Buffer.from(JSON.stringify(fields)).toString("base64url");
  const other = generateSigningKey();
  const theirs = known.make({ ...SHOWN, principal: "user:eve@acme.test" });
  known.knowledge.setElevation(theirs);
  const unknown = known.make(SHOWN);
  known.revision += 1n;
  known.heard();
  const cases: [string, string][] = [
    ["GRANT_MALFORMED", "x"],
    ["GRANT_MALFORMED", `${good}=`],
    ["GRANT_ALGORITHM_REJECTED", `${head({ alg: "none", typ: "brevet-grant+jwt", kid: "k" })}.${claims}.`],
    ["GRANT_TYPE_REJECTED", `${head({ alg: "EdDSA", typ: "JWT", kid: "k" })}.${claims}.${signature}`],
    ["GRANT_KEY_UNKNOWN", grantOf(keys, NOON, elevation, {}, other)],
    ["GRANT_SIGNATURE_INVALID", `${header}.${claims}.${Buffer.alloc(64).toString("base64url")}`],
    ["GRANT_ISSUER_UNKNOWN", known.grant(elevation, { iss: "https://other.test" })],
    ["GRANT_AUDIENCE_MISMATCH", known.grant(elevation, { aud: "payments-prod" })],
    ["GRANT_EXPIRED", known.grant(elevation, { iat: s - 60, nbf: s - 60, exp: s })],
    ["GRANT_NOT_YET_VALID", known.grant(elevation, { nbf: s + 5 })],
    ["GRANT_PRINCIPAL_MISMATCH", known.grant(theirs)],
    ["GRANT_PRINCIPAL_MISMATCH", known.grant(theirs, { sub: SAM })],
    ["GRANT_PRINCIPAL_MISMATCH", known.grant(unknown)],
    ["GRANT_PRINCIPAL_MISMATCH", known.grant(elevation, { act: { sub: "workload:relay" } })],
    [
      "GRANT_SCOPE_MISMATCH",
      known.grant(elevation, {
        authorization_details: [{ type: "grpc_method", actions: ["test.v1.Ledger/Refund"], entitlement: "shown" }],
      }),
    ],
    ["GRANT_PROOF_INVALID", known.grant(elevation, { cnf: { jkt: "a" } })],
  ];
  for (const [reason, grant] of cases) {
    const decision = await known.decide("Shown", { authorization, grants: [grant], peer: reason });
    assert.ok(decision.kind === "refuse");
    assert.equal(decision.reason, reason);
    assert.ok(!JSON.stringify(decision.facts).includes(grant.slice(0, 30)) || grant.length < 30);
    assert.ok(!JSON.stringify(decision.facts).includes("user:"));
  }
});

test("one good grant among bad ones is enough, joined by commas or not", async () => {
  const known = new Known(keys);
  const elevation = known.elevate(SHOWN);
  const authorization = [await known.as()];
  const good = known.grant(elevation);
  assert.equal(await known.outcome("Shown", { authorization, grants: [`bad, ${good}`] }), "permit");
  assert.equal(await known.outcome("Shown", { authorization, grants: ["bad", good] }), "permit");
});

test("a fifth grant is not looked at", async () => {
  const known = new Known(keys);
  const elevation = known.elevate(SHOWN);
  const grants = ["a,b", "c", "d", known.grant(elevation)];
  assert.equal(await known.outcome("Shown", { authorization: [await known.as()], grants }), "GRANT_MALFORMED");
});

test("a bad grant takes nothing away from what identity alone permits", async () => {
  const known = new Known(keys);
  known.elevate();
  assert.equal(await known.outcome("Refund", { authorization: [await known.as()], grants: ["bad"] }), "permit");
});

test("a grant proves an elevation before the push arrives, until the grant's end", async () => {
  const known = new Known(keys);
  const elevation = known.make(SHOWN);
  const authorization = [await known.as()];
  const grants = [known.grant(elevation, { exp: Math.floor(NOON / 1000) + 60 })];
  assert.equal(await known.outcome("Shown", { authorization, grants }), "permit");
  known.nowMs = Math.floor(NOON / 1000) * 1000 + 60_000 - known.errorMs - 1;
  assert.equal(await known.outcome("Shown", { authorization, grants }), "permit");
  known.nowMs += 1;
  assert.equal(await known.outcome("Shown", { authorization, grants }), "GRANT_EXPIRED");
});

test("a guard past the grant's revision wants the elevation among the live ones", async () => {
  const known = new Known(keys);
  const elevation = known.make(SHOWN);
  const call = { authorization: [await known.as()], grants: [known.grant(elevation)] };
  assert.equal(await known.outcome("Shown", call), "permit");
  known.heard();
  assert.equal(await known.outcome("Shown", call), "GRANT_PRINCIPAL_MISMATCH");
});

test("a grant of the future does not bring a revoked elevation back", async () => {
  const known = new Known(keys);
  const elevation = known.elevate({ ...SHOWN, id: "elv_a" });
  known.elevate({ ...SHOWN, id: "elv_a", state: ElevationState.REVOKED });
  const grants = [known.grant(elevation, { rev: "1000" })];
  assert.equal(await known.outcome("Shown", { authorization: [await known.as()], grants }), "ELEVATION_REVOKED");
});

test("a grant from before a restore proves nothing, whatever its revision, and looks like that of an unknown elevation", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  const unknown = known.make(SHOWN);
  const before = { rev: "18446744073709551615", epoch: "epo_0" };
  assert.equal(await known.outcome("Shown", { authorization, grants: [known.grant(unknown, before)] }), "GRANT_PRINCIPAL_MISMATCH");
  assert.equal(await known.outcome("Shown", { authorization, grants: [known.grant(unknown)] }), "permit", "of this epoch it is ahead");
  const live = known.elevate(SHOWN);
  assert.equal(await known.outcome("Shown", { authorization, grants: [known.grant(live, before)] }), "GRANT_PRINCIPAL_MISMATCH");
  known.elevate({ ...SHOWN, id: live.id, state: ElevationState.REVOKED });
  assert.equal(await known.outcome("Shown", { authorization, grants: [known.grant(live, before)] }), "ELEVATION_REVOKED");
});

test("somebody else's grant is that first, and only then expired, bound or for another method", async () => {
  const known = new Known(keys);
  const s = Math.floor(NOON / 1000);
  const theirs = known.elevate({ ...SHOWN, principal: "user:eve@acme.test" });
  const grants = [known.grant(theirs, { iat: s - 60, nbf: s - 60, exp: s - 1, cnf: { jkt: "a" } })];
  assert.equal(await known.outcome("Shown", { authorization: [await known.as()], grants }), "GRANT_PRINCIPAL_MISMATCH");
});

test("what a grant proves ahead is of the entitlement, the condition and the window that it says", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  const other = known.make({ ...SHOWN, entitlement: "refunds" });
  assert.notEqual(await known.outcome("Shown", { authorization, grants: [known.grant(other)] }), "permit");
  const never = known.make({ ...SHOWN, condition: "principal.kind == 'ci'" });
  assert.notEqual(await known.outcome("Shown", { authorization, grants: [known.grant(never)] }), "permit");
  const elevation = known.make({ ...SHOWN, condition: "principal.kind == 'user'", endsInMs: 1_800_000 });
  const decision = await known.decide("Shown", { authorization, grants: [known.grant(elevation)] });
  assert.ok(decision.kind === "permit");
  assert.equal(decision.endsMs, Math.floor((Math.round(known.nowMs) + 1_800_000) / 1000) * 1000);
});

test("what a grant proves ahead meets the conditions of the entitlement too", async () => {
  const known = new Known(keys);
  const elevation = known.make({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  const call = { authorization: [await known.as()], grants: [known.grant(elevation)] };
  assert.equal(await known.outcome("Limited", call), "request");
  assert.equal(await known.outcome("Limited", { ...call, request: Uint8Array.of(8, 100) }), "permit");
  assert.equal(await known.outcome("Limited", { ...call, request: Uint8Array.of(8, 0xff, 0x7f) }), "CONDITION_NOT_MET");
});

test("a removed grant key takes its grants with it", async () => {
  const known = new Known(keys);
  const elevation = known.elevate(SHOWN);
  const call = { authorization: [await known.as()], grants: [known.grant(elevation)] };
  assert.equal(await known.outcome("Shown", call), "permit");
  known.setKeys(undefined, [generateSigningKey()]);
  assert.equal(await known.outcome("Shown", call), "GRANT_KEY_UNKNOWN");
});
