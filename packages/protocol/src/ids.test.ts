import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { formatId, newId } from "./ids.ts";

const sixteen = fc.uint8Array({ minLength: 16, maxLength: 16 });
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

function bytesOf(id: string): Uint8Array {
  let value = 0n;
  for (const character of id.slice(4)) value = value * 32n + BigInt(ALPHABET.indexOf(character));
  return Uint8Array.from(Buffer.from(value.toString(16).padStart(32, "0"), "hex"));
}

test("an id is its prefix and 26 unambiguous characters", () => {
  fc.assert(
    fc.property(sixteen, (bytes) => {
      assert.match(formatId("elv", bytes), /^elv_[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
    }),
  );
});

test("an id holds all 128 bits", () => {
  fc.assert(
    fc.property(sixteen, (bytes) => {
      assert.deepEqual(bytesOf(formatId("dec", bytes)), bytes);
    }),
  );
  assert.equal(formatId("dec", new Uint8Array(16).fill(255)), "dec_7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
  assert.equal(formatId("dec", new Uint8Array(16)), "dec_00000000000000000000000000");
});

test("ids sort as their bytes do", () => {
  fc.assert(
    fc.property(sixteen, sixteen, (a, b) => {
      const [left, right] = [formatId("prn", a), formatId("prn", b)];
      assert.equal(Math.sign(Buffer.compare(a, b)), left < right ? -1 : left > right ? 1 : 0);
    }),
  );
});

test("an id of too few or too many bytes is refused, not padded", () => {
  assert.throws(() => formatId("elv", new Uint8Array(15)), RangeError);
  assert.throws(() => formatId("elv", new Uint8Array(17)), RangeError);
});

test("fresh ids differ, also where one block of randomness ends and the next begins", () => {
  const ids = new Set(Array.from({ length: 2000 }, () => newId("dec")));
  assert.equal(ids.size, 2000);
});
