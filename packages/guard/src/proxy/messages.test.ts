import assert from "node:assert/strict";
import { test } from "node:test";
import { array, boolean, assert as holds, nat, property, record, uint8Array } from "fast-check";
import { framed } from "../testdata/relay.ts";
import { MessageSplitter } from "./messages.ts";

test("messages come out as they went in, however the chunks are cut", () => {
  const message = record({ bytes: uint8Array({ maxLength: 300 }), compressed: boolean() }, { noNullPrototype: true });
  holds(
    property(array(message, { maxLength: 8 }), array(nat(400), { maxLength: 30 }), (messages, cuts) => {
      const wire = Buffer.concat(messages.map(({ bytes, compressed }) => framed(bytes, compressed)));
      const splitter = new MessageSplitter(300);
      const out: { bytes: Uint8Array; compressed: boolean }[] = [];
      const take = (): void => {
        for (let next = splitter.next(); next !== undefined; next = splitter.next()) {
          assert.ok("frame" in next);
          assert.deepEqual(next.frame, framed(next.payload, next.compressed));
          out.push({ bytes: Uint8Array.from(next.payload), compressed: next.compressed });
        }
      };
      let at = 0;
      for (const cut of cuts) {
        splitter.push(wire.subarray(at, at + cut));
        at += cut;
        take();
      }
      splitter.push(wire.subarray(at));
      take();
      assert.deepEqual(out, messages);
      assert.equal(splitter.held, 0);
    }),
  );
});

test("a message over the limit is told before it has come, and one with an unknown flag", () => {
  const splitter = new MessageSplitter(10);
  splitter.push(Buffer.from([0, 0, 0, 0, 11]));
  assert.deepEqual(splitter.next(), { problem: "too large", bytes: 11 });
  const other = new MessageSplitter(10);
  other.push(Buffer.from([2, 0, 0, 0, 1, 1]));
  assert.deepEqual(other.next(), { problem: "bad flag", bytes: 1 });
});

test("a message in one chunk is not copied", () => {
  const splitter = new MessageSplitter(1000);
  const chunk = Buffer.concat([framed(Buffer.from("one")), framed(Buffer.from("two"))]);
  splitter.push(chunk);
  for (const offset of [0, 8]) {
    const next = splitter.next();
    assert.ok(next !== undefined && "frame" in next);
    assert.equal(next.frame.buffer, chunk.buffer);
    assert.equal(next.frame.byteOffset, chunk.byteOffset + offset);
  }
});

test("a message in many chunks of one byte is whole, and takes no buffer for each", () => {
  const splitter = new MessageSplitter(1 << 20);
  const bytes = Buffer.from(Array.from({ length: 1 << 18 }, (_, i) => i % 251));
  const sent = Buffer.concat([Buffer.from([0, 0, 4, 0, 0]), bytes]);
  for (let i = 0; i < sent.length; i += 1) splitter.push(sent.subarray(i, i + 1));
  assert.equal(splitter.held, sent.length);
  const message = splitter.next();
  assert.ok(message !== undefined && "frame" in message && message.frame.equals(sent));
  for (let i = 0; i < sent.length; i += 1) splitter.push(sent.subarray(i, i + 1));
  assert.ok(splitter.rest().length < 20);
});
