// The two things that a call waits for the authority with: the first use of an elevation, and the one use of an approval.
// Never decides the call.
import { catalogue } from "@brevet/protocol";
import type { Used } from "../core/decide.ts";
import type { GuardLogger } from "../log/logger.ts";
import type { Connection } from "./connection.ts";
import { failureOf, isBroken } from "./failure.ts";

const USE_TIMEOUT_MS = 5000;

/** One use. */
export interface Use {
  readonly id: string;
  readonly payloadDigest?: Uint8Array;
  /** Idempotency. */
  readonly requestId: string;
}

/** Starts an elevation's window, or uses up an approval. One repeat if the connection broke: the request id makes it safe. Never throws. */
export async function useElevation(
  use: Use,
  { connection, authority, logger, signal }: { connection: Connection; authority: string; logger: GuardLogger; signal: AbortSignal },
): Promise<Used> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const { elevation } = await connection.elevations.start(use, { timeoutMs: USE_TIMEOUT_MS, signal });
      if (elevation !== undefined) return { ok: true, elevation };
      return { ok: false, reason: "AUTHORITY_UNREACHABLE", problem: "the authority answered nothing" };
    } catch (error) {
      const failure = failureOf(error, authority);
      if (isBroken(failure.code) && failure.reason === undefined && attempt === 0 && !signal.aborted) continue;
      const { reason } = failure;
      if (reason !== undefined && (reason.startsWith("ELEVATION_") || reason === "GRANT_PAYLOAD_MISMATCH"))
        return { ok: false, reason, problem: catalogue[reason].what };
      logger.warn(
        { elevation: use.id, cause: failure.cause, fix: failure.fix },
        "the first use of an elevation could not be told to the authority",
      );
      return { ok: false, reason: "AUTHORITY_UNREACHABLE", problem: "the first use could not be told to the authority" };
    }
  }
}
