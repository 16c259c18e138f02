// Positions of the log, and whether a reader may go on from one. Never reads the log.
import { type LogPosition, LogPositionSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";

/** A place in the log. */
export interface Place {
  readonly epoch: string;
  readonly revision: bigint;
}

/** As a message. */
export function positionMessage({ epoch, revision }: Place): LogPosition {
  return create(LogPositionSchema, { epoch, revision });
}

/** Whether what a reader had at `after` is a beginning of the log as it is at `head`. */
export function isResumable(after: LogPosition, head: Place): boolean {
  return after.epoch === head.epoch && after.revision <= head.revision;
}
