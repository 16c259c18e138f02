import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { CompiledPolicy } from "../compile/compiled.ts";
import { loadPolicy } from "../load/load.ts";
import { matchesAny } from "../principal/principal.ts";
import { SHOP_POLICY, shopDescriptors } from "../testdata/shop.ts";
import { type Mapped, mapClaims, mapDevelopmentClaims, mapSpiffe } from "./identity.ts";
import { hasRole, isGuard, knownApprovers } from "./rights.ts";

function load(text = SHOP_POLICY): CompiledPolicy {
  const { policy, findings } = loadPolicy(text, { descriptors: shopDescriptors });
  assert.ok(policy, findings.map((each) => each.message).join("; "));
  return policy;
}

const policy = load();
const LOGIN = "https://login.acme.test";
const CI = "https://ci.acme.test";
const problemOf = (mapped: Mapped) => (mapped.ok ? "mapped" : mapped.problem);

function principalOf(mapped: Mapped) {
  assert.ok(mapped.ok, problemOf(mapped));
  return mapped.principal;
}

test("claims become a principal with the groups that the issuer may assert, and those of the policy", () => {
  const who = principalOf(
    mapClaims(policy, LOGIN, { email: "ana@acme.test", email_verified: true, groups: ["support", "group:sre", "admins", "oncall"] }),
  );
  assert.equal(who.name, "user:ana@acme.test");
  assert.equal(who.kind, "user");
  assert.deepEqual(
    [...who.groups].toSorted(),
    ["group:oncall", "group:sre", "group:support"],
    "oncall comes from the policy, which lists ana; admins from nowhere",
  );
});

test("no issuer speaks for a group that it may not assert", () => {
  const who = principalOf(
    mapClaims(policy, LOGIN, { email: "eve@acme.test", email_verified: true, groups: ["group:oncall", "group:security"] }),
  );
  assert.deepEqual([...who.groups], []);
});

test("an address names somebody only where it is verified", () => {
  for (const email_verified of [undefined, false, "true", 1])
    assert.match(problemOf(mapClaims(policy, LOGIN, { email: "ana@acme.test", email_verified })), /email_verified is not true/);
});

test("the initiator is read, and must be one", () => {
  assert.equal(principalOf(mapClaims(policy, CI, { repository_id: "4711", actor: "ana" })).initiator, "user:ana");
  assert.match(problemOf(mapClaims(policy, CI, { repository_id: "4711" })), /initiator cannot be read/);
  assert.match(problemOf(mapClaims(policy, CI, { repository_id: "4711", actor: "" })), /initiator read from the claims is not/);
});

test("a name that is none is a problem that does not repeat it", () => {
  for (const email of ["a b", "", "x\u202Ey", "x".repeat(300), "é".repeat(126), "\ud800", "x\ny", 7, null, ["a"], {}])
    assert.ok(!problemOf(mapClaims(policy, LOGIN, { email, email_verified: true })).includes("user:x"), JSON.stringify(email));
  assert.match(problemOf(mapClaims(policy, LOGIN, { email: "x".repeat(300), email_verified: true })), /at most 256 bytes/);
  assert.match(problemOf(mapClaims(policy, LOGIN, {})), /email_verified/);
});

test("an unknown issuer maps nobody", () => {
  assert.match(problemOf(mapClaims(policy, "https://evil.test", { email: "ana@acme.test", email_verified: true })), /no such issuer/);
});

test("absent groups are no groups, malformed ones a problem", () => {
  const claims = { email: "di@acme.test", email_verified: true };
  assert.equal(principalOf(mapClaims(policy, LOGIN, claims)).groups.size, 0);
  assert.match(problemOf(mapClaims(policy, LOGIN, { ...claims, groups: [1] })), /groups cannot be read/);
  assert.match(problemOf(mapClaims(policy, LOGIN, { ...claims, groups: { a: 1 } })), /groups cannot be read/);
});

test("development tokens name principal and groups themselves", () => {
  const who = principalOf(mapDevelopmentClaims(policy, { sub: "user:bo@acme.test", groups: ["sre"] }));
  assert.deepEqual([...who.groups].toSorted(), ["group:oncall", "group:sre"]);
  assert.match(problemOf(mapDevelopmentClaims(policy, { sub: "bo" })), /not well formed/);
  assert.match(problemOf(mapDevelopmentClaims(policy, { sub: 7 })), /not a text/);
  assert.match(problemOf(mapDevelopmentClaims(policy, { sub: "user:bo", groups: "sre" })), /list of texts/);
});

test("a SPIFFE ID of a trusted domain names a workload, and nothing else does", () => {
  assert.equal(principalOf(mapSpiffe(policy, "spiffe://acme.test/shop")).name, "workload:spiffe://acme.test/shop");
  for (const uri of [
    "spiffe://evil.test/shop",
    "spiffe://acme.test",
    "spiffe://acme.test/",
    "spiffe://acme.test/a/../b",
    "spiffe://acme.test/a//b",
    "spiffe://ACME.test/a",
    "https://acme.test/a",
    "spiffe://acme.test/a?b",
    "spiffe://acme.test/a\n",
    "spiffe://u@acme.test/a",
    "spiffe://acme.test:1/a",
  ])
    assert.equal(mapSpiffe(policy, uri).ok, false, uri);
});

test("rights come from the policy, and nobody has any by default", () => {
  const ana = principalOf(mapDevelopmentClaims(policy, { sub: "user:ana@acme.test" }));
  const di = principalOf(mapDevelopmentClaims(policy, { sub: "user:di@acme.test" }));
  assert.deepEqual([hasRole(policy, "admin", ana), hasRole(policy, "auditor", ana), hasRole(policy, "admin", di)], [true, false, false]);
  assert.equal(isGuard(policy, principalOf(mapSpiffe(policy, "spiffe://acme.test/shop"))), true);
  assert.equal(isGuard(policy, ana), false);
  assert.equal(matchesAny([], ana), false, "an empty list means nobody");
});

test("known approvers leave out who asks, and say when there may be more", () => {
  assert.deepEqual(knownApprovers(policy, ["group:oncall", "user:cy@acme.test"], new Set(["user:ana@acme.test"])), {
    people: new Set(["user:bo@acme.test", "user:cy@acme.test"]),
    complete: true,
  });
  assert.deepEqual(knownApprovers(policy, ["group:support"], new Set()), { people: new Set(), complete: false });
  assert.deepEqual(knownApprovers(policy, ["ci:acme/1"], new Set()), { people: new Set(), complete: true }, "a pipeline is no person");
});

test("property: whatever the claims are, the result is a well-formed principal or a problem", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom("email", "email_verified", "groups", "actor", "repository_id", "__proto__"), fc.jsonValue()),
      (claims) => {
        for (const mapped of [mapClaims(policy, LOGIN, claims), mapClaims(policy, CI, claims), mapDevelopmentClaims(policy, claims)]) {
          if (!mapped.ok) continue;
          assert.match(mapped.principal.name, /^(user|workload|ci):[^\s]+$/u);
          for (const group of mapped.principal.groups) assert.match(group, /^group:/);
        }
      },
    ),
    { numRuns: 500 },
  );
});
