// The Merkle tree over the log's entries (RFC 6962): hashes, the frontier that an append needs, roots, proofs.
// Never looks into an entry.
import { hash } from "node:crypto";

const HASH_BYTES = 32;
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/** Root of the tree without entries: SHA-256 of nothing. */
export const EMPTY_ROOT: Uint8Array = sha256([]);

/** SHA-256(0x00 || leaf). */
export function leafHash(leaf: Uint8Array): Uint8Array {
  return sha256([LEAF, leaf]);
}

/** SHA-256(0x01 || left || right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256([NODE, left, right]);
}

/** The frontier (roots of the perfect subtrees, largest first) of a tree of `size` leaves after one more. */
export function appendToFrontier(frontier: readonly Uint8Array[], size: bigint, leaf: Uint8Array): Uint8Array[] {
  const next = [...frontier];
  let node = leaf;
  for (let rest = size; (rest & 1n) === 1n; rest >>= 1n) {
    const left = next.pop();
    if (left === undefined) throw new RangeError(`a frontier of ${frontier.length} hashes is not that of ${size} leaves`);
    node = nodeHash(left, node);
  }
  next.push(node);
  return next;
}

/** The root of the tree with this frontier. */
export function rootOf(frontier: readonly Uint8Array[]): Uint8Array {
  return frontier.length === 0 ? EMPTY_ROOT : frontier.reduceRight((right, left) => nodeHash(left, right));
}

/** Proof that the leaf at `index` (from 0) is in the tree over these leaf hashes (RFC 6962, 2.1.1). */
export function inclusionProof(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  if (index < 0 || index >= leaves.length) throw new RangeError(`no leaf ${index} in a tree of ${leaves.length}`);
  if (leaves.length === 1) return [];
  const split = largestPowerBelow(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  return index < split
    ? [...inclusionProof(left, index), rootOfLeaves(right)]
    : [...inclusionProof(right, index - split), rootOfLeaves(left)];
}

/** Proof that the tree over the first `oldSize` leaf hashes is a prefix of that over all (RFC 6962, 2.1.2). */
export function consistencyProof(leaves: readonly Uint8Array[], oldSize: number): Uint8Array[] {
  if (oldSize < 0 || oldSize > leaves.length) throw new RangeError(`no tree of ${oldSize} in one of ${leaves.length}`);
  if (oldSize === 0 || oldSize === leaves.length) return [];
  const proof = (part: readonly Uint8Array[], size: number, whole: boolean): Uint8Array[] => {
    if (size === part.length) return whole ? [] : [rootOfLeaves(part)];
    const split = largestPowerBelow(part.length);
    const [left, right] = [part.slice(0, split), part.slice(split)];
    return size <= split ? [...proof(left, size, whole), rootOfLeaves(right)] : [...proof(right, size - split, false), rootOfLeaves(left)];
  };
  return proof(leaves, oldSize, true);
}

/** Whether a proof shows that `leaf`, a leaf hash, stands at `index` of the tree with this size and root (RFC 9162, 2.1.3.2). */
export function verifyInclusion(index: bigint, size: bigint, leaf: Uint8Array, proof: readonly Uint8Array[], root: Uint8Array): boolean {
  if (index < 0n || index >= size || leaf.length !== HASH_BYTES) return false;
  let [at, last, node] = [index, size - 1n, leaf];
  for (const hashed of proof) {
    if (last === 0n) return false;
    if ((at & 1n) === 1n || at === last) {
      node = nodeHash(hashed, node);
      while ((at & 1n) === 0n && at !== 0n) [at, last] = [at >> 1n, last >> 1n];
    } else {
      node = nodeHash(node, hashed);
    }
    [at, last] = [at >> 1n, last >> 1n];
  }
  return last === 0n && same(node, root);
}

/** Whether a proof shows that the old tree is a prefix of the new one (RFC 9162, 2.1.4.2). About an empty one nothing can be shown: false. */
export function verifyConsistency(
  older: { readonly size: bigint; readonly root: Uint8Array },
  newer: { readonly size: bigint; readonly root: Uint8Array },
  proof: readonly Uint8Array[],
): boolean {
  if (older.size <= 0n || older.size > newer.size) return false;
  if (older.size === newer.size) return proof.length === 0 && same(older.root, newer.root);
  const isPower = (older.size & (older.size - 1n)) === 0n;
  const [first, ...rest] = isPower ? [older.root, ...proof] : proof;
  if (first === undefined || proof.length === 0) return false;
  let [at, last] = [older.size - 1n, newer.size - 1n];
  while ((at & 1n) === 1n) [at, last] = [at >> 1n, last >> 1n];
  let [oldRoot, newRoot] = [first, first];
  for (const hashed of rest) {
    if (last === 0n) return false;
    if ((at & 1n) === 1n || at === last) {
      oldRoot = nodeHash(hashed, oldRoot);
      newRoot = nodeHash(hashed, newRoot);
      while ((at & 1n) === 0n && at !== 0n) [at, last] = [at >> 1n, last >> 1n];
    } else {
      newRoot = nodeHash(newRoot, hashed);
    }
    [at, last] = [at >> 1n, last >> 1n];
  }
  return last === 0n && same(oldRoot, older.root) && same(newRoot, newer.root);
}

function rootOfLeaves(leaves: readonly Uint8Array[]): Uint8Array {
  let frontier: Uint8Array[] = [];
  for (const [i, leaf] of leaves.entries()) frontier = appendToFrontier(frontier, BigInt(i), leaf);
  return rootOf(frontier);
}

function largestPowerBelow(size: number): number {
  let power = 1;
  while (power * 2 < size) power *= 2;
  return power;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function sha256(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(hash("sha256", Buffer.concat(parts), "buffer"));
}
