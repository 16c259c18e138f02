import assert from "node:assert/strict";
import { test } from "node:test";
import { generateSigningKey } from "@brevet/protocol";
import { generateKeyPair, SignJWT } from "jose";
import { AUDIENCE, grantOf, ISSUER, makeKeys, POLICY, SAM, tokenOf } from "../testdata/facts.ts";
import { Known, NOON } from "../testdata/known.ts";
import type { GuardRefusal } from "./call.ts";

const keys = await makeKeys();

async function refusalOf(known: Known, authorization: readonly string[]): Promise<GuardRefusal> {
  const decision = await known.decide("GetEntry", { authorization });
  assert.ok(decision.kind === "refuse");
  return decision;
}

test("a good token is a principal, whose second look is at once", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  const call = { method: "test.v1.Ledger/GetEntry", requestStream: false, authorization, grants: [], peer: "10.0.0.1" };
  const first = known.decider.decide(call);
  assert.ok(first instanceof Promise);
  const decision = await first;
  assert.equal(decision.kind === "permit" && decision.principal?.name, SAM);
  const second = known.decider.decide(call);
  assert.ok(!(second instanceof Promise));
  assert.equal(second.kind, "permit");
});

test("each way that an identity can be wrong has its own reason", async () => {
  const known = new Known(keys);
  const s = Math.floor(NOON / 1000);
  const other = await generateKeyPair("EdDSA");
  const token = (...args: Parameters<Known["as"]>) => known.as(...args);
  const hmac = new SignJWT({ iss: ISSUER, sub: SAM, aud: AUDIENCE, exp: s + 60 }).setProtectedHeader({ alg: "HS256", kid: "people-1" });
  const good = await token();
  const cases: [string, readonly string[]][] = [
    ["IDENTITY_MISSING", []],
    ["IDENTITY_MALFORMED", ["Basic c2FtOnNhbQ=="]],
    ["IDENTITY_MALFORMED", ["Bearer "]],
    ["IDENTITY_MALFORMED", ["Bearer not-a-token"]],
    ["IDENTITY_MALFORMED", [good, good]],
    ["IDENTITY_MALFORMED", [`${good}, ${good}`]],
    ["IDENTITY_MALFORMED", [`${good} `]],
    ["IDENTITY_MALFORMED", [`${good}=`]],
    ["IDENTITY_MALFORMED", [await token(SAM, { exp: Number.MAX_VALUE })]],
    ["IDENTITY_MALFORMED", [await token("Sam without a prefix")]],
    ["IDENTITY_ALGORITHM_REJECTED", [`Bearer ${await hmac.sign(Buffer.alloc(32, 1))}`]],
    ["IDENTITY_TYPE_REJECTED", [await token(SAM, {}, { typ: "brevet-grant+jwt" })]],
    ["IDENTITY_KEY_UNKNOWN", [await token(SAM, {}, { kid: "people-2" })]],
    ["IDENTITY_SIGNATURE_INVALID", [await token(SAM, {}, {}, other.privateKey)]],
    ["IDENTITY_ISSUER_UNKNOWN", [await token(SAM, { iss: "https://others.test" })]],
    ["IDENTITY_AUDIENCE_MISMATCH", [await token(SAM, { aud: "payments-prod" })]],
    ["IDENTITY_AUDIENCE_MISMATCH", [await token(SAM, { aud: "brevet" })]],
    ["IDENTITY_AUDIENCE_MISMATCH", [await token(SAM, { aud: [AUDIENCE, "brevet"] })]],
    ["IDENTITY_AUDIENCE_MISMATCH", [await token(SAM, { aud: [] })]],
    ["IDENTITY_EXPIRED", [await token(SAM, { exp: s - 30 })]],
    ["IDENTITY_NOT_YET_VALID", [await token(SAM, { nbf: s + 32 })]],
    ["IDENTITY_NOT_YET_VALID", [await token(SAM, { iat: s + 32 })]],
  ];
  for (const [index, [reason, authorization]] of cases.entries()) {
    const refusal = await refusalOf(known, authorization);
    assert.equal(refusal.reason, reason, `case ${index}`);
    assert.equal(refusal.principal, undefined);
    assert.deepEqual(refusal.offers, []);
    for (const value of authorization) assert.ok(!JSON.stringify(refusal.facts).includes(value.slice(7, 40)) || value.length < 40);
  }
});

test("foreign tokens have 30 seconds of leeway at both ends, and not more", async () => {
  const known = new Known(keys);
  const s = Math.floor(NOON / 1000);
  assert.equal(await known.outcome("GetEntry", { authorization: [await known.as(SAM, { exp: s - 29 })] }), "permit");
  assert.equal(await known.outcome("GetEntry", { authorization: [await known.as(SAM, { nbf: s + 30 })] }), "permit");
});

test("a token that was good is refused once it is past its end", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  assert.equal(await known.outcome("GetEntry", { authorization }), "permit");
  known.nowMs += 631_000;
  known.heard();
  assert.equal(await known.outcome("GetEntry", { authorization }), "IDENTITY_EXPIRED");
});

test("a removed key takes the tokens with it that were verified by it", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  assert.equal(await known.outcome("GetEntry", { authorization }), "permit");
  known.setKeys((await makeKeys()).peopleJwks.replace("people-1", "people-2"));
  assert.equal(await known.outcome("GetEntry", { authorization }), "IDENTITY_KEY_UNKNOWN");
});

test("keys that could not be had are not the caller's fault", async () => {
  const known = new Known(keys);
  known.setKeys("");
  const refusal = await refusalOf(known, [await known.as()]);
  assert.equal(refusal.reason, "KEYS_UNAVAILABLE");
  assert.ok((refusal.retryDelayMs ?? 0) > 0);
});

test("a new policy maps callers anew", async () => {
  const known = new Known(keys);
  const authorization = [await known.as("user:rae@acme.test", { groups: [] })];
  const before = await known.decide("GetEntry", { authorization });
  assert.ok(before.kind === "permit" && before.principal?.groups.has("group:support"));
  known.applyPolicy(POLICY.replace('["user:rae@acme.test"]', '["user:roy@acme.test"]'), 2n);
  const after = await known.decide("GetEntry", { authorization });
  assert.ok(after.kind === "permit" && !after.principal?.groups.has("group:support"));
});

test("a connection that sends bad tokens is slowed down, and nobody else is", async () => {
  const known = new Known(keys);
  const peer = "10.0.0.1#4000";
  const outcomes = await forge(known, 130, () => peer);
  assert.deepEqual(outcomes, { IDENTITY_SIGNATURE_INVALID: 100, REQUEST_QUOTA_EXCEEDED: 30 });
  const authorization = [await known.as()];
  assert.equal(await known.outcome("GetEntry", { authorization, peer }), "REQUEST_QUOTA_EXCEEDED");
  assert.equal(await known.outcome("GetEntry", { authorization, peer: "10.0.0.1#4001" }), "permit", "another connection of the address");
  // Seen before: the same connection gets through with it.
  assert.equal(await known.outcome("GetEntry", { authorization, peer }), "permit");
  known.nowMs += 1000;
  known.heard();
  assert.equal(await known.outcome("GetEntry", { authorization: [await known.as(SAM, { jti: "new" })], peer }), "permit");
});

test("an address has a wider limit behind that of its connections, and alone where no connection is known", async () => {
  for (const peerOf of [(i: number) => `fe80::1#${i}`, () => "fe80::1", () => ""]) {
    const known = new Known(keys);
    const good = [await known.as()];
    assert.equal(await known.outcome("GetEntry", { authorization: good, peer: peerOf(1) }), "permit");
    assert.deepEqual(await forge(known, 1010, peerOf), { IDENTITY_SIGNATURE_INVALID: 1000, REQUEST_QUOTA_EXCEEDED: 10 });
    const authorization = [await known.as(SAM, { jti: "new" })];
    assert.equal(await known.outcome("GetEntry", { authorization, peer: peerOf(5000) }), "REQUEST_QUOTA_EXCEEDED");
    assert.equal(await known.outcome("GetEntry", { authorization, peer: "fe80::2#1" }), "permit");
    // A new policy has every token checked anew: whose was good does not pay for the others.
    known.applyPolicy(POLICY, 2n);
    assert.equal(await known.outcome("GetEntry", { authorization: good, peer: peerOf(1) }), "permit");
  }
});

/** Calls with forged tokens, and how often each outcome came. */
async function forge(known: Known, calls: number, peerOf: (i: number) => string): Promise<Record<string, number>> {
  const { privateKey } = await generateKeyPair("EdDSA");
  const outcomes: Record<string, number> = {};
  for (let i = 0; i < calls; i += 1) {
    const forged = await tokenOf(keys, NOON, SAM, { jti: String(i) }, {}, privateKey);
    const outcome = await known.outcome("GetEntry", { authorization: [`Bearer ${forged}`], peer: peerOf(i) });
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
  return outcomes;
}

test("only failures that cost a signature check use up what a peer may cause", async () => {
  const known = new Known(keys);
  const elevation = known.elevate({ entitlement: "shown", methods: ["test.v1.Ledger/Shown"] });
  const stranger = generateSigningKey();
  for (let i = 0; i < 120; i += 1) {
    assert.equal(await known.outcome("GetEntry", { authorization: [`Bearer not-a-token-${i}`] }), "IDENTITY_MALFORMED");
    const unknownKey = await known.as(SAM, { jti: String(i) }, { kid: "people-2" });
    assert.equal(await known.outcome("GetEntry", { authorization: [unknownKey] }), "IDENTITY_KEY_UNKNOWN");
  }
  const authorization = [await known.as()];
  for (let i = 0; i < 120; i += 1) {
    assert.equal(await known.outcome("Shown", { authorization, grants: [`not-a-grant-${i}`] }), "GRANT_MALFORMED");
    const unknownKey = grantOf(keys, NOON, elevation, { jti: String(i) }, stranger);
    assert.equal(await known.outcome("Shown", { authorization, grants: [unknownKey] }), "GRANT_KEY_UNKNOWN");
  }
  assert.equal(await known.outcome("Shown", { authorization, grants: [known.grant(elevation)] }), "permit");
});

test("a peer that forges grants is slowed down", async () => {
  const known = new Known(keys);
  const elevation = known.elevate({ entitlement: "shown", methods: ["test.v1.Ledger/Shown"] });
  const authorization = [await known.as()];
  const peer = "10.0.0.1#4000";
  const forged = (i: number) => grantOf(keys, NOON, elevation, { jti: String(i) }, { ...generateSigningKey(), kid: keys.grants.kid });
  for (let i = 0; i < 100; i += 1)
    assert.equal(await known.outcome("Shown", { authorization, grants: [forged(i)], peer }), "GRANT_SIGNATURE_INVALID");
  assert.equal(await known.outcome("Shown", { authorization, grants: [forged(100)], peer }), "REQUEST_QUOTA_EXCEEDED");
});

test("a client certificate of a trusted domain is an identity, others are none", async () => {
  const known = new Known(keys);
  const certificate = (uris: readonly string[], afterMs = NOON + 60_000) => {
    const one = { uris, notBeforeMs: NOON - 60_000, notAfterMs: afterMs };
    return { certificate: () => one };
  };
  const decision = await known.decide("GetEntry", certificate(["spiffe://acme.test/billing"]));
  assert.equal(decision.kind === "permit" && decision.principal?.name, "workload:spiffe://acme.test/billing");
  assert.equal(await known.outcome("GetEntry", certificate(["spiffe://evil.test/billing"])), "IDENTITY_MISSING");
  assert.equal(await known.outcome("GetEntry", certificate(["spiffe://acme.test/a", "spiffe://acme.test/b"])), "IDENTITY_MISSING");
  assert.equal(await known.outcome("GetEntry", certificate([])), "IDENTITY_MISSING");
  assert.equal(await known.outcome("GetEntry", certificate(["spiffe://acme.test/billing"], NOON - 31_000)), "IDENTITY_EXPIRED");
  // A bad token is not made good by a certificate.
  const both = { ...certificate(["spiffe://acme.test/billing"]), authorization: ["Bearer x.y.z"] };
  assert.equal(await known.outcome("GetEntry", both), "IDENTITY_MALFORMED");
});

test("an open method asks nobody who calls", async () => {
  const known = new Known(keys);
  assert.equal(await known.outcome("Ping"), "permit");
  assert.equal(await known.outcome("Ping", { authorization: ["Bearer x"] }), "permit");
});
