// Positions of the log, and whether a reader may go on from one.
import { type LogPosition, LogPositionSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import type { View } from "../store/store.ts";
import { Roots } from "./roots.ts";

/** A place in the log. */
export interface Place {
  readonly epoch: string;
  readonly revision: bigint;
}

type Hashes = Pick<View, "leafHashes">;

/** One for each log: what one reader's question taught serves the next. */
const rootsOf = new WeakMap<Hashes, Roots>();

/** As a message. */
export function positionMessage({ epoch, revision }: Place): LogPosition {
  return create(LogPositionSchema, { epoch, revision });
}

/** Whether what a reader had at `after` is a beginning of the log as it is at `head`. Where the reader says its root, that is compared. */
export async function isResumable(after: LogPosition, head: Place, view: Hashes): Promise<boolean> {
  if (after.epoch !== head.epoch || after.revision > head.revision) return false;
  if (after.root === undefined) return true;
  let roots = rootsOf.get(view);
  if (roots === undefined) rootsOf.set(view, (roots = new Roots(view)));
  return Buffer.compare(after.root, await roots.at(after.revision)) === 0;
}
