// Findings, each with its exact place: the rule fires where the fault is, and nowhere in a sound document.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Severity } from "@brevet/protocol/brevet/v1/policy";
import { SHOP_POLICY, shopDescriptors } from "../testdata/shop.ts";
import { loadPolicy } from "./load.ts";

const WORD: Readonly<Record<Severity, string>> = {
  [Severity.UNSPECIFIED]: "?",
  [Severity.NOTE]: "note",
  [Severity.WARNING]: "warning",
  [Severity.ERROR]: "error",
};

function findings(
  text: string,
  options: { descriptors?: Uint8Array; authorityAudience?: string } = { descriptors: shopDescriptors },
): string[] {
  return loadPolicy(text, { file: "p.yaml", ...options }).findings.map(
    (each) => `${each.line}:${each.column} ${WORD[each.severity]} ${each.rule}`,
  );
}

/** The line and column, from 1, of the `nth` place of `needle`. */
function placeOf(text: string, needle: string, nth = 0): string {
  let at = text.indexOf(needle);
  for (let i = 0; i < nth; i++) at = text.indexOf(needle, at + 1);
  assert.notEqual(at, -1, `no ${needle} in the document`);
  const before = text.slice(0, at).split("\n");
  return `${before.length}:${(before.at(-1)?.length ?? 0) + 1}`;
}

/** A change to the sound document, and the finding that it brings, at the place of `needle`. */
interface Fault {
  readonly change: readonly (readonly [from: string, to: string])[];
  readonly finding: string;
  readonly at: string;
  readonly nth?: number;
}

const STAGES =
  'stages:\n        - approvers: ["group:oncall"]\n          quorum: 1\n          escalate: { after: 10m, to: ["group:security"] }';
const CONDITION = 'request.amount_cents <= 50000 && request.tags.all(t, t != "vip")';

const faults: Readonly<Record<string, Fault>> = {
  "an unknown key, with what was meant": { change: [["guards:", "gaurds:"]], finding: "error unknown-key", at: "gaurds" },
  "an unknown key deep inside": { change: [["quorum: 2", "qurum: 2"]], finding: "error unknown-key", at: "qurum" },
  "a wrong type": { change: [['mayAssert: ["group:support", "group:sre"]', "mayAssert: 7"]], finding: "error wrong-type", at: "7", nth: 0 },
  "a duration without a unit": { change: [["default: 15m", "default: 15"]], finding: "error wrong-type", at: "15,", nth: 0 },
  "a missing key": { change: [['    requesters: ["group:sre"]\n', ""]], finding: "error missing-key", at: "break-glass:" },
  "a key that stands twice": {
    change: [["audience: shop-prod\n", "audience: shop-prod\naudience: other\n"]],
    finding: "error duplicate-key",
    at: "audience: other",
  },
  "broken YAML": { change: [["audience: shop-prod", "audience: [shop-prod"]], finding: "error yaml-syntax", at: "descriptors:" },
  "an alias": {
    change: [
      ["audience: shop-prod", "audience: &a shop-prod"],
      ["descriptors: shop.binpb", "descriptors: *a"],
    ],
    finding: "error yaml-alias",
    at: "*a",
  },
  "an unknown service": { change: [["shop.v1.Shop:", "shop.v1.Shpo:"]], finding: "error unknown-service", at: "shop.v1.Shpo:" },
  "an unknown method": { change: [["Load: { access", "Laod: { access"]], finding: "error unknown-method", at: "Laod" },
  "an unknown method in an entitlement": {
    change: [["methods: [shop.v1.Shop/Load]", "methods: [shop.v1.Shop/Lod, shop.v1.Shop/Load]"]],
    finding: "error unknown-method",
    at: "shop.v1.Shop/Lod,",
  },
  "a malformed pattern": {
    change: [["methods: [shop.v1.Shop/Load]", "methods: [shop.v1.Shop/Load, shop.*]"]],
    finding: "error pattern-malformed",
    at: "shop.*",
  },
  "a pattern that matches nothing": {
    change: [['"shop.v1.Shop/*"', '"shop.v2.Shop/*"']],
    finding: "error pattern-matches-nothing",
    at: '"shop.v2',
  },
  "an entitlement for a forbidden method": {
    change: [["methods: [shop.v1.Shop/Load]", "methods: [shop.v1.Shop/Load, shop.v1.Shop/Chat]"]],
    finding: "error method-forbidden",
    at: "shop.v1.Shop/Chat",
  },
  "an entitlement for a method that needs none": {
    change: [["methods: [shop.v1.Shop/Load]", "methods: [shop.v1.Shop/Load, shop.v1.Shop/Find]"]],
    finding: "warning method-not-elevated",
    at: "shop.v1.Shop/Find",
  },
  "an elevated method that no entitlement reaches": {
    change: [
      ['"shop.v1.Shop/*"', "shop.v1.Shop/Refund"],
      ["methods: [shop.v1.Shop/Load]", "methods: [shop.v1.Shop/Refund]"],
    ],
    finding: "error method-unreachable",
    at: "elevated }",
  },
  "an elevated default that no entitlement reaches": {
    change: [
      ["default: authenticated", "default: elevated"],
      ['"shop.v1.Shop/*"', "shop.v1.Shop/Refund"],
    ],
    finding: "error method-unreachable",
    at: "elevated",
  },
  "a field that the request lacks": {
    change: [[CONDITION, "request.amount_cent < 5"]],
    finding: "error condition-invalid",
    at: ".amount_cent",
  },
  "a wrong field behind an or": { change: [[CONDITION, "true || request.nope == 1"]], finding: "error condition-invalid", at: ".nope" },
  "a type error in a quoted condition": {
    change: [[CONDITION, "\"request.amount_cents == 'x'\""]],
    finding: "error condition-invalid",
    at: "== 'x'",
  },
  "an automatic rule that does not parse": {
    change: [['principal.kind == "ci" &&', 'principal.kind == "ci" && &&']],
    finding: "error condition-invalid",
    at: "&& && principal",
  },
  "a pattern that is no RE2": { change: [["'^[A-Z]+-[0-9]+'", "'(?=x)'"]], finding: "error pattern-invalid", at: "'(?=x)'" },
  "a mapping that reads no claims": {
    change: [["claims.repository_id", "claim.repository_id"]],
    finding: "error mapping-invalid",
    at: "claim.repository_id",
  },
  "a quorum that its approvers cannot reach": { change: [["quorum: 2", "quorum: 3"]], finding: "error quorum-unreachable", at: "3 }" },
  "stages that together need more people than there are": {
    change: [[STAGES, 'stages: [{ approvers: ["group:oncall"], quorum: 2 }, { approvers: ["user:ana@acme.test"] }]']],
    finding: "error quorum-unreachable",
    at: "[{ approvers",
  },
  "a quorum of 0": { change: [["quorum: 2", "quorum: 0"]], finding: "error quorum-zero", at: "0 }" },
  "only the one who asks could approve": {
    change: [
      ['requesters: ["group:support"]\n    present: grant', 'requesters: ["user:ana@acme.test"]\n    present: grant'],
      ['approvers: ["group:oncall"], quorum: 2', 'approvers: ["user:ana@acme.test"]'],
    ],
    finding: "error self-approval",
    at: '["user:ana@acme.test"] }',
  },
  "a requester for whom too few others can approve": {
    change: [
      ['requesters: ["group:support"]\n    present: grant', 'requesters: ["user:ana@acme.test", "group:support"]\n    present: grant'],
    ],
    finding: "warning quorum-unreachable-for",
    at: "2 }",
  },
  "an empty approver list": {
    change: [['approvers: ["group:oncall"], quorum: 2', "approvers: []"]],
    finding: "error no-approvers",
    at: "[] }",
  },
  "approvers whom nobody can be": {
    change: [['approvers: ["group:oncall"], quorum: 2', 'approvers: ["group:ghosts"]']],
    finding: "error no-approvers",
    at: '["group:ghosts"]',
  },
  "no approval at all": {
    change: [['    approval: { stages: [{ approvers: ["group:oncall"], quorum: 2 }] }\n', ""]],
    finding: "error no-approvers",
    at: "loader:",
  },
  "an automatic rule and nobody else": { change: [[`      ${STAGES}\n`, ""]], finding: "warning automatic-only", at: "principal.kind ==" },
  "escalation to nobody": { change: [['to: ["group:security"]', "to: []"]], finding: "error no-approvers", at: "[] }" },
  "an approver who is no person": {
    change: [['approvers: ["group:oncall"], quorum: 2', 'approvers: ["group:oncall", "ci:acme/1"], quorum: 2']],
    finding: "error approver-not-a-person",
    at: '"ci:acme/1"',
  },
  "approvers known from claims only": {
    change: [['approvers: ["group:oncall"], quorum: 2', 'approvers: ["group:sre"]']],
    finding: "warning approvers-unknown",
    at: '["group:sre"] }',
  },
  "a group that nobody can be in": {
    change: [['requesters: ["group:sre"]', 'requesters: ["group:sre", "group:srr"]']],
    finding: "warning empty-group",
    at: '"group:srr"',
  },
  "an entitlement that nobody can request": {
    change: [['requesters: ["group:sre"]', "requesters: []"]],
    finding: "error nobody-can-request",
    at: "[]",
  },
  "a selector that is none": {
    change: [['requesters: ["group:sre"]', 'requesters: ["ana@acme.test"]']],
    finding: "error selector-malformed",
    at: '"ana@acme.test"',
  },
  "a default longer than the max": {
    change: [["default: 15m, max: 1h", "default: 2h, max: 1h"]],
    finding: "error default-exceeds-max",
    at: "2h, max",
  },
  "an extension shorter than the window": {
    change: [["extend: { max: 2h", "extend: { max: 30m"]],
    finding: "error extend-below-max",
    at: "30m, approval",
  },
  "a length of 0": { change: [["default: 15m", "default: 0s"]], finding: "error absurd-duration", at: "0s," },
  "a negative length": { change: [["after: 10m", "after: -10m"]], finding: "error absurd-duration", at: "-10m" },
  "more than 30 days": { change: [["duration: { max: 30m }", "duration: { max: 31d }"]], finding: "error absurd-duration", at: "31d" },
  "a drain that outlives what guards remember": { change: [["for: 30s", "for: 25h"]], finding: "error absurd-duration", at: "25h }" },
  "a drain time without draining": {
    change: [["onExpiry: drain", "onExpiry: terminate"]],
    finding: "warning drain-time-unused",
    at: "30s }",
  },
  "others who would be asked when it has lapsed already": {
    change: [["after: 10m", "after: 1h"]],
    finding: "warning escalation-too-late",
    at: "1h, to",
  },
  "others who would be asked when a shorter wait is over": {
    change: [["    extend: { max: 2h", "    pending: 10m\n    extend: { max: 2h"]],
    finding: "warning escalation-too-late",
    at: "10m, to",
  },
  "stale later than the limit": {
    change: [["entitlements:", "whenStale: { after: 2m, atMost: 1m }\nentitlements:"]],
    finding: "error stale-limits",
    at: "1m }",
  },
  "a schedule that ends when it starts": {
    change: [['to: "18:00"', 'to: "08:00"']],
    finding: "error schedule-empty",
    at: '"08:00"',
    nth: 1,
  },
  "a schedule over midnight": { change: [['to: "18:00"', 'to: "06:00"']], finding: "note schedule-overnight", at: '"06:00"' },
  "a schedule without days": { change: [["days: [mon, tue, wed, thu, fri]", "days: []"]], finding: "error schedule-empty", at: "[], from" },
  "a time that is none": { change: [['from: "08:00"', 'from: "8 am"']], finding: "error schedule-malformed", at: '"8 am"' },
  "an unknown time zone": { change: [["Europe/Berlin", "Europe/Berlni"]], finding: "error unknown-timezone", at: "Europe/Berlni" },
  "an entitlement's id with a space": { change: [["  loader:", '  "the loader":']], finding: "error entitlement-id", at: '"the loader"' },
  "bind on a stream": {
    change: [["Load: { access: elevated }", "Load: { access: elevated, bind: payload }"]],
    finding: "error bind-on-stream",
    at: "payload }",
  },
  "bind without an approval": {
    change: [["Chat: { access: forbidden }", "Find: { access: open, bind: payload }"]],
    finding: "warning bind-unused",
    at: "payload }",
    nth: 1,
  },
  "break-glass with an approval": {
    change: [["    duration: { max: 30m }", "    approval: { stages: [] }\n    duration: { max: 30m }"]],
    finding: "error break-glass-contradiction",
    at: "approval: { stages: [] }",
  },
  "break-glass with an extension": {
    change: [["    duration: { max: 30m }", "    extend: { max: 1h }\n    duration: { max: 30m }"]],
    finding: "error break-glass-contradiction",
    at: "extend: { max: 1h }",
  },
  "break-glass that nobody sees": {
    change: [['notify: ["group:security"]', "notify: []"]],
    finding: "error break-glass-unseen",
    at: "[], reviewWithin",
  },
  "the authority's audience as an issuer's": {
    change: [["audiences: [shop-prod]", "audiences: [shop-prod, brevet]"]],
    finding: "error audience-overlap",
    at: "brevet]",
  },
  "the authority's audience as the policy's": {
    change: [["audience: shop-prod", "audience: brevet"]],
    finding: "error audience-overlap",
    at: "brevet\n",
  },
  "an issuer without https": {
    change: [["https://login.acme.test", "http://login.acme.test"]],
    finding: "error issuer-url",
    at: "http://login",
  },
  "an issuer that stands twice": {
    change: [["https://ci.acme.test", "https://login.acme.test"]],
    finding: "error duplicate-issuer",
    at: "https://login.acme.test",
    nth: 1,
  },
  "an issuer of no audience": { change: [["audiences: [shop-prod]", "audiences: []"]], finding: "error no-audience", at: "[]" },
  "groups that the issuer may not assert": {
    change: [['      mayAssert: ["group:support", "group:sre"]\n', ""]],
    finding: "warning groups-without-may-assert",
    at: "claims.groups",
  },
  "a principal of any kind that the claims like": {
    change: [["\"'user:' + claims.email\"", "claims.sub"]],
    finding: "warning principal-from-claims",
    at: "claims.sub",
  },
  "a trust domain that is none": {
    change: [["spiffe: [acme.test]", 'spiffe: ["spiffe://acme.test"]']],
    finding: "error trust-domain-malformed",
    at: '"spiffe://acme.test"',
  },
  "a group in a group": {
    change: [['"group:security": ["user:cy@acme.test"]', '"group:security": ["user:cy@acme.test", "group:oncall"]']],
    finding: "error nested-group",
    at: '"group:oncall"]',
  },
  "a group without its prefix": {
    change: [['"group:security": [', '"group:security": ["user:cy@acme.test"]\n  audit: [']],
    finding: "error group-malformed",
    at: "audit:",
  },
  "no guard": { change: [['guards: ["workload:spiffe://acme.test/shop"]', "guards: []"]], finding: "warning no-guards", at: "[]" },
  "a single admin and a quorum": {
    change: [['admin: ["user:ana@acme.test", "user:bo@acme.test"]', 'admin: ["user:ana@acme.test"]']],
    finding: "warning apply-quorum-unreachable",
    at: '["user:ana@acme.test"]',
  },
  "versions without an approval": {
    change: [["services:", "apply: { quorum: 0 }\nservices:"]],
    finding: "warning apply-without-approval",
    at: "0 }",
  },
  "a policy that only observes": { change: [["services:", "mode: observe\nservices:"]], finding: "warning observe-mode", at: "observe" },
  "a test of an unknown entitlement": {
    change: [["with: refund-operator", "with: refund-operater"]],
    finding: "error unknown-entitlement",
    at: "refund-operater",
  },
  "a test that expects no reason there is": {
    change: [["reason: CONDITION_NOT_MET", "reason: NOT_TODAY"]],
    finding: "error expectation-malformed",
    at: "NOT_TODAY",
  },
  "a service that is none": {
    change: [["  shop.v1.Shop:\n", '  "shop v1":\n    default: open\n  shop.v1.Shop:\n']],
    finding: "error service-malformed",
    at: '"shop v1"',
  },
  "a method that is none": {
    change: [["      Load: {", '      "Lo/ad": { access: open }\n      Load: {']],
    finding: "error method-malformed",
    at: '"Lo/ad"',
  },
  "groups that no claim is read for": {
    change: [["      groups: claims.groups\n", ""]],
    finding: "warning may-assert-without-groups",
    at: '["group:support", "group:sre"]',
  },
  "no admin": { change: [['admin: ["user:ana@acme.test", "user:bo@acme.test"]', "admin: []"]], finding: "warning no-admin", at: "[]" },
};

test("what concerns the whole document has no line", () => {
  const bare = "apiVersion: brevet.dev/v1\naudience: a\n";
  assert.deepEqual(findings(bare).toSorted(), ["0:0 warning no-admin", "0:0 warning no-guards", "0:0 warning no-services"]);
  assert.deepEqual(
    findings(bare, {}).filter((each) => each.includes("names-unchecked")),
    ["0:0 warning names-unchecked"],
  );
  assert.deepEqual(findings("x".repeat(1024 * 1024 + 1)), ["0:0 error document-too-long"]);
});

test("a sound document has no finding", () => {
  assert.deepEqual(findings(SHOP_POLICY), []);
  assert.ok(loadPolicy(SHOP_POLICY, { descriptors: shopDescriptors }).policy);
});

for (const [name, fault] of Object.entries(faults)) {
  test(`${name} is found at its place`, () => {
    let text = SHOP_POLICY;
    for (const [from, to] of fault.change) {
      assert.ok(text.includes(from), `the document has no ${from}`);
      text = text.replace(from, () => to);
    }
    const found = findings(text);
    const wanted = `${placeOf(text, fault.at, fault.nth)} ${fault.finding}`;
    assert.ok(found.includes(wanted), `wanted ${wanted}, found ${found.join(", ") || "nothing"}`);
    assert.equal(
      loadPolicy(text, { descriptors: shopDescriptors }).policy === undefined,
      found.some((each) => each.includes(" error ")),
    );
  });
}

test("without descriptors a condition on the request is an error, and what was not checked is said", () => {
  const found = findings(SHOP_POLICY, {});
  assert.ok(found.includes(`${placeOf(SHOP_POLICY, "shop.binpb")} warning names-unchecked`), found.join());
  assert.ok(found.includes(`${placeOf(SHOP_POLICY, CONDITION)} error condition-needs-descriptors`), found.join());
});

test("descriptors that are none are an error where they are named", () => {
  const found = findings(SHOP_POLICY, { descriptors: new Uint8Array([255, 255, 1]) });
  assert.ok(found.includes(`${placeOf(SHOP_POLICY, "shop.binpb")} error descriptors-unreadable`), found.join());
});

test("the authority's audience can be another", () => {
  assert.ok(
    findings(SHOP_POLICY, { descriptors: shopDescriptors, authorityAudience: "shop-prod" }).some((each) =>
      each.endsWith("error audience-overlap"),
    ),
  );
});

test("a stream that starts only with the client's first message is warned of", () => {
  const text = SHOP_POLICY.replace("Chat: { access: forbidden }", "Chat: { access: elevated }").replace(
    "methods: [shop.v1.Shop/Refund]",
    "methods: [shop.v1.Shop/Refund, shop.v1.Shop/Chat]",
  );
  assert.deepEqual(findings(text), [`${placeOf(text, CONDITION)} warning condition-holds-stream`]);
});

test("nothing makes loading throw: garbage gets findings", () => {
  for (const text of [
    "",
    "\0",
    "- a\n- b",
    "a: [",
    "x".repeat(2_000_000),
    "{}",
    "null",
    "a: b: c",
    "? [a]\n: b",
    "%YAML 9\n---\na",
    "apiVersion: &a [*a]",
    "---\na: 1\n---\nb: 2",
    "__proto__: {}\naudience: x",
  ]) {
    const loaded = loadPolicy(text, { descriptors: shopDescriptors });
    assert.equal(loaded.policy, undefined, text.slice(0, 20));
    assert.ok(loaded.findings.length > 0, text.slice(0, 20));
  }
});

test("a document that nests without end is refused before it is parsed, at its place", () => {
  const head = "audience: a\n";
  for (const [text, at] of [
    [`${head}groups: ${"[".repeat(200_000)}`, "2:73"],
    [`${head}groups: ${"{a: ".repeat(60_000)}`, "2:265"],
    [`${head}groups:\n${"- ".repeat(100_000)}a`, "3:129"],
    [`${head}${"? ".repeat(100_000)}a`, "2:129"],
  ] as const)
    assert.deepEqual(findings(text), [`${at} error nested-too-deep`], text.slice(0, 30));
  const deep = `${"[".repeat(60)}${"]".repeat(60)}`;
  const quoted = `"${"[".repeat(100)}" # ${"[".repeat(100)}`;
  for (const text of [`${head}groups: ${deep}`, `${head}descriptors: ${quoted}\n`, `${head}guards:\n${"  - a\n".repeat(100)}`])
    assert.ok(!findings(text).some((each) => each.endsWith("nested-too-deep")), text.slice(0, 30));
});

test("checking costs with the document's length, not with its square", () => {
  const head = "apiVersion: brevet.dev/v1\naudience: a\n";
  const costs = (lines: number, text: (i: number) => string) => {
    const document = head + Array.from({ length: lines }, (_unused, i) => text(i)).join("");
    const startMs = performance.now();
    loadPolicy(document);
    return performance.now() - startMs;
  };
  for (const line of [(i: number) => `k${i}: 1\n`, (i: number) => (i === 0 ? "groups:\n" : `  g${i}: [a]\n`)]) {
    costs(1000, line);
    const [some, many] = [Math.min(costs(2000, line), costs(2000, line)), costs(16_000, line)];
    assert.ok(many < Math.max(some, 20) * 24, `${some} ms, then ${many} ms for eight times as much`);
  }
});

test("of very many findings the first are told, and how many more there are", () => {
  const text = `apiVersion: brevet.dev/v1\naudience: a\n${Array.from({ length: 3000 }, (_unused, i) => `k${i}: 1\n`).join("")}`;
  const { policy, findings: all } = loadPolicy(text);
  assert.equal(policy, undefined);
  assert.deepEqual([all.length, all[0]?.rule, all[0]?.message], [1001, "more-findings", "2000 more findings are left out"]);
});

test("what is wrong is said with what was meant", () => {
  const [finding] = loadPolicy(SHOP_POLICY.replace("guards:", "gaurds:"), { descriptors: shopDescriptors }).findings;
  assert.equal(`${finding?.message}; ${finding?.fix}`, "unknown key gaurds; did you mean guards?");
});
