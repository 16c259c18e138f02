import assert from "node:assert/strict";
import { test } from "node:test";
import { BoundedMap, TailCache } from "./bounded.ts";

test("a bounded map forgets what came first", () => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1);
  map.set("b", 2);
  map.set("a", 3);
  map.set("c", 4);
  assert.deepEqual([map.get("a"), map.get("b"), map.get("c"), map.size], [undefined, 2, 4, 2]);
});

test("a recent token is found by itself only, also where another ends alike", () => {
  const cache = new TailCache<string>();
  const one = `Bearer one.${"x".repeat(300)}.signature-AAAAA`;
  const other = `Bearer two.${"x".repeat(300)}.signature-AAAAA`;
  cache.set(one, "one");
  assert.deepEqual([cache.get(one), cache.get(other), cache.get(`${one} `), cache.get("")], ["one", undefined, undefined, undefined]);
  cache.set(other, "other");
  assert.deepEqual([cache.get(one), cache.get(other)], [undefined, "other"]);
  cache.clear();
  assert.equal(cache.get(other), undefined);
});
