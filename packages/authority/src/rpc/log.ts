// LogService on the wire: translates and nothing else. GetProof is not offered yet: UNIMPLEMENTED.
import type { LogService } from "@brevet/protocol/brevet/v1/log";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Log } from "../log/log.ts";
import type { ReadableLog } from "../watch/entries.ts";
import { positionMessage } from "../watch/position.ts";
import { callerOf } from "./authentication.ts";

/** The methods that are offered. */
export function logRpc({
  log,
  readable,
}: {
  readonly log: Log;
  readonly readable: ReadableLog;
}): Pick<ServiceImpl<typeof LogService>, "list" | "watch" | "getCheckpoint"> {
  return {
    async list(request, context) {
      const { records, position } = await readable.list(callerOf(context), request);
      return { records, position: positionMessage(position) };
    },
    watch({ after, audience }, context) {
      return readable.watch(callerOf(context), after, audience, context.signal);
    },
    async getCheckpoint() {
      const { note, verifierKey, position } = await log.checkpoint();
      return { checkpoint: note, verifierKey, position: positionMessage(position) };
    },
  };
}
