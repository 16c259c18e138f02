import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { percentEncodedLength, sanitise } from "./sanitise.ts";

test("text is cut between characters, at the byte", () => {
  assert.equal(sanitise("abcdef", 6), "abcdef");
  assert.equal(sanitise("abcdefg", 6), "abc…");
  assert.equal(sanitise("éééé", 7), "éé…");
  assert.equal(sanitise("👩‍🚀👩‍🚀", 8), "👩…");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.nat(50), (text, maxBytes) => {
      const clean = sanitise(text, maxBytes);
      assert.ok(Buffer.byteLength(clean) <= maxBytes);
      assert.ok(clean.isWellFormed());
    }),
  );
});

test("sanitising twice changes nothing more", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const once = sanitise(text, 60);
      assert.equal(sanitise(once, 60), once);
    }),
  );
});

test("percent-encoding is counted as gRPC does it", () => {
  assert.equal(percentEncodedLength("a b~"), 4);
  assert.equal(percentEncodedLength("100%"), 6);
  assert.equal(percentEncodedLength("…"), 9);
});
