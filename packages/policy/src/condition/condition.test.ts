import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { PrincipalFacts } from "../principal/principal.ts";
import { shopBytes, shopType, shopTypes } from "../testdata/shop.ts";
import { type ConditionOutcome, compileCondition, MAX_REQUEST_BYTES } from "./condition.ts";

const who: PrincipalFacts = {
  name: "user:di@acme.test",
  kind: "user",
  groups: new Set(["group:support"]),
  claims: { level: 3, list: ["a", "b"], nested: { ok: true }, none: null },
};
const order = {
  id: "o1",
  amount_cents: "500",
  count: 4,
  weight: 1.5,
  paid: true,
  speed: "SPEED_FAST",
  tags: ["a", "b"],
  items: [{ name: "x", amount_cents: "5" }],
  labels: { env: "prod" },
  time: "2026-01-01T00:00:00Z",
  numbers: ["1", "2"],
};

function compile(source: string, type = "Order") {
  return compileCondition(source, {
    requestTypes: new Map([["shop.v1.Shop/Buy", shopType(type)]]),
    enumNamed: (name) => shopTypes.getEnum(name),
  });
}

function evaluate(source: string, json: Parameters<typeof shopBytes>[1] = order): ConditionOutcome {
  const compiled = compile(source);
  assert.ok(compiled.ok, compiled.ok ? "" : `${source}: ${compiled.problem.message}`);
  return compiled.condition.evaluate({ request: shopBytes("Order", json), principal: who });
}

const holds = [
  "request.amount_cents <= 500 && request.amount_cents > 499",
  "request.amount_cents == 500",
  "request.count == 4 && request.count == 4u && request.count + 1u == 5u",
  "request.weight * 2.0 == 3.0",
  "request.paid",
  "!request.paid || request.id == 'o1'",
  'request.id in ["o1", "o2"]',
  "request.speed == shop.v1.Speed.SPEED_FAST",
  "request.speed in [shop.v1.Speed.SPEED_FAST, shop.v1.Speed.SPEED_SLOW]",
  "request.speed == 2 && int(request.speed) == 2",
  'request.tags.exists(t, t == "a") && request.tags.all(t, t.size() == 1) && request.tags.exists_one(t, t == "b")',
  'request.tags == ["a", "b"] && request.tags[0] == "a"',
  'request.items.all(i, i.name.startsWith("x") && i.amount_cents < 6)',
  'request.labels["env"] == "prod" && request.labels.env == "prod" && "env" in request.labels',
  "has(request.labels.env) && !has(request.labels.nope) && has(request.time) && !has(request.main)",
  'request.main.name == ""',
  "request.note == null",
  'request.time < timestamp("2026-01-02T00:00:00Z") && request.time + duration("24h") == timestamp("2026-01-02T00:00:00Z")',
  "2 in request.numbers",
  "size(request.tags) == 2",
  'request.id.matches("^o[0-9]$") && request.id.contains("1") && request.id.endsWith("1")',
  'principal.kind == "user" && principal.name.endsWith("@acme.test") && "group:support" in principal.groups',
  'principal.claims.level >= 3 && "a" in principal.claims.list && principal.claims.nested.ok',
  "has(principal.claims.level) && !has(principal.claims.nope)",
  "request.paid ? request.amount_cents == 500 : false",
  "principal.claims.nope == 1 || true",
];

for (const source of holds) test(`holds: ${source}`, () => assert.equal(evaluate(source), "true"));

const refused: readonly (readonly [string, RegExp])[] = [
  ["request.nope == 1 || true", /no field nope/],
  ["true || request.items.exists(i, i.nope == 1)", /no field nope/],
  ["request.amountCents == 1", /no field amountCents/],
  ["request.amount_cents == '5'", /do not compare/],
  ["request.paid == 1", /do not compare/],
  ["request.amount_cents + request.count > 1", /no meaning/],
  ["request.amount_cents < 'x'", /no meaning/],
  ["request.speed == 'SPEED_FAST'", /do not compare/],
  ["request.speed == 7", /do not compare/],
  ["request.speed == shop.v1.Speed.SPEED_QUICK", /no value SPEED_QUICK/],
  ["request.speed == shop.v1.Colour.COLOUR_RED", /do not compare/],
  ["request.speed == shop.v1.Sped.SPEED_FAST", /unknown name/],
  ["request.main == request.main", /do not compare/],
  ["request.main == null", /do not compare/],
  ["request.extra == 1", /can hold any type/],
  ["has(request.extra.x)", /can hold any type/],
  ["request.tags.map(t, t).size() > 0", /map is not supported/],
  ["request.tags.filter(t, true) == []", /filter is not supported/],
  ["request.tags.exists(request, true)", /has a meaning already/],
  ["request.tags.exists(t, t)", /needs bool/],
  ["request.id.exists(t, true)", /exists over string/],
  ["request.id.matches(request.id)", /written out/],
  ["request.id.matches('(')", /not an RE2 pattern/],
  ["request.id.replace('a', 'b') == ''", /no function replace/],
  ["type(request) == type(request)", /no function type/],
  ["int('') == 0", /does not convert/],
  ["int(principal.claims.level) == 3", /does not convert/],
  ["timestamp(request.id) == request.time", /written out/],
  ["request.time.getHours() > 3", /no function getHours/],
  ["request", /true or false/],
  ["request.amount_cents", /true or false/],
  ["shop.v1.Item{name: 'x'} == request.main", /cannot be made/],
  ["{'a': 1}['a'] == 1", /cannot be made/],
  ["principal.email == 'x'", /no field email/],
  ["now > 1", /unknown name now/],
  ["claims.x == 1", /unknown name claims.x/],
  ["[1, 'a'] == [1, 2]", /in a list of/],
  ["request.labels[1] == 'x'", /cannot be looked up/],
  ["request.tags['a'] == 'x'", /cannot be looked up/],
  ["-request.id == 'x'", /- of string/],
  ["", /empty/],
  ["true &&", /not CEL/],
];

for (const [source, message] of refused)
  test(`does not compile: ${source}`, () => {
    const compiled = compile(source);
    assert.ok(!compiled.ok);
    assert.match(compiled.problem.message, message);
  });

test("length and nesting are limited before parsing", () => {
  for (const source of [
    `${"x".repeat(1990)} == 1 && true`,
    `${"(".repeat(65)}true${")".repeat(65)}`,
    `${"!".repeat(65)}true`,
    `${"-".repeat(999)}1 == 1`,
    `1${"+1".repeat(900)} == 901`,
  ]) {
    const compiled = compile(source);
    assert.ok(!compiled.ok, source.slice(0, 20));
    assert.match(compiled.problem.message, /characters|nested|inside each other/);
  }
  assert.equal(evaluate(`${"(".repeat(64)}true${")".repeat(64)}`), "true");
  assert.equal(evaluate(`"${"(".repeat(100)}" != r'\\' && '${"!".repeat(100)}' != ""`), "true", "brackets inside texts do not count");
});

test("a condition is checked against the request of each method that it is for", () => {
  const requestTypes = new Map([
    ["shop.v1.Shop/Buy", shopType("Order")],
    ["shop.v1.Shop/Find", shopType("Query")],
  ]);
  const wrong = compileCondition("request.id == 'x'", { requestTypes });
  assert.ok(!wrong.ok && /shop.v1.Query has no field id/.test(wrong.problem.message));
  const right = compileCondition("principal.kind == 'user'", { requestTypes });
  assert.ok(right.ok && !right.condition.readsRequest);
});

test("a condition for several requests reads the one of the called method", () => {
  const requestTypes = new Map([
    ["shop.v1.Shop/Buy", shopType("Order")],
    ["shop.v1.Shop/Pick", shopType("Item")],
  ]);
  const compiled = compileCondition("request.amount_cents < 10", { requestTypes });
  assert.ok(compiled.ok);
  const item = shopBytes("Item", { amount_cents: "9" });
  assert.equal(compiled.condition.evaluate({ method: "shop.v1.Shop/Pick", request: item, principal: who }), "true");
  assert.match(JSON.stringify(compiled.condition.evaluate({ request: item, principal: who })), /not known for this method/);
});

test("errors are values and never true", () => {
  for (const source of [
    "principal.claims.nope == 1",
    "request.tags[9] == 'x'",
    "request.amount_cents / 0 == 1",
    "principal.claims.level",
    "principal.claims.list < 3",
    "principal.claims.none",
  ]) {
    const outcome = evaluate(source);
    assert.ok(typeof outcome === "object" && outcome.error !== "", `${source}: ${JSON.stringify(outcome)}`);
  }
});

test("a request that is missing, too long or garbage is an error", () => {
  const compiled = compile("request.amount_cents <= 500 || true");
  assert.ok(compiled.ok);
  for (const request of [undefined, new Uint8Array([255, 255, 255]), new Uint8Array(MAX_REQUEST_BYTES + 1)]) {
    const outcome = compiled.condition.evaluate({ principal: who, ...(request && { request }) });
    assert.equal(typeof outcome, "object");
  }
});

test("an evaluation that costs too much ends as an error, whatever an or makes of it", () => {
  const numbers = Array.from({ length: 3000 }, (_, i) => String(i));
  for (const source of [
    "request.numbers.all(x, request.numbers.exists(y, y == x)) || true",
    "!request.numbers.exists(x, request.numbers.exists(y, y == x + 99999)) || true",
    "request.numbers.exists(x, -1 - x in request.numbers) || true",
  ]) {
    const started = performance.now();
    assert.match(JSON.stringify(evaluate(source, { numbers })), /too many steps/, source);
    assert.ok(performance.now() - started < 2000);
  }
  assert.equal(evaluate("request.numbers.all(x, x >= 0)", { numbers }), "true", "a plain loop over thousands is fine");
  assert.equal(evaluate("1 in request.numbers", { numbers }), "true", "the budget is fresh for each evaluation");
});

test("a pattern is not matched on a text of any length", () => {
  assert.equal(evaluate('request.id.matches("^([ab][ab])*$")', { id: "ab".repeat(20_000) }), "true");
  assert.match(JSON.stringify(evaluate('request.id.matches("^([ab][ab])*$") || true', { id: "ab".repeat(30_000) })), /too many steps/);
});

test("claims of any depth are taken", () => {
  const deep: unknown = JSON.parse(`${"[".repeat(5000)}${"]".repeat(5000)}`);
  const compiled = compile("has(principal.claims.deep)");
  assert.ok(compiled.ok);
  assert.equal(compiled.condition.evaluate({ request: new Uint8Array(), principal: { ...who, claims: { deep } } }), "true");
});

test("a name means our variable, whatever packages the descriptors have", () => {
  const compiled = compileCondition("principal.name == 'x'", {
    requestTypes: new Map(),
    enumNamed: () => shopTypes.getEnum("shop.v1.Speed"),
  });
  assert.ok(compiled.ok);
  assert.equal(compiled.condition.evaluate({ principal: who }), "false");
});

test("property: no text compiles and then throws, and no text compiles that names an unknown field", () => {
  const word = fc.constantFrom(
    "request",
    "principal",
    ".",
    "amount_cents",
    "nope",
    "tags",
    "claims",
    "==",
    "&&",
    "||",
    "!",
    "(",
    ")",
    "1",
    "'a'",
    "[",
    "]",
    ",",
    "exists",
    "t",
    "in",
    "?",
    ":",
    "-",
    "has",
    "+",
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 14 }), (words) => {
      const source = words.join(" ");
      const compiled = compile(source);
      if (!compiled.ok) return;
      assert.ok(!/(request|principal) \. nope/.test(source), source);
      const outcome = compiled.condition.evaluate({ request: shopBytes("Order", order), principal: who });
      assert.ok(outcome === "true" || outcome === "false" || typeof outcome.error === "string");
    }),
    { numRuns: 2000 },
  );
});
