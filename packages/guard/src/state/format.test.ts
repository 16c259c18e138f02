import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { decodeState, encodeHead, encodeRecord, HEAD_BYTES, RecordKind } from "./format.ts";

const key = randomBytes(32);

function fileOf(payloads: readonly Uint8Array[], behind = new Uint8Array(0)): Buffer {
  const records = Buffer.concat(payloads.map((payload) => encodeRecord(RecordKind.message, payload)));
  const head = encodeHead(HEAD_BYTES + records.length, createHash("sha256").update(records), key);
  return Buffer.concat([head, records, behind]);
}

const payloads = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 });

test("what was written is read back, whatever an unfinished write left behind it", () => {
  fc.assert(
    fc.property(payloads, fc.uint8Array({ maxLength: 50 }), (given, behind) => {
      const records = decodeState(fileOf(given, behind), key);
      assert.ok(typeof records !== "string");
      assert.deepEqual(
        records.map(({ payload }) => Buffer.from(payload).toString("hex")),
        given.map((payload) => Buffer.from(payload).toString("hex")),
      );
    }),
  );
});

test("a file that was cut anywhere is refused, also between two records", () => {
  fc.assert(
    fc.property(payloads, fc.nat(), (given, cut) => {
      const file = fileOf(given);
      assert.equal(decodeState(file.subarray(0, cut % file.length), key), "it is cut short");
    }),
  );
});

test("a file in which any bit was changed is refused", () => {
  fc.assert(
    fc.property(payloads, fc.nat(), fc.integer({ min: 0, max: 7 }), (given, where, bit) => {
      const file = fileOf(given);
      const at = where % file.length;
      file[at] = (file[at] ?? 0) ^ (1 << bit);
      assert.equal(typeof decodeState(file, key), "string");
    }),
  );
});

test("another version of the format and another key are told apart", () => {
  const file = fileOf([Uint8Array.of(1)]);
  assert.equal(decodeState(file, randomBytes(32)), "it was changed, or sealed with another key");
  file.write("BREVETG2");
  assert.equal(decodeState(file, key), "it is of another version of the guard, or no state of a guard at all");
  assert.equal(decodeState(new Uint8Array(0), key), "it is cut short");
});

test("garbage is refused and never throws", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.equal(typeof decodeState(bytes, key), "string");
      assert.equal(typeof decodeState(Buffer.concat([Buffer.from("BREVETG1"), bytes]), key), "string");
    }),
  );
});
