// Every way in which an identity can be wrong, with tokens and certificates that really are: each has its own reason, none is echoed.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { GrpcCode, type ReasonName } from "@brevet/protocol";
import { startTestAuthority, TestCa, TestIssuer } from "@brevet/testing";
import { AUDIENCE, clients, codeOf, policyText, REFUND, refusal, requestId, transport } from "../testdata/scene.ts";

const segment = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

test("each wrong token has its own reason, and is never repeated", async (t) => {
  await using issuer = await TestIssuer.start();
  await using other = await TestIssuer.start();
  await using authority = await startTestAuthority({ policy: policyText({ issuer: issuer.issuer }), dev: false });
  const right = { audience: "brevet", subject: "sam@test" };
  const good = await issuer.token(right);
  const [header = "", claims = "", signature = ""] = good.split(".");
  const named = JSON.parse(Buffer.from(claims, "base64url").toString("utf8")) as object;
  const unsigned = (alg: string) => `${segment({ alg, typ: "JWT" })}.${claims}.`;
  const hmac = `${segment({ alg: "HS256", typ: "JWT" })}.${claims}`;
  const cases: [what: string, reason: ReasonName, token: string | Promise<string>, key?: string][] = [
    ["nothing", "IDENTITY_MALFORMED", ""],
    ["not a JWS", "IDENTITY_MALFORMED", "opaque"],
    ["two parts", "IDENTITY_MALFORMED", `${header}.${claims}`],
    ["padding", "IDENTITY_MALFORMED", `${header}=.${claims}.${signature}`],
    ["a key of its own", "IDENTITY_MALFORMED", `${segment({ alg: "ES256", jwk: {} })}.${claims}.${signature}`],
    ["a URL of a key", "IDENTITY_MALFORMED", `${segment({ alg: "ES256", jku: `${other.issuer}/keys` })}.${claims}.${signature}`],
    ["no issuer", "IDENTITY_MALFORMED", issuer.token({ ...right, claims: { iss: undefined } })],
    ["no end", "IDENTITY_MALFORMED", issuer.token({ ...right, claims: { exp: undefined } })],
    ["alg none", "IDENTITY_ALGORITHM_REJECTED", unsigned("none"), "algorithm"],
    ["alg nOnE", "IDENTITY_ALGORITHM_REJECTED", unsigned("nOnE"), "algorithm"],
    [
      "a shared secret",
      "IDENTITY_ALGORITHM_REJECTED",
      `${hmac}.${createHmac("sha256", "secret").update(hmac).digest("base64url")}`,
      "algorithm",
    ],
    [
      "another algorithm than the key's",
      "IDENTITY_ALGORITHM_REJECTED",
      `${segment({ alg: "RS256", kid: "key-1" })}.${claims}.${signature}`,
      "algorithm",
    ],
    ["a grant's type", "IDENTITY_TYPE_REJECTED", issuer.token({ ...right, header: { typ: "brevet-grant+jwt" } }), "type"],
    ["an unknown key", "IDENTITY_KEY_UNKNOWN", issuer.token({ ...right, header: { kid: "key-9" } }), "issuer"],
    ["another's signature", "IDENTITY_SIGNATURE_INVALID", issuer.token(right, other), "issuer"],
    ["changed claims", "IDENTITY_SIGNATURE_INVALID", `${header}.${segment({ ...named, sub: "ana@test" })}.${signature}`, "issuer"],
    ["a signature of zeros", "IDENTITY_SIGNATURE_INVALID", `${header}.${claims}.${Buffer.alloc(64).toString("base64url")}`, "issuer"],
    ["an unknown issuer", "IDENTITY_ISSUER_UNKNOWN", other.token(right), "issuer"],
    ["a service's audience", "IDENTITY_AUDIENCE_MISMATCH", issuer.token({ ...right, audience: AUDIENCE }), "expectedAudience"],
    ["ours and a service's", "IDENTITY_AUDIENCE_MISMATCH", issuer.token({ ...right, audience: ["brevet", AUDIENCE] }), "expectedAudience"],
    ["no audience", "IDENTITY_AUDIENCE_MISMATCH", issuer.token({ ...right, claims: { aud: undefined } }), "expectedAudience"],
    ["an end in the past", "IDENTITY_EXPIRED", issuer.token({ ...right, expiresIn: -31 }), "expiredAt"],
    [
      "a start ahead",
      "IDENTITY_NOT_YET_VALID",
      issuer.token({ ...right, claims: { nbf: Math.floor(Date.now() / 1000) + 60 } }),
      "validFrom",
    ],
    [
      "an issue ahead",
      "IDENTITY_NOT_YET_VALID",
      issuer.token({ ...right, claims: { iat: Math.floor(Date.now() / 1000) + 60 } }),
      "validFrom",
    ],
  ];
  for (const [what, reason, made, key] of cases) {
    await t.test(`${what}: ${reason}`, async () => {
      const token = await made;
      const refused = await refusal(clients(transport(authority.url, token)).elevations.list({}));
      assert.deepEqual([refused.reason, refused.code], [reason, codeOf(reason)]);
      assert.ok(refused.message.startsWith(`${reason}: `));
      if (key !== undefined) assert.ok(refused.metadata[key], key);
      const text = JSON.stringify(refused);
      for (const part of token.split(".").filter((each) => each.length > 20)) assert.ok(!text.includes(part), "a token is never echoed");
      assert.ok(!text.includes("refund"), "nothing of the policy is said");
    });
  }
  await t.test("the right token, and one within 30 s of its end", async () => {
    const sam = clients(transport(authority.url, good));
    const { elevation } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
    assert.equal(elevation?.requester?.name, "user:sam@test");
    await clients(transport(authority.url, await issuer.token({ ...right, expiresIn: -20 }))).elevations.list({});
  });
  await t.test("nothing at all, and twice", async () => {
    const none = await refusal(clients(transport(authority.url)).elevations.list({}));
    assert.deepEqual([none.reason, none.code], ["IDENTITY_MISSING", GrpcCode.UNAUTHENTICATED]);
    assert.match(none.metadata["headersSeen"] ?? "", /content-type/);
    for (const value of [`Bearer ${good}, Bearer ${good}`, good, `Basic ${good}`]) {
      const header = { authorization: value };
      const refused = await refusal(clients(transport(authority.url)).elevations.list({}, { headers: header }));
      assert.equal(refused.reason, "IDENTITY_MALFORMED");
    }
  });
  await t.test("algorithms of issuers: RS256, PS256, ES384, EdDSA", async () => {
    for (const alg of ["RS256", "PS256", "ES384", "EdDSA"]) {
      await using signing = await TestIssuer.start({ alg });
      await using served = await startTestAuthority({ policy: policyText({ issuer: signing.issuer }), dev: false });
      const token = await signing.token(right);
      assert.deepEqual((await clients(transport(served.url, token)).elevations.list({})).elevations, [], alg);
    }
  });
});

test("groups are those that the issuer may assert, and no others", async () => {
  await using issuer = await TestIssuer.start();
  await using authority = await startTestAuthority({ policy: policyText({ issuer: issuer.issuer }), dev: false });
  const ask = async (groups: string[]) => {
    const token = await issuer.token({ audience: "brevet", subject: "new@test", claims: { groups } });
    return clients(transport(authority.url, token)).elevations.request({ requestId: requestId(), method: REFUND });
  };
  assert.equal((await ask(["support"])).elevation?.requester?.name, "user:new@test");
  assert.equal((await refusal(ask(["oncall"]))).reason, "NOT_ELIGIBLE");
});

test("a client certificate of a trusted domain is an identity; every other is none", async () => {
  const ca = await TestCa.create();
  const strange = await TestCa.create("CN=Another CA");
  const server = await ca.issue({ dns: ["localhost"], ip: ["127.0.0.1"] });
  const tls = { cert: server.cert, key: server.key, clientCa: ca.cert };
  await using authority = await startTestAuthority({ policy: policyText({ spiffe: "acme.test" }), dev: false, tls });
  const as = (certificate?: { cert: string; key: string }) =>
    clients(transport(authority.url, undefined, { nodeOptions: { ca: ca.cert, ...certificate } })).guards;
  const day = 24 * 3_600_000;
  const guard = await ca.issue({ uri: ["spiffe://acme.test/guard"] });
  const stream = as(guard).sync(
    (async function* () {
      yield { message: { case: "hello" as const, value: { audience: AUDIENCE } } };
    })(),
  );
  for await (const { message } of stream) {
    assert.equal(message.case === "welcome" ? message.value.guard?.name : "", "workload:spiffe://acme.test/guard");
    break;
  }
  assert.deepEqual((await as(guard).list({})).guards, []);
  const none = await refusal(as().list({}));
  assert.equal(none.reason, "IDENTITY_MISSING");
  const wrong = {
    "of another authority": await strange.issue({ uri: ["spiffe://acme.test/guard"] }),
    "with two names": await ca.issue({ uri: ["spiffe://acme.test/guard", "spiffe://acme.test/other"] }),
    "with no name": await ca.issue({ dns: ["guard.acme.test"] }),
  };
  for (const [what, certificate] of Object.entries(wrong))
    assert.equal((await refusal(as(certificate).list({}))).reason, "IDENTITY_MISSING", what);
  const old = await ca.issue({
    uri: ["spiffe://acme.test/guard"],
    notBefore: new Date(Date.now() - 2 * day),
    notAfter: new Date(Date.now() - day),
  });
  assert.equal((await refusal(as(old).list({}))).reason, "IDENTITY_EXPIRED");
  const elsewhere = await ca.issue({ uri: ["spiffe://evil.test/guard"] });
  const unknown = clients(transport(authority.url, undefined, { nodeOptions: { ca: ca.cert, ...elsewhere } }));
  assert.equal((await refusal(unknown.elevations.request({ requestId: requestId(), method: REFUND }))).reason, "NOT_ELIGIBLE");
});
