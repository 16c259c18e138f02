import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { parseJws } from "./jws.ts";

const b64 = (text: string | Uint8Array) => Buffer.from(text as string).toString("base64url");
const HEADER = '{"alg":"EdDSA","typ":"JWT","kid":"k1"}';
const CLAIMS = '{"iss":"https://a.test","sub":"ana"}';
const SIGNATURE = b64(new Uint8Array(64).fill(7));
const token = (header = HEADER, claims = CLAIMS) => `${b64(header)}.${b64(claims)}.${SIGNATURE}`;

test("a token in the accepted form is taken apart", () => {
  const form = parseJws(token());
  assert.ok(form.ok);
  assert.deepEqual(form.header, { alg: "EdDSA", typ: "JWT", kid: "k1" });
  assert.deepEqual(form.claims, { iss: "https://a.test", sub: "ana" });
  assert.deepEqual([form.alg, form.typ, form.kid], ["EdDSA", "JWT", "k1"]);
  assert.equal(form.signingInput, `${b64(HEADER)}.${b64(CLAIMS)}`);
  assert.equal(form.signature.length, 64);
});

test("an unsigned token has its form: refusing it is the algorithm's check", () => {
  const form = parseJws(`${b64('{"alg":"none"}')}.${b64(CLAIMS)}.`);
  assert.ok(form.ok);
  assert.equal(form.alg, "none");
  assert.equal(form.signature.length, 0);
});

const deep = `${'{"a":'.repeat(9)}1${"}".repeat(9)}`;
const wrong: [name: string, token: string, problem: RegExp][] = [
  ["empty", "", /empty/],
  ["not a token", "hello", /1 parts/],
  ["two parts", `${b64(HEADER)}.${b64(CLAIMS)}`, /2 parts/],
  ["four parts", `${token()}.x`, /4 parts/],
  ["encrypted", "a.b.c.d.e", /encrypted/],
  ["too long", token(HEADER, `{"a":"${"x".repeat(8200)}"}`), /longer than 8192/],
  ["space inside", token().replace(".", ". "), /white space/],
  ["line break at the end", `${token()}\n`, /white space/],
  ["padding", `${b64(HEADER)}=.${b64(CLAIMS)}.${SIGNATURE}`, /header is not canonical/],
  ["base64, not base64url", `${b64(HEADER)}.${b64(CLAIMS)}.+/${SIGNATURE}`, /signature is not canonical/],
  ["stray bits", `${b64(HEADER)}.${b64(CLAIMS)}.${SIGNATURE.slice(0, -1)}x`, /signature is not canonical/],
  ["impossible length", `${b64(HEADER)}.${b64(CLAIMS)}.AAAAA`, /signature is not canonical/],
  ["no header", `.${b64(CLAIMS)}.${SIGNATURE}`, /header is not canonical/],
  ["no claims", `${b64(HEADER)}..${SIGNATURE}`, /claims are not canonical/],
  ["header not UTF-8", `${b64(Uint8Array.of(0x7b, 0xff, 0x7d))}.${b64(CLAIMS)}.${SIGNATURE}`, /header is not UTF-8/],
  ["byte order mark", token(`\ufeff${HEADER}`), /header is not JSON/],
  ["header not JSON", token("{alg:EdDSA}"), /header is not JSON/],
  ["header an array", token('["EdDSA"]'), /header is not a JSON object/],
  ["claims a string", token(HEADER, '"sub"'), /claims part is not a JSON object/],
  ["claims null", token(HEADER, "null"), /claims part is not a JSON object/],
  ["trailing text", token(HEADER, `${CLAIMS}x`), /claims part is not JSON/],
  ["member twice", token(HEADER, '{"sub":"ana","sub":"bo"}'), /a member twice/],
  ["member twice, once escaped", token(HEADER, '{"sub":"ana","s\\u0075b":"bo"}'), /a member twice/],
  ["member twice, deeper", token(HEADER, '{"act":[{"sub":"a","x":{"y":1},"sub":"b"}]}'), /a member twice/],
  ["header member twice", token('{"alg":"EdDSA","alg":"none"}'), /header has a member twice/],
  ["lone surrogate", token(HEADER, '{"sub":"\\ud800"}'), /lone surrogate/],
  ["number beyond a double", token(HEADER, '{"exp":1e999}'), /out of range/],
  ["nested too deeply", token(HEADER, deep), /nested too deeply/],
  ["no algorithm", token("{}"), /names no algorithm/],
  ["algorithm not a text", token('{"alg":["EdDSA"]}'), /names no algorithm/],
  ["kid not a text", token('{"alg":"EdDSA","kid":{"a":1}}'), /kid/],
  ["kid too long", token(`{"alg":"EdDSA","kid":"${"k".repeat(300)}"}`), /kid/],
  ["typ not a text", token('{"alg":"EdDSA","typ":1}'), /typ/],
  ...["crit", "b64", "jwk", "jku", "x5u", "x5c"].map((name): [string, string, RegExp] => [
    name,
    token(`{"alg":"EdDSA","${name}":"https://evil.test/"}`),
    new RegExp(`header carries ${name}$`),
  ]),
];

for (const [name, text, problem] of wrong) {
  test(`refused: ${name}`, () => {
    const form = parseJws(text);
    assert.ok(!form.ok);
    assert.match(form.problem, problem);
    for (const part of text.split(".")) if (part.length > 8) assert.ok(!form.problem.includes(part), "the problem repeats the token");
    assert.ok(!/evil|ana|https/.test(form.problem), "the problem repeats what is in the token");
  });
}

test("names that objects have anyway are ordinary members", () => {
  const form = parseJws(token(HEADER, '{"__proto__":{"admin":true},"constructor":"x","a":{"toString":1}}'));
  assert.ok(form.ok);
  assert.equal(form.claims.admin, undefined);
  assert.deepEqual(Object.keys(form.claims), ["__proto__", "constructor", "a"]);
});

test("equal names in different objects are not one member twice", () => {
  assert.ok(parseJws(token(HEADER, '{"a":{"x":1},"b":{"x":2},"c":[{"x":3},{"x":4}],"x":"x","d":["x","x"]}')).ok);
});

test("any object that JSON can hold passes, and comes back equal", () => {
  const json = fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue({ maxDepth: 4, stringUnit: "grapheme" }), { maxKeys: 6 });
  fc.assert(
    fc.property(json, (claims) => {
      const text = JSON.stringify(claims);
      const form = parseJws(token(HEADER, text), { maxBytes: 1_000_000 });
      assert.deepEqual(form.ok && form.claims, JSON.parse(text));
    }),
  );
});

test("no text makes it throw, and none of it comes back in the problem", () => {
  const part = fc.oneof(fc.string({ unit: "binary" }), fc.json().map(b64), fc.uint8Array().map(b64), fc.constant(b64(HEADER)));
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(part, { maxLength: 5 }).map((parts) => parts.join(".")),
  );
  fc.assert(
    fc.property(text, (one) => {
      const form = parseJws(one);
      if (!form.ok) assert.match(form.problem, /^[a-zA-Z0-9 ,()'-]+$/);
    }),
    { numRuns: 2000 },
  );
});
