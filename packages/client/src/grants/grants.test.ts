import assert from "node:assert/strict";
import { test } from "node:test";
import { type GrantClaims, generateSigningKey, signGrant } from "@brevet/protocol";
import { ElevationServiceIssueGrantResponseSchema } from "@brevet/protocol/brevet/v1/elevation";
import { TestClock } from "@brevet/testing";
import { create } from "@bufbuild/protobuf";
import { Grants } from "./grants.ts";

/** Grants of ten minutes, from a clock that may be anything. */
function setUp(options: { random?: number; fails?: () => boolean; until?: Promise<void> } = {}) {
  const clock = new TestClock();
  const key = generateSigningKey();
  let issued = 0;
  const issue = async (elevation: string) => {
    issued += 1;
    await options.until;
    if (options.fails?.()) throw new Error("away");
    const iat = 4_000_000_000 + issued;
    const claims: GrantClaims = {
      iss: "https://brevet.test",
      sub: "user:sam@test",
      aud: "payments-test",
      iat,
      nbf: iat,
      exp: iat + 600,
      jti: `gnt_${issued}`,
      elevation,
      epoch: "epo_1",
      rev: "1",
      window_end: iat + 3600,
      authorization_details: [{ type: "grpc_method", actions: ["a.B/C"], entitlement: "refund" }],
    };
    return create(ElevationServiceIssueGrantResponseSchema, { grant: signGrant(claims, key) });
  };
  const grants = new Grants({ clock, random: () => options.random ?? 0, issue, logger: undefined });
  return { clock, grants, issued: () => issued };
}

test("a grant is renewed in the background before its end, on this machine's monotonic clock alone", async () => {
  const { clock, grants, issued } = setUp();
  const first = await grants.get("elv_a");
  clock.advance(359_000);
  assert.equal(grants.inHand("elv_a"), first);
  assert.equal(issued(), 1);
  clock.advance(1000);
  assert.equal(grants.inHand("elv_a"), first, "the one in hand serves until the new one is there");
  await new Promise(setImmediate);
  assert.equal(issued(), 2);
  assert.notEqual(grants.inHand("elv_a"), first);
});

test("renewals are spread: not all at the same share of the lifetime", async () => {
  const { clock, grants, issued } = setUp({ random: 0.99 });
  await grants.get("elv_a");
  clock.advance(470_000);
  grants.inHand("elv_a");
  assert.equal(issued(), 1);
});

test("a grant that cannot be renewed is used to its end and not beyond, and its renewal is tried again", async () => {
  let away = false;
  const { clock, grants, issued } = setUp({ fails: () => away });
  const first = await grants.get("elv_a");
  away = true;
  clock.advance(400_000);
  assert.equal(grants.inHand("elv_a"), first);
  assert.equal(grants.inHand("elv_a"), first);
  await new Promise(setImmediate);
  assert.equal(issued(), 2);
  clock.advance(10_000);
  assert.equal(grants.inHand("elv_a"), first);
  await new Promise(setImmediate);
  assert.equal(issued(), 3);
  clock.advance(185_000);
  assert.equal(grants.inHand("elv_a"), undefined);
  await assert.rejects(grants.get("elv_a"), /away/);
});

test("one caller's abort does not take the grant from another", async () => {
  const { grants, issued } = setUp();
  const leaving = new AbortController();
  const first = grants.get("elv_a", { signal: leaving.signal });
  const second = grants.get("elv_a");
  leaving.abort(new Error("gone"));
  await assert.rejects(first, /gone/);
  assert.match(await second, /^ey/);
  assert.equal(issued(), 1);
});

test("a caller that has left already asks for no grant, and no failure is left behind that would end the program", async () => {
  const { grants, issued } = setUp({ fails: () => true });
  await assert.rejects(grants.get("elv_a", { signal: AbortSignal.abort(new Error("gone")) }), /gone/);
  // An unhandled rejection would fail the test here.
  await new Promise(setImmediate);
  assert.equal(issued(), 0);
});

test("each who waits for the same grant leaves by its own signal, and a failure that comes later harms nobody", async () => {
  const { promise: until, resolve: answer } = Promise.withResolvers<void>();
  const { grants, issued } = setUp({ fails: () => true, until });
  const leaving = new AbortController();
  const first = grants.get("elv_a");
  const second = grants.get("elv_a", { signal: leaving.signal });
  const gone = assert.rejects(second, /gone/).then(() => "gone");
  leaving.abort(new Error("gone"));
  const waits = new Promise((resolve) => setImmediate(resolve, "still waits"));
  assert.equal(await Promise.race([gone, waits]), "gone");
  answer();
  await assert.rejects(first, /away/);
  assert.equal(issued(), 1);
});
