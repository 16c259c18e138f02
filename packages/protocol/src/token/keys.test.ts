import assert from "node:assert/strict";
import { generateKeyPairSync, sign, verify } from "node:crypto";
import { test } from "node:test";
import { generateSigningKey, keysOfJwks, thumbprint } from "./keys.ts";

test("thumbprints are those of RFC 7638 and RFC 8037", () => {
  const rsa = {
    kty: "RSA",
    n: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    e: "AQAB",
    alg: "RS256",
    kid: "2011-04-29",
  };
  assert.equal(thumbprint(rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
  const ed25519 = { kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" };
  assert.equal(thumbprint(ed25519), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
});

test("what is no public key has no thumbprint", () => {
  for (const jwk of [
    {},
    { kty: "oct", k: "AA" },
    { kty: "OKP", crv: "Ed25519" },
    { kty: "EC", crv: "P-256", x: 1, y: 2 },
    { kty: "toString" },
  ])
    assert.throws(() => thumbprint(jwk), TypeError);
});

test("a generated key signs, is published without its private half, and is named by its thumbprint", () => {
  const key = generateSigningKey();
  const jwk = JSON.parse(key.publicJwk) as Record<string, string>;
  assert.deepEqual(Object.keys(jwk).toSorted(), ["alg", "crv", "kid", "kty", "use", "x"]);
  assert.equal(jwk.kid, key.kid);
  const publicKey = keysOfJwks(JSON.stringify({ keys: [jwk] })).get(key.kid);
  assert.ok(publicKey && verify(null, Buffer.from("x"), publicKey, sign(null, Buffer.from("x"), key.privateKey)));
  assert.notEqual(generateSigningKey().kid, key.kid);
});

test("only Ed25519 keys are taken, under their own thumbprint whatever they call themselves", () => {
  const key = generateSigningKey();
  const jwk = JSON.parse(key.publicJwk) as object;
  const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" });
  const x25519 = generateKeyPairSync("x25519").publicKey.export({ format: "jwk" });
  const broken = [null, 1, "x", [], {}, { kty: "OKP", crv: "Ed25519", x: "AA" }, { kty: "OKP", crv: "Ed25519", x: 5 }];
  const keys = keysOfJwks(JSON.stringify({ keys: [p256, x25519, ...broken, { ...jwk, kid: "mine" }] }));
  assert.deepEqual([...keys.keys()], [key.kid]);
});

test("what is no key set is refused, not read as an empty one", () => {
  for (const json of ["", "x", "null", "[]", "{}", '{"keys":{}}']) assert.throws(() => keysOfJwks(json), TypeError, json);
});
