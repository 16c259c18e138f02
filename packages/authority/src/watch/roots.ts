// Roots of the log's tree as it was, for readers who say what they saw. Reads each entry's hash once and keeps frontiers on the way, so that
// no reader's question costs more than a stretch, and none keeps others waiting. Never compares.
import { setImmediate as turn } from "node:timers/promises";
import { appendToFrontier, rootOf } from "../log/tree.ts";
import type { View } from "../store/store.ts";

/** Entries between two frontiers that are kept: about a kilobyte each. */
const STRETCH = 4096;

/** The roots of one log. */
export class Roots {
  readonly #view: Pick<View, "leafHashes">;
  /** At size 0, STRETCH, twice that, and so on. */
  readonly #frontiers: (readonly Uint8Array[])[] = [[]];
  #last: Promise<unknown> = Promise.resolve();

  constructor(view: Pick<View, "leafHashes">) {
    this.#view = view;
  }

  /** The tree's root when the log had so many entries. One is worked out at a time. Throws as the store does. */
  at(size: bigint): Promise<Uint8Array> {
    const root = this.#last.then(() => this.#rootAt(size));
    this.#last = root.catch(() => {});
    return root;
  }

  async #rootAt(size: bigint): Promise<Uint8Array> {
    const stretches = Math.min(Number(size / BigInt(STRETCH)), this.#frontiers.length - 1);
    let at = BigInt(stretches) * BigInt(STRETCH);
    let frontier = this.#frontiers[stretches] ?? [];
    while (at < size) {
      const left = size - at;
      const hashes = await this.#view.leafHashes(at, left < BigInt(STRETCH) ? Number(left) : STRETCH);
      if (hashes.length === 0) break;
      for (const hash of hashes) {
        frontier = appendToFrontier(frontier, at, hash);
        at += 1n;
      }
      if (at % BigInt(STRETCH) !== 0n) continue;
      this.#frontiers[Number(at / BigInt(STRETCH))] = frontier;
      // Others have their turn.
      await turn();
    }
    return rootOf(frontier);
  }
}
