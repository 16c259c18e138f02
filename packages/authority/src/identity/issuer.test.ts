// Issuers that rotate keys, that are down, that lie: their keys, kept as fresh as the network allows.
import assert from "node:assert/strict";
import { test } from "node:test";
import { GrpcCode } from "@brevet/protocol";
import { startTestAuthority, TestClock, TestIssuer } from "@brevet/testing";
import { pino } from "pino";
import { clients, policyText, refusal, transport } from "../testdata/scene.ts";
import { fetchText, isFetchable } from "./fetch.ts";
import { IssuerKeys, REFETCH_FLOOR_MS } from "./issuer.ts";

const logger = pino({ level: "silent" });
const keysOf = (issuer: string, clock: TestClock, onChange = () => {}) =>
  new IssuerKeys({ issuer, clock, fetchText, random: () => 0.5, logger, onChange });

test("a new key at the issuer is taken up with the first token that names it, and the old one is dropped", async () => {
  await using issuer = await TestIssuer.start();
  await using authority = await startTestAuthority({ policy: policyText({ issuer: issuer.issuer }), dev: false });
  const call = async (token: string) => clients(transport(authority.url, token)).elevations.list({});
  const before = await issuer.token({ audience: "brevet" });
  await call(before);
  await issuer.rotate();
  await call(await issuer.token({ audience: "brevet" }));
  assert.equal((await refusal(call(before))).reason, "IDENTITY_KEY_UNKNOWN", "what was verified with the old key is forgotten with it");
});

test("an issuer that is down at the start keeps nobody waiting: others are served, its own tokens say why not", async () => {
  await using up = await TestIssuer.start();
  await using down = await TestIssuer.start();
  down.setDown(true);
  const policies = [
    { file: "up.yaml", text: policyText({ issuer: up.issuer, audience: "up" }) },
    { file: "down.yaml", text: policyText({ issuer: down.issuer, audience: "down" }) },
  ];
  await using authority = await startTestAuthority({ policies, dev: false });
  const call = async (issuer: TestIssuer) =>
    clients(transport(authority.url, await issuer.token({ audience: "brevet" }))).elevations.list({});
  await call(up);
  const refused = await refusal(call(down));
  assert.deepEqual([refused.reason, refused.code], ["KEYS_UNAVAILABLE", GrpcCode.UNAVAILABLE]);
  assert.ok((refused.retryDelayMs ?? 0) > 0);
  down.setDown(false);
  for (let tries = 0; ; tries += 1) {
    try {
      await call(down);
      break;
    } catch (error) {
      if (tries > 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
});

test("unknown keys make the set be fetched again, but not at every token's wish", async () => {
  await using issuer = await TestIssuer.start();
  const clock = new TestClock();
  using keys = keysOf(issuer.issuer, clock);
  await keys.keysFor("key-1");
  assert.equal(issuer.fetches, 1);
  for (let i = 0; i < 50; i += 1) await keys.keysFor(`made-up-${i}`);
  assert.equal(issuer.fetches, 2);
  clock.advance(REFETCH_FLOOR_MS);
  await keys.keysFor("made-up");
  assert.equal(issuer.fetches, 3);
});

test("keys stay good while the issuer is away, and not for ever", async () => {
  await using issuer = await TestIssuer.start();
  const clock = new TestClock();
  using keys = keysOf(issuer.issuer, clock);
  assert.ok(await keys.keysFor("key-1"));
  issuer.setDown(true);
  clock.step(23 * 3_600_000);
  assert.ok(keys.current());
  clock.step(2 * 3_600_000);
  assert.equal(keys.current(), undefined);
});

test("the same keys, fetched again, are no change", async () => {
  await using issuer = await TestIssuer.start();
  const clock = new TestClock();
  let changes = 0;
  using keys = keysOf(issuer.issuer, clock, () => (changes += 1));
  const first = await keys.keysFor("key-1");
  await keys.keysFor("unknown");
  assert.deepEqual([issuer.fetches, changes], [2, 1]);
  assert.equal(keys.current(), first);
});

test("an issuer that names another, or keys elsewhere in plaintext, is not believed", async () => {
  const clock = new TestClock();
  const discovery: Record<string, unknown>[] = [
    { issuer: "https://other.test", jwks_uri: "https://login.test/keys" },
    { issuer: "https://login.test", jwks_uri: "http://login.test/keys" },
    { issuer: "https://login.test", jwks_uri: "http://127.0.0.1/keys" },
    { issuer: "https://login.test", jwks_uri: "file:///etc/passwd" },
    { issuer: "https://login.test" },
  ];
  for (const document of discovery) {
    const fetched: string[] = [];
    const fetchFrom = async (url: string) => {
      fetched.push(url);
      return JSON.stringify(document);
    };
    using keys = new IssuerKeys({
      issuer: "https://login.test",
      clock,
      fetchText: fetchFrom,
      random: () => 0.5,
      logger,
      onChange: () => {},
    });
    assert.equal(await keys.keysFor(undefined), undefined);
    assert.deepEqual(fetched, ["https://login.test/.well-known/openid-configuration"]);
  }
});

test("keys are fetched over https, or http on loopback, and from nowhere else", () => {
  const here = { loopback: true };
  for (const url of ["https://login.test", "https://login.test/a/b", "http://127.0.0.1:8080", "http://localhost/x", "http://[::1]:1"])
    assert.ok(isFetchable(url, here), url);
  for (const url of [
    "http://login.test",
    "http://10.0.0.1",
    "ftp://x",
    "file:///x",
    "https://u:p@login.test",
    "https://login.test/#x",
    "nonsense",
  ])
    assert.ok(!isFetchable(url, here), url);
  assert.ok(!isFetchable("http://127.0.0.1", { loopback: false }));
});

test("an answer without end is cut at its limit", async () => {
  await using issuer = await TestIssuer.start();
  await assert.rejects(fetchText(`${issuer.issuer}/keys`, { timeoutMs: 1000, maxBytes: 10 }), /more than 10 bytes/);
  await assert.rejects(fetchText(`${issuer.issuer}/nope`, { timeoutMs: 1000, maxBytes: 1000 }), /status 404/);
});
