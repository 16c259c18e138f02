import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { shopBytes, shopType } from "../testdata/shop.ts";
import { compileCondition } from "./condition.ts";
import { ambiguity } from "./wire.ts";

const ORDER = shopType("Order");
const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

const LONG = "a number is written in more bytes than it needs";

/** What is wrong, as the error says it, and bytes of an Order. */
const REFUSED: readonly [problem: string, bytes: string, why: string][] = [
  [
    "amount_cents has the form of another type",
    "10 90 4e 15 01 00 00 00",
    "a number as fixed32: unknown to some, which keep the one before",
  ],
  ["id has the form of another type", "08 01", "a text as a number"],
  ["main has the form of another type", "6b 6c", "a message as a group"],
  ["main is given twice", "6a 03 0a 01 61 6a 02 10 05", "some merge the two, some take the last"],
  ["paid is not true or false", "28 80 80 80 80 10", "false in 32 bits, true in 64"],
  ["speed is not a signed 32-bit number", "30 82 80 80 80 10", "2 in 32 bits"],
  ["speed is not a signed 32-bit number", "30 ff ff ff ff 0f", "-1 in 32 bits"],
  ["count is not an unsigned 32-bit number", "18 ff ff ff ff ff ff ff ff ff 01", "-1, where there is none"],
  ["a number has more than 64 bits", "10 ff ff ff ff ff ff ff ff ff 02", "bits that nobody has room for"],
  ["a number has more than 64 bits", "10 80 80 80 80 80 80 80 80 80 80 00", "eleven bytes"],
  ["id is no text in UTF-8, or begins with a byte order mark", "0a 02 c1 85", "an E in too many bytes"],
  ["tags is no text in UTF-8, or begins with a byte order mark", "3a 03 ed a0 80", "half a surrogate pair"],
  ["id is no text in UTF-8, or begins with a byte order mark", "0a 04 ef bb bf 45", "a mark that some take off"],
  ["a key of labels is no text in UTF-8, or begins with a byte order mark", "4a 04 0a 02 c1 85", "the same in a map"],
  ["a field has an impossible number", "00 00", "number 0"],
  ["a field has an impossible number", "88 80 80 80 80 01 00", "a number beyond 32 bits"],
  ["a group ends that did not begin", "3c 10 05", "where some stop reading"],
  ["an unknown field is a group, or of no type", "a3 06 a4 06", "which not all can skip"],
  ["an unknown field is a group, or of no type", "a7 06", "wire type 7"],
  [LONG, "10 85 80 00", "a number in two bytes more"],
  [LONG, "18 80 80 80 80 80 00 a2 06 04 00 10 90 4e", "a 32-bit number in six: some read on four bytes later, in what is unknown"],
  [LONG, "18 80 80 80 80 80 80 80 80 00 a2 06 01 00", "in nine"],
  [LONG, "18 80 80 80 80 80 80 80 80 80 00", "in ten"],
  [LONG, "28 80 80 80 80 80 00 a2 06 04 00 10 90 4e", "true or false in six"],
  [LONG, "30 81 80 80 80 80 00 a2 06 04 00 10 90 4e", "an enum in six"],
  [LONG, "0a 80 80 80 80 80 00 a2 06 04 00 10 90 4e", "a length in six"],
  [LONG, "a8 86 80 80 80 00 01", "a tag in six"],
  [LONG, "90 00 05", "a tag in two, where one does"],
  [LONG, "a0 06 80 00", "a number that is unknown"],
  [LONG, "a2 06 81 00 00", "the length of what is unknown"],
  [LONG, "7a 02 80 00", "one of several, packed"],
  [LONG, "4a 81 00 00", "the length of a map's entry"],
  [LONG, "6a 04 10 85 80 00", "a number inside a message"],
  ["a key of labels is __proto__", "4a 0e 0a 09 5f 5f 70 72 6f 74 6f 5f 5f 12 01 62", "an entry that some lose"],
  ["it is cut off", "10", "no value"],
  ["it is cut off", "0a 05 61", "a text that is longer than the message"],
  ["it is cut off", "6a 02 0a 05 10 00 00 00 00", "a text that is longer than the message it is in, and ends in the next field"],
  ["it is cut off", "7a 01 80 10 05", "a packed number that ends in the next field"],
];

for (const [problem, hex, why] of REFUSED)
  test(`a request that libraries read differently is no request to judge: ${problem} (${why})`, () => {
    assert.equal(ambiguity(ORDER, bytes(hex)), problem);
    const compiled = compileCondition("request.amount_cents <= 500", { requestTypes: new Map([["shop.v1.Shop/Buy", ORDER]]) });
    assert.ok(compiled.ok);
    const principal = { name: "user:di@acme.test", kind: "user" as const, groups: new Set<string>(), claims: {} };
    assert.deepEqual(compiled.condition.evaluate({ request: bytes(hex), principal }), {
      error: `the request does not read as one shop.v1.Order to everybody: ${problem}`,
    });
  });

const SAME: readonly [why: string, bytes: string][] = [
  ["nothing", ""],
  ["a number twice: the last counts", "10 05 10 06"],
  ["fields in any order", "28 01 10 05 0a 01 61"],
  ["defaults written out", "0a 00 10 00 28 00"],
  ["a negative number, in all of its ten bytes", "10 ff ff ff ff ff ff ff ff ff 01"],
  ["a large number, in six bytes", "10 80 80 80 80 80 01"],
  ["numbers packed, unpacked, and both", "7a 02 01 02 78 03"],
  ["fields of a newer version", "a0 06 01 a1 06 00 00 00 00 00 00 00 00 a2 06 01 61 a5 06 00 00 00 00"],
  ["an enum's number of a newer version", "30 07"],
  ["a negative enum", "30 ff ff ff ff ff ff ff ff ff 01"],
  ["a key twice in a map: the last counts", "4a 06 0a 01 61 12 01 62 4a 06 0a 01 61 12 01 63"],
  ["an entry of a map without key and value", "4a 00"],
  ["a key that every object has", "4a 10 0a 0b 63 6f 6e 73 74 72 75 63 74 6f 72 12 01 62"],
  ["__proto__ as a value", "4a 0e 0a 01 61 12 09 5f 5f 70 72 6f 74 6f 5f 5f"],
  ["text beyond ASCII", "0a 04 f0 9f 98 80"],
  ["bytes that are no text", "72 02 c1 85"],
];

for (const [why, hex] of SAME)
  test(`what all libraries read the same is judged: ${why}`, () => {
    assert.equal(ambiguity(ORDER, bytes(hex)), undefined);
  });

test("whatever a library writes is judged", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 6 }).filter((each) => each.isWellFormed() && !each.startsWith("\uFEFF"));
  const int = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }).map(String);
  const item = fc.record({ name: text, amountCents: int }, { requiredKeys: [] });
  const order = fc.record(
    {
      id: text,
      amountCents: int,
      count: fc.nat(),
      weight: fc.double({ noNaN: true, noDefaultInfinity: true }),
      paid: fc.boolean(),
      speed: fc.integer(),
      tags: fc.array(text),
      items: fc.array(item),
      labels: fc.dictionary(text, text),
      time: fc.constant("2026-01-01T00:00:00Z"),
      note: text,
      main: item,
      raw: fc.uint8Array().map((raw) => Buffer.from(raw).toString("base64")),
      numbers: fc.array(int),
    },
    { requiredKeys: [] },
  );
  fc.assert(fc.property(order, (json) => assert.equal(ambiguity(ORDER, shopBytes("Order", json)), undefined)));
});
