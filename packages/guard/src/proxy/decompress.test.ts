import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync, gzipSync } from "node:zlib";
import { type Decompressed, decompress } from "./decompress.ts";

const TEXT = Buffer.from("hello ".repeat(100));

function read(payload: Buffer, encoding: string, maxBytes = 1 << 20, compressed = true): Promise<Decompressed> {
  return new Promise((resolve) => decompress({ frame: payload, payload, compressed }, encoding, maxBytes, resolve));
}

test("gzip, deflate and plain messages are read, and nothing else", async () => {
  assert.deepEqual(await read(gzipSync(TEXT), "gzip"), { ok: true, bytes: TEXT });
  assert.deepEqual(await read(gzipSync(""), "gzip"), { ok: true, bytes: Buffer.alloc(0) });
  assert.deepEqual(await read(deflateSync(TEXT), "deflate"), { ok: true, bytes: TEXT });
  assert.deepEqual(await read(TEXT, "gzip", 1 << 20, false), { ok: true, bytes: TEXT });
  assert.deepEqual(await read(TEXT, "zstd"), { ok: false, problem: "unknown encoding" });
  assert.deepEqual(await read(TEXT, "identity"), { ok: false, problem: "broken" });
});

test("a small message that grows without bound is stopped at the bound", async () => {
  const bomb = Buffer.alloc(64 << 20);
  assert.deepEqual(await read(gzipSync(bomb), "gzip"), { ok: false, problem: "too large" });
  assert.deepEqual(await read(deflateSync(bomb), "deflate"), { ok: false, problem: "too large" });
});

test("what libraries read differently is not read at all", async () => {
  const whole = gzipSync(TEXT);
  const head = Buffer.from(whole);
  head[3] = 8;
  const check = Buffer.from(whole);
  check[check.length - 6] = (check[check.length - 6] ?? 0) ^ 1;
  for (const [name, payload, encoding] of [
    ["two members", Buffer.concat([gzipSync("first"), whole]), "gzip"],
    ["an empty member before", Buffer.concat([gzipSync(""), whole]), "gzip"],
    ["something behind", Buffer.concat([whole, Buffer.from([0])]), "gzip"],
    ["something behind deflate", Buffer.concat([deflateSync(TEXT), Buffer.from([0])]), "deflate"],
    ["a name in the head", head, "gzip"],
    ["a wrong checksum", check, "gzip"],
    ["a part", whole.subarray(0, -9), "gzip"],
    ["nothing", Buffer.alloc(0), "gzip"],
    ["nothing", Buffer.alloc(0), "deflate"],
    ["gzip called deflate", whole, "deflate"],
  ] as const)
    assert.deepEqual(await read(payload, encoding), { ok: false, problem: "broken" }, name);
});
