import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openCheckpoint, parseVerifier } from "@brevet/protocol";
import * as fc from "fast-check";
import {
  appendToFrontier,
  consistencyProof,
  EMPTY_ROOT,
  inclusionProof,
  leafHash,
  nodeHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from "./tree.ts";

const sha256 = (...parts: Uint8Array[]) => new Uint8Array(createHash("sha256").update(Buffer.concat(parts)).digest());
const unhex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));
const unbase64 = (text: string) => new Uint8Array(Buffer.from(text, "base64"));

/** The definition of RFC 6962, 2.1, word for word. */
function naiveRoot(leaves: readonly Uint8Array[]): Uint8Array {
  const [only] = leaves;
  if (only === undefined) return sha256();
  if (leaves.length === 1) return sha256(Uint8Array.of(0), only);
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return sha256(Uint8Array.of(1), naiveRoot(leaves.slice(0, split)), naiveRoot(leaves.slice(split)));
}

function frontierOf(hashes: readonly Uint8Array[]): Uint8Array[] {
  let frontier: Uint8Array[] = [];
  for (const [i, hash] of hashes.entries()) frontier = appendToFrontier(frontier, BigInt(i), hash);
  return frontier;
}

// Inputs and roots that Certificate Transparency's implementations share.
const INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"].map(unhex);
const ROOTS = [
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

test("roots are those of the known vectors", () => {
  assert.equal(Buffer.from(EMPTY_ROOT).toString("hex"), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert.deepEqual(rootOf([]), EMPTY_ROOT);
  for (const [i, root] of ROOTS.entries()) assert.deepEqual(rootOf(frontierOf(INPUTS.slice(0, i + 1).map(leafHash))), unhex(root));
});

test("appending to the frontier gives the root of the naive definition", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 70 }), (leaves) => {
      const frontier = frontierOf(leaves.map(leafHash));
      assert.deepEqual(rootOf(frontier), naiveRoot(leaves));
      const bits = leaves.length.toString(2).replaceAll("0", "").length;
      assert.equal(frontier.length, bits);
    }),
    { numRuns: 60 },
  );
});

test("a frontier that does not fit its size is not appended to", () => {
  assert.throws(() => appendToFrontier([], 1n, EMPTY_ROOT), RangeError);
});

test("every inclusion and consistency proof verifies, and no other root, leaf, place or size does", () => {
  const hashes = Array.from({ length: 33 }, (_, i) => leafHash(Uint8Array.of(i)));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 33 }), fc.nat(), fc.nat(), fc.nat({ max: 255 }), (size, indexSeed, oldSeed, flip) => {
      const leaves = hashes.slice(0, size);
      const root = rootOf(frontierOf(leaves));
      const index = indexSeed % size;
      const leaf = leaves[index] ?? EMPTY_ROOT;
      const proof = inclusionProof(leaves, index);
      assert.ok(verifyInclusion(BigInt(index), BigInt(size), leaf, proof, root));
      assert.ok(!verifyInclusion(BigInt(index), BigInt(size), flipped(leaf, flip), proof, root));
      assert.ok(!verifyInclusion(BigInt(index), BigInt(size), leaf, proof, flipped(root, flip)));
      assert.ok(!verifyInclusion(BigInt(index), BigInt(size), leaf, [...proof, root], root));
      if (size > 1) assert.ok(!verifyInclusion(BigInt((index + 1) % size), BigInt(size), leaf, proof, root));
      const oldSize = 1 + (oldSeed % size);
      const older = { size: BigInt(oldSize), root: rootOf(frontierOf(leaves.slice(0, oldSize))) };
      const newer = { size: BigInt(size), root };
      const consistency = consistencyProof(leaves, oldSize);
      assert.ok(verifyConsistency(older, newer, consistency));
      assert.ok(!verifyConsistency({ ...older, root: flipped(older.root, flip) }, newer, consistency));
      assert.ok(!verifyConsistency(older, { ...newer, root: flipped(root, flip) }, consistency));
      assert.ok(!verifyConsistency(older, newer, [...consistency, root]));
    }),
    { numRuns: 200 },
  );
});

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.map((byte, i) => (i === at % bytes.length ? byte ^ (1 << (at % 8)) : byte));
}

const data = join(import.meta.dirname, "../../../../../shared/data");
const absent = (folder: string) => (existsSync(join(data, folder)) ? false : `public test data is not here: ${folder}`);
const readProof = (file: string): Record<string, unknown> => JSON.parse(readFileSync(file, "utf8"));
const proofOf = (value: unknown) => (Array.isArray(value) ? value.map((hash) => unbase64(String(hash))) : []);

test("inclusion proofs of the public collection are judged as it says", { skip: absent("merkle-proofs") }, () => {
  const files = globSync(join(data, "merkle-proofs/inclusion/**/*.json"));
  assert.ok(files.length > 50);
  for (const file of files) {
    const { leafIdx, treeSize, root, leafHash: leaf, proof, wantErr, desc } = readProof(file);
    const good = verifyInclusion(
      BigInt(Number(leafIdx)),
      BigInt(Number(treeSize)),
      unbase64(String(leaf)),
      proofOf(proof),
      unbase64(String(root)),
    );
    assert.equal(good, wantErr !== true, `${file}: ${String(desc)}`);
  }
});

test("consistency proofs of the public collection are judged as it says", { skip: absent("merkle-proofs") }, () => {
  const files = globSync(join(data, "merkle-proofs/consistency/**/*.json"));
  assert.ok(files.length > 50);
  for (const file of files) {
    const { size1, size2, root1, root2, proof, wantErr, desc } = readProof(file);
    const older = { size: BigInt(Number(size1)), root: unbase64(String(root1)) };
    const newer = { size: BigInt(Number(size2)), root: unbase64(String(root2)) };
    assert.equal(verifyConsistency(older, newer, proofOf(proof)), wantErr !== true, `${file}: ${String(desc)}`);
  }
});

test("a public log has the roots of its signed checkpoints at every size", { skip: absent("tlog") }, () => {
  const verifier = parseVerifier("example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx");
  assert.ok(verifier);
  let [frontier, size]: [Uint8Array[], bigint] = [[], 0n];
  const judge = () => {
    const opened = openCheckpoint(readFileSync(join(data, `tlog/checkpoint.${size}`), "utf8"), verifier);
    assert.deepEqual(opened, { signed: true, checkpoint: { origin: "example.com/log/testdata", size, root: rootOf(frontier) } });
  };
  judge();
  const bundle = readFileSync(join(data, "tlog/tile/entries/000.p/15"));
  for (let at = 0; at < bundle.length; ) {
    const length = bundle.readUInt16BE(at);
    frontier = appendToFrontier(frontier, size, leafHash(bundle.subarray(at + 2, at + 2 + length)));
    [at, size] = [at + 2 + length, size + 1n];
    judge();
  }
  assert.equal(size, 15n);
  assert.deepEqual(nodeHash(EMPTY_ROOT, EMPTY_ROOT), sha256(Uint8Array.of(1), EMPTY_ROOT, EMPTY_ROOT));
});
