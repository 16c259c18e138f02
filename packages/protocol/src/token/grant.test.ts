import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { type GrantClaims, grantMethods, judgeGrant, parseGrant, signGrant, verifyGrant } from "./grant.ts";
import { generateSigningKey, keysOfJwks } from "./keys.ts";

const key = generateSigningKey();
const jwks = (...one: { publicJwk: string }[]) => JSON.stringify({ keys: one.map(({ publicJwk }) => JSON.parse(publicJwk) as unknown) });
const keys = keysOfJwks(jwks(key));
const IAT = 1_700_000_000;
const claims: GrantClaims = {
  iss: "https://brevet.acme.test",
  sub: "user:ana@acme.test",
  aud: "payments-prod",
  iat: IAT,
  nbf: IAT,
  exp: IAT + 900,
  window_end: IAT + 3600,
  jti: "gnt_1",
  elevation: "elv_1",
  epoch: "epo_1",
  rev: "18446744073709551615",
  authorization_details: [
    {
      type: "grpc_method",
      actions: ["payments.v1.Ledger/Refund"],
      entitlement: "refund",
      condition: "request.amount <= 500",
      payload: Buffer.alloc(32, 7).toString("base64url"),
    },
  ],
  cnf: { jkt: "thumb" },
  act: { sub: "workload:spiffe://acme.test/orders" },
};
const at = { keys, issuer: claims.iss, audience: claims.aud, nowMs: (IAT + 100) * 1000, errorMs: 5 };
const HEADER = { alg: "EdDSA", typ: "brevet-grant+jwt", kid: key.kid };

const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
function signed(header: object, body: unknown, privateKey: KeyObject = key.privateKey): string {
  const input = `${b64(header)}.${b64(body)}`;
  return `${input}.${sign(null, Buffer.from(input), privateKey).toString("base64url")}`;
}
const changed = (change: object) => signed(HEADER, { ...claims, ...change });
const valid = signGrant(claims, key);

test("a signed grant verifies, with the claims that went in", () => {
  assert.deepEqual(verifyGrant(valid, at), { ok: true, claims });
  assert.deepEqual(grantMethods(claims), ["payments.v1.Ledger/Refund"]);
});

const [input, signature] = [valid.slice(0, valid.lastIndexOf(".")), valid.slice(valid.lastIndexOf(".") + 1)];
const hs256 = (() => {
  const start = `${b64({ ...HEADER, alg: "HS256" })}.${b64(claims)}`;
  return `${start}.${createHmac("sha256", key.publicJwk).update(start).digest("base64url")}`;
})();
const detail = claims.authorization_details[0];
const wrong: [name: string, token: string, reason: string][] = [
  ["not a JWS", "hello", "GRANT_MALFORMED"],
  ["cut", valid.slice(0, -1), "GRANT_MALFORMED"],
  ["white space", ` ${valid}`, "GRANT_MALFORMED"],
  ["two joined by a comma", `${valid},${valid}`, "GRANT_MALFORMED"],
  ["stray bits in the signature", `${valid.slice(0, -1)}_`, "GRANT_MALFORMED"],
  ["alg none, unsigned", `${b64({ ...HEADER, alg: "none" })}.${b64(claims)}.`, "GRANT_ALGORITHM_REJECTED"],
  ["alg nOnE", `${b64({ ...HEADER, alg: "nOnE" })}.${b64(claims)}.${signature}`, "GRANT_ALGORITHM_REJECTED"],
  ["HS256 with the public key as secret", hs256, "GRANT_ALGORITHM_REJECTED"],
  ["alg in another case", signed({ ...HEADER, alg: "eddsa" }, claims), "GRANT_ALGORITHM_REJECTED"],
  ["typ JWT", signed({ ...HEADER, typ: "JWT" }, claims), "GRANT_TYPE_REJECTED"],
  ["no typ", signed({ alg: "EdDSA", kid: key.kid }, claims), "GRANT_TYPE_REJECTED"],
  ["no kid", signed({ alg: "EdDSA", typ: HEADER.typ }, claims), "GRANT_KEY_UNKNOWN"],
  ["unknown kid", signed({ ...HEADER, kid: "other" }, claims), "GRANT_KEY_UNKNOWN"],
  ["kid that climbs", signed({ ...HEADER, kid: "../../etc/passwd" }, claims), "GRANT_KEY_UNKNOWN"],
  ["kid of an object's own", signed({ ...HEADER, kid: "__proto__" }, claims), "GRANT_KEY_UNKNOWN"],
  ["embedded jwk", signed({ ...HEADER, jwk: JSON.parse(key.publicJwk) as object }, claims), "GRANT_MALFORMED"],
  ["jku", signed({ ...HEADER, jku: "https://evil.test/jwks" }, claims), "GRANT_MALFORMED"],
  ["crit", signed({ ...HEADER, crit: ["x"] }, claims), "GRANT_MALFORMED"],
  ["b64 false", signed({ ...HEADER, b64: false }, claims), "GRANT_MALFORMED"],
  ["another key's signature", signed(HEADER, claims, generateSigningKey().privateKey), "GRANT_SIGNATURE_INVALID"],
  ["zero signature", `${input}.${Buffer.alloc(64).toString("base64url")}`, "GRANT_SIGNATURE_INVALID"],
  ["empty signature", `${input}.`, "GRANT_SIGNATURE_INVALID"],
  [
    "truncated signature",
    `${input}.${Buffer.from(signature, "base64url").subarray(0, 63).toString("base64url")}`,
    "GRANT_SIGNATURE_INVALID",
  ],
  ["another issuer", changed({ iss: "https://other.test" }), "GRANT_ISSUER_UNKNOWN"],
  ["another audience", changed({ aud: "payments-test" }), "GRANT_AUDIENCE_MISMATCH"],
  ["several audiences", changed({ aud: ["payments-prod"] }), "GRANT_MALFORMED"],
  ["no subject", changed({ sub: "" }), "GRANT_MALFORMED"],
  ["subject too long", changed({ sub: `user:${"a".repeat(300)}` }), "GRANT_MALFORMED"],
  ["no end", changed({ exp: undefined }), "GRANT_MALFORMED"],
  ["end as text", changed({ exp: String(claims.exp) }), "GRANT_MALFORMED"],
  ["end between seconds", changed({ exp: IAT + 0.5 }), "GRANT_MALFORMED"],
  ["absurd times", changed({ iat: 1e300, nbf: 1e300, exp: 1e300 }), "GRANT_MALFORMED"],
  ["negative times", changed({ iat: -900, nbf: -900, exp: 0 }), "GRANT_MALFORMED"],
  ["ends before it begins", changed({ nbf: IAT + 901 }), "GRANT_MALFORMED"],
  ["16 minutes", changed({ exp: IAT + 960 }), "GRANT_MALFORMED"],
  ["expired", changed({ iat: IAT - 800, nbf: IAT - 800, exp: IAT + 100 }), "GRANT_EXPIRED"],
  ["not yet valid", changed({ nbf: IAT + 101 }), "GRANT_NOT_YET_VALID"],
  ["issued in the future, to last longer", changed({ iat: IAT + 800, exp: IAT + 1700 }), "GRANT_NOT_YET_VALID"],
  ["a revision that is none", changed({ rev: "-1" }), "GRANT_MALFORMED"],
  ["a revision beyond 64 bits", changed({ rev: "18446744073709551616" }), "GRANT_MALFORMED"],
  ["no epoch", changed({ epoch: undefined }), "GRANT_MALFORMED"],
  ["an epoch that is no text", changed({ epoch: 1 }), "GRANT_MALFORMED"],
  ["no details", changed({ authorization_details: [] }), "GRANT_MALFORMED"],
  ["two details", changed({ authorization_details: [detail, detail] }), "GRANT_MALFORMED"],
  ["details of another type", changed({ authorization_details: [{ ...detail, type: "file" }] }), "GRANT_MALFORMED"],
  ["a restriction that is not known", changed({ authorization_details: [{ ...detail, maxAmount: 5 }] }), "GRANT_MALFORMED"],
  ["a wildcard", changed({ authorization_details: [{ ...detail, actions: ["payments.v1.Ledger/*"] }] }), "GRANT_MALFORMED"],
  ["no entitlement", changed({ authorization_details: [{ ...detail, entitlement: undefined }] }), "GRANT_MALFORMED"],
  ["an entitlement too long", changed({ authorization_details: [{ ...detail, entitlement: "e".repeat(65) }] }), "GRANT_MALFORMED"],
  ["an empty condition", changed({ authorization_details: [{ ...detail, condition: "" }] }), "GRANT_MALFORMED"],
  ["a payload that is no digest", changed({ authorization_details: [{ ...detail, payload: "abc" }] }), "GRANT_MALFORMED"],
  ["a payload with stray bits", changed({ authorization_details: [{ ...detail, payload: `${"A".repeat(42)}B` }] }), "GRANT_MALFORMED"],
  ["no window", changed({ window_end: undefined }), "GRANT_MALFORMED"],
  ["longer than its window", changed({ window_end: IAT + 899 }), "GRANT_MALFORMED"],
  ["a reserved claim that is not known", changed({ brevet_max: 1 }), "GRANT_MALFORMED"],
  ["bound in an unknown way", changed({ cnf: { kid: "x" } }), "GRANT_MALFORMED"],
  ["bound to nothing", changed({ cnf: {} }), "GRANT_MALFORMED"],
];

for (const [name, token, reason] of wrong) {
  test(`refused as ${reason}: ${name}`, () => {
    const check = verifyGrant(token, at);
    assert.ok(!check.ok);
    assert.equal(check.reason, reason, check.problem);
    for (const part of token.split(".")) if (part.length > 8) assert.ok(!check.problem.includes(part), "the problem repeats the token");
    assert.ok(!/evil|ana@|payments-|elv_/.test(check.problem), "the problem repeats a claim");
  });
}

test("claims of a refused grant are handed on only if the signature is good", () => {
  const check = (token: string) => verifyGrant(token, at);
  for (const [name, token, reason] of wrong) {
    const refused = check(token);
    const verified = /ISSUER|AUDIENCE|EXPIRED|NOT_YET/.test(reason);
    assert.equal(!refused.ok && refused.claims !== undefined, verified, name);
  }
});

test("no mutation of a valid grant verifies", () => {
  const character = fc.constantFrom(..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=.+/ ,".split(""));
  const place = fc.nat(valid.length);
  const mutation = fc.oneof(
    fc.tuple(place, character).map(([i, c]) => valid.slice(0, i) + c + valid.slice(i + 1)),
    fc.tuple(place, character).map(([i, c]) => valid.slice(0, i) + c + valid.slice(i)),
    fc.tuple(place, place).map(([i, j]) => valid.slice(0, Math.min(i, j)) + valid.slice(Math.max(i, j))),
    fc.tuple(place, place).map(([i, j]) => valid.slice(i) + valid.slice(0, j)),
  );
  fc.assert(
    fc.property(mutation, (token) => {
      fc.pre(token !== valid);
      assert.equal(verifyGrant(token, at).ok, false);
    }),
    { numRuns: 3000 },
  );
  for (let i = 0; i < valid.length; i += 1) {
    for (const other of ["A", "_"]) {
      if (valid[i] !== other) assert.equal(verifyGrant(valid.slice(0, i) + other + valid.slice(i + 1), at).ok, false, `place ${i}`);
    }
  }
});

test("a clock's error never lets a grant live longer, at either end", () => {
  fc.assert(
    fc.property(fc.integer({ min: -5000, max: 905_000 }), fc.nat(5000), (afterMs, errorMs) => {
      const nowMs = IAT * 1000 + afterMs;
      const inside = afterMs - errorMs >= 0 && afterMs + errorMs < 900_000;
      assert.equal(judgeGrant(claims, { ...at, nowMs, errorMs }).ok, inside);
    }),
  );
});

test("whose it is and what it is bound to is judged before its times", () => {
  const expired = { ...at, nowMs: (IAT + 1000) * 1000 };
  const reason = (expect: Partial<typeof at> & { principal?: string; proofs?: string[] }) => {
    const check = judgeGrant(claims, { ...expired, ...expect });
    return check.ok ? "" : check.reason;
  };
  assert.equal(reason({ principal: "user:bo@acme.test", proofs: [] }), "GRANT_PRINCIPAL_MISMATCH");
  assert.equal(reason({ principal: claims.sub, proofs: [] }), "GRANT_PROOF_INVALID");
  assert.equal(reason({ principal: claims.sub, proofs: ["other"] }), "GRANT_PROOF_INVALID");
  assert.equal(reason({ principal: claims.sub, proofs: ["thumb"] }), "GRANT_EXPIRED");
  assert.equal(reason({ audience: "other", principal: "user:bo@acme.test" }), "GRANT_AUDIENCE_MISMATCH");
  assert.equal(judgeGrant(claims, { ...at, principal: claims.sub, proofs: ["thumb"] }).ok, true);
});

test("what the authority has surely reached is not in the future, whatever the clock's error", () => {
  const early = { ...at, nowMs: IAT * 1000 + 10, errorMs: 50 };
  assert.equal(judgeGrant(claims, early).ok, false);
  assert.equal(judgeGrant(claims, { ...early, reachedMs: IAT * 1000 }).ok, true);
  assert.equal(judgeGrant(claims, { ...early, reachedMs: IAT * 1000 - 1 }).ok, false);
});

test("the end is the first instant after", () => {
  const judge = (nowMs: number) => judgeGrant(claims, { ...at, nowMs, errorMs: 0 }).ok;
  assert.deepEqual(
    [judge(IAT * 1000 - 1), judge(IAT * 1000), judge((IAT + 900) * 1000 - 1), judge((IAT + 900) * 1000)],
    [false, true, true, false],
  );
});

test("a key of another kind under the right name verifies nothing", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey;
  const check = verifyGrant(valid, { ...at, keys: new Map([[key.kid, rsa]]) });
  assert.equal(!check.ok && check.reason, "GRANT_KEY_UNKNOWN");
});

test("what no guard would take is not signed", () => {
  assert.throws(() => signGrant({ ...claims, exp: IAT + 901 }, key), TypeError);
  assert.throws(() => signGrant({ ...claims, authorization_details: [{ ...detail, actions: [] }] }, key), TypeError);
  assert.throws(() => signGrant({ ...claims, sub: "" }, key), TypeError);
});

test("members that a later version adds do not break a grant", () => {
  assert.equal(verifyGrant(changed({ later: { a: 1 } }), at).ok, true);
  assert.equal(parseGrant(valid).ok, true);
});
