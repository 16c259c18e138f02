// What it costs to say which root one saw.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LogPositionSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { appendToFrontier, leafHash, rootOf } from "../log/tree.ts";
import { isResumable } from "./position.ts";

const SIZE = 30_000;

/** A log of so many entries, counting the hashes that are read of it. */
function logOf(size: number) {
  const leaves = Array.from({ length: size }, (_unused, index) => leafHash(Buffer.from(`${index}`)));
  const roots: Uint8Array[] = [rootOf([])];
  let frontier: Uint8Array[] = [];
  for (const [index, leaf] of leaves.entries()) {
    frontier = appendToFrontier(frontier, BigInt(index), leaf);
    roots.push(rootOf(frontier));
  }
  const read = { hashes: 0 };
  const view = {
    leafHashes: (after: bigint, limit = 100) => {
      const page = leaves.slice(Number(after), Number(after) + limit);
      read.hashes += page.length;
      return Promise.resolve(page);
    },
  };
  return { view, roots, read };
}

test("watchers who say a root make the authority hash the log once, not once each", async () => {
  const { view, roots, read } = logOf(SIZE);
  const head = { epoch: "epo_1", revision: BigInt(SIZE) };
  const resumable = (revision: number, root: Uint8Array | undefined) =>
    isResumable(create(LogPositionSchema, { epoch: "epo_1", revision: BigInt(revision), ...(root ? { root } : {}) }), head, view);
  assert.equal(await resumable(SIZE, roots[SIZE]), true);
  assert.equal(read.hashes, SIZE);
  const places = [SIZE, SIZE - 1, 20_000, 8192, 8191, 4097, 1, 0];
  read.hashes = 0;
  for (const place of places) {
    assert.equal(await resumable(place, roots[place]), true, `${place}`);
    assert.equal(await resumable(place, roots[(place + 1) % SIZE]), false, `${place}`);
  }
  assert.ok(read.hashes <= places.length * 2 * 4096, `${read.hashes} hashes for ${places.length * 2} questions`);
});

test("others have their turn while a long log is hashed, and one hashing goes on at a time", async () => {
  const { view, roots, read } = logOf(SIZE);
  const head = { epoch: "epo_1", revision: BigInt(SIZE) };
  const after = create(LogPositionSchema, { ...head, root: roots[SIZE] ?? new Uint8Array() });
  let turns = 0;
  let done = false;
  const count = () => {
    turns += 1;
    if (!done) setImmediate(count);
  };
  setImmediate(count);
  assert.deepEqual(await Promise.all([after, after, after].map((each) => isResumable(each, head, view))), [true, true, true]);
  done = true;
  assert.ok(turns >= 5, `${turns} turns`);
  assert.ok(read.hashes <= SIZE + 2 * 4096, `${read.hashes} hashes`);
});
