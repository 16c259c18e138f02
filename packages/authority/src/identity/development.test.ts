// The development issuer: signs in made-up people with the printed code, and nothing real is ever opened to it.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startTestAuthority } from "@brevet/testing";
import { startAuthority } from "../authority.ts";
import { clients, policyText, REFUND, refusal, requestId, transport } from "../testdata/scene.ts";
import { isLocalHost } from "./development.ts";

const who = { principal: "user:sam@test", audience: "brevet" };

async function signIn(
  url: string,
  body: unknown,
  type = "application/json",
): Promise<{ status: number; answer: { token?: string; expiresAt?: string; error?: string } }> {
  const sent = typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(`${url}/dev/token`, { method: "POST", headers: { "content-type": type }, body: sent });
  return { status: response.status, answer: (await response.json()) as { token?: string } };
}

test("the code signs in anybody made up, by JSON and by form; a wrong code nobody", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const code = authority.authority.dev?.code ?? "";
  const { status, answer } = await signIn(authority.url, { ...who, code });
  assert.equal(status, 200);
  assert.ok(Date.parse(answer.expiresAt ?? "") > Date.now());
  const asked = await clients(transport(authority.url, answer.token)).elevations.request({ requestId: requestId(), method: REFUND });
  assert.equal(asked.elevation?.requester?.name, "user:sam@test");
  const form = new URLSearchParams({ ...who, code: code.toLowerCase(), groups: "group:a, b", ttlSeconds: "60" }).toString();
  assert.equal((await signIn(authority.url, form, "application/x-www-form-urlencoded")).status, 200);
  for (const wrong of [{ ...who }, { ...who, code: "" }, { ...who, code: `${code}X` }, { ...who, code: 7 }])
    assert.deepEqual([(await signIn(authority.url, wrong)).status, (await signIn(authority.url, wrong)).answer.token], [401, undefined]);
  const bad = [
    { code },
    { ...who, code, principal: "sam" },
    { ...who, code, ttlSeconds: 1e9 },
    { ...who, code, groups: [7] },
    { ...who, code, audience: "" },
    "not json",
  ];
  for (const body of bad) assert.equal((await signIn(authority.url, body)).status, 400, JSON.stringify(body));
});

test("its tokens for a service are not good at the authority", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const token = await authority.token("user:sam@test", { audience: "payments-test" });
  assert.equal((await refusal(clients(transport(authority.url, token)).elevations.list({}))).reason, "IDENTITY_AUDIENCE_MISMATCH");
});

test("a Host that is not local is refused, whoever sends it", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const { port } = new URL(authority.url);
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path: "/dev/token", method: "POST", headers: { host: "evil.test" } }, (response) =>
      resolve(response.statusCode),
    );
    sent.on("error", reject);
    sent.end(JSON.stringify({ ...who, code: authority.authority.dev?.code }));
  });
  assert.equal(status, 403);
  for (const host of ["127.0.0.1:7400", "localhost", "[::1]:7400"]) assert.ok(isLocalHost(host), host);
  for (const host of ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "", "10.0.0.1"]) assert.ok(!isLocalHost(host), host);
});

test("issuer, code and keys outlive a restart, and commands find the code", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const before = authority.authority.dev;
  const token = await authority.token("user:sam@test");
  await authority.restart();
  assert.deepEqual([authority.authority.dev?.code, authority.authority.dev?.issuer], [before?.code, before?.issuer]);
  await clients(transport(authority.url, token)).elevations.list({});
  const file = join(authority.data, "dev.json");
  assert.deepEqual(JSON.parse(await readFile(file, "utf8")), { url: authority.url, issuer: before?.issuer, code: before?.code });
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const discovery = (await (await fetch(`${before?.issuer}/.well-known/openid-configuration`)).json()) as { jwks_uri: string };
  assert.equal((await fetch(discovery.jwks_uri)).status, 200);
});

test("a directory for development is refused without --dev, and one in real use with it", async () => {
  const data = await mkdtemp(join(tmpdir(), "brevet-dev-"));
  const real = await mkdtemp(join(tmpdir(), "brevet-real-"));
  try {
    await (await startTestAuthority({ data, policy: policyText() }))[Symbol.asyncDispose]();
    await assert.rejects(startAuthority({ data, logger: false, admin: false }), /development/);
    await (await startTestAuthority({ data }))[Symbol.asyncDispose]();
    const plain = await startTestAuthority({ data: real, dev: false, policy: policyText() });
    assert.equal(plain.authority.dev, undefined);
    assert.equal((await fetch(`${plain.url}/dev/token`, { method: "POST" })).status, 404);
    await plain[Symbol.asyncDispose]();
    await assert.rejects(startTestAuthority({ data: real, dev: true }), /real use/);
  } finally {
    await rm(data, { recursive: true, force: true });
    await rm(real, { recursive: true, force: true });
  }
});

test("--dev is refused beyond loopback, and beside anything real", async () => {
  const data = join(tmpdir(), "brevet-never-made");
  const base = { data, dev: true, logger: false, admin: false } as const;
  await assert.rejects(startAuthority({ ...base, listen: { host: "0.0.0.0", port: 0 } }), /loopback/);
  await assert.rejects(startAuthority({ ...base, issuer: "https://brevet.acme.test" }), /issuer/);
  await assert.rejects(startAuthority({ ...base, publicUrl: "https://brevet.acme.test" }), /loopback/);
  await assert.rejects(stat(data), "nothing is made");
});
