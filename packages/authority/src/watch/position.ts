// Positions of the log, and whether a reader may go on from one.
import { type LogPosition, LogPositionSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { appendToFrontier, rootOf } from "../log/tree.ts";
import type { View } from "../store/store.ts";

/** A place in the log. */
export interface Place {
  readonly epoch: string;
  readonly revision: bigint;
}

const PAGE = 10_000;

/** As a message. */
export function positionMessage({ epoch, revision }: Place): LogPosition {
  return create(LogPositionSchema, { epoch, revision });
}

/** Whether what a reader had at `after` is a beginning of the log as it is at `head`. Where the reader says its root, that is compared. */
export async function isResumable(after: LogPosition, head: Place, view: Pick<View, "leafHashes">): Promise<boolean> {
  if (after.epoch !== head.epoch || after.revision > head.revision) return false;
  return after.root === undefined || Buffer.compare(after.root, await rootAt(after.revision, view)) === 0;
}

/** The tree's root when the log had so many entries. Costs with their number. */
async function rootAt(size: bigint, view: Pick<View, "leafHashes">): Promise<Uint8Array> {
  let frontier: readonly Uint8Array[] = [];
  for (let at = 0n; at < size; ) {
    const left = size - at;
    const hashes = await view.leafHashes(at, left < BigInt(PAGE) ? Number(left) : PAGE);
    if (hashes.length === 0) break;
    for (const hash of hashes) {
      frontier = appendToFrontier(frontier, at, hash);
      at += 1n;
    }
  }
  return rootOf(frontier);
}
