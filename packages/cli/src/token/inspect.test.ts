import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { test } from "node:test";
import { type GrantClaims, generateSigningKey, signGrant } from "@brevet/protocol";
import { inspectToken } from "./inspect.ts";

const NOW = Date.UTC(2027, 0, 31, 12);
const key = generateSigningKey();
const publicJwk = typeof key.publicJwk === "string" ? (JSON.parse(key.publicJwk) as Record<string, unknown>) : key.publicJwk;
const jwks = JSON.stringify({ keys: [{ ...publicJwk, kid: key.kid }] });
const expected = { jwks, audience: "payments-prod", issuer: "https://brevet.example.com", nowMs: NOW };

function claims(change: Partial<GrantClaims> = {}): GrantClaims {
  return {
    iss: "https://brevet.example.com",
    sub: "user:sam@example.com",
    aud: "payments-prod",
    iat: NOW / 1000 - 60,
    nbf: NOW / 1000 - 60,
    exp: NOW / 1000 + 600,
    jti: "gnt_1",
    elevation: "elv_1",
    epoch: "epo_1",
    rev: "7",
    window_end: NOW / 1000 + 3600,
    authorization_details: [{ type: "grpc_method", actions: ["payments.v1.Ledger/Refund"], entitlement: "refund" }],
    ...change,
  };
}

function identity(header: object, body: object, privateKey: KeyObject): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const input = `${part(header)}.${part(body)}`;
  return `${input}.${sign(null, Buffer.from(input), privateKey).toString("base64url")}`;
}

test("a good grant passes every check", async () => {
  const report = await inspectToken(signGrant(claims(), key), expected);
  assert.deepEqual([report.ok, report.kind, report.reason], [true, "grant", undefined]);
  assert.deepEqual(new Set(report.checks.map((check) => check.outcome)), new Set(["passed"]));
});

test("the reason is that of the first failing check, and later checks still speak", async () => {
  const report = await inspectToken(signGrant(claims({ aud: "elsewhere", exp: NOW / 1000 - 1, iat: NOW / 1000 - 61 }), key), expected);
  assert.equal(report.reason, "GRANT_AUDIENCE_MISMATCH");
  assert.deepEqual(
    report.checks.filter((check) => check.outcome === "failed").map((check) => check.name),
    ["audience", "expiry"],
  );
});

test("a grant's end has no leeway", async () => {
  const report = await inspectToken(signGrant(claims({ exp: NOW / 1000 }), key), expected);
  assert.equal(report.reason, "GRANT_EXPIRED");
});

test("a grant of another key is not good", async () => {
  const other = generateSigningKey();
  assert.equal((await inspectToken(signGrant(claims(), other), expected)).reason, "GRANT_KEY_UNKNOWN");
  assert.equal(
    (await inspectToken(signGrant(claims(), { kid: key.kid, privateKey: other.privateKey }), expected)).reason,
    "GRANT_SIGNATURE_INVALID",
  );
});

test("an identity token is judged by its own rules, with leeway for foreign clocks", async () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const set = JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k1", alg: "EdDSA" }] });
  const body = { iss: "https://login.example.com", aud: "payments-prod", sub: "sam", exp: NOW / 1000 - 10 };
  const token = identity({ alg: "EdDSA", kid: "k1", typ: "JWT" }, body, privateKey);
  const at = { jwks: set, audience: "payments-prod", issuer: "https://login.example.com", nowMs: NOW };
  assert.deepEqual([(await inspectToken(token, at)).ok, (await inspectToken(token, at)).kind], [true, "identity"]);
  assert.equal((await inspectToken(token, { ...at, nowMs: NOW + 60_000 })).reason, "IDENTITY_EXPIRED");
  assert.equal((await inspectToken(token.slice(0, -8) + "AAAAAAAA", at)).reason, "IDENTITY_SIGNATURE_INVALID");
});

test("without keys the signature is not judged, and said so", async () => {
  const report = await inspectToken(signGrant(claims(), key), { ...expected, jwks: undefined });
  assert.deepEqual(
    report.checks.filter((check) => check.outcome === "skipped").map((check) => check.name),
    ["key", "signature"],
  );
});

test("what is no token is unreadable, and never repeated", async () => {
  for (const text of ["", "secret-opaque-token", "a.b.c", `${signGrant(claims(), key)}=`, ` ${signGrant(claims(), key)}`]) {
    const report = await inspectToken(text, expected);
    assert.equal(report.ok, false);
    assert.ok(text === "" || !JSON.stringify(report).includes(text), text);
  }
});
