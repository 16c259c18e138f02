// A policy that becomes current, held against all live elevations of its audience, in the write that applies it.
import type { CompiledPolicy } from "@brevet/policy";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import type { LogTransaction } from "../log/log.ts";
import { execute } from "./execute.ts";
import type { VersionedPolicy } from "./policies.ts";

const PAGE = 500;

/**
 * Cuts, voids votes of, or revokes what the new policy no longer allows; never widens. Call it behind PolicyApplied, in the same
 * transaction. Answers with the number of elevations that changed.
 */
export async function narrowLive(
  tx: LogTransaction,
  change: { readonly audience: string; readonly previous: CompiledPolicy | undefined; readonly next: VersionedPolicy },
): Promise<number> {
  const { PENDING, SCHEDULED, ACTIVE } = ElevationState;
  const { audience, previous, next } = change;
  let changed = 0;
  let before: string | undefined;
  for (;;) {
    const page = await tx.elevations({
      audience,
      states: [PENDING, SCHEDULED, ACTIVE],
      limit: PAGE,
      ...(before === undefined ? {} : { before }),
    });
    for (const state of page) {
      const around = { policy: next, facts: undefined, call: undefined, isWaiting: () => false };
      const outcome = await execute(tx, { kind: "policy", previous }, state, around);
      if (outcome.due.length > 0 || (outcome.ok && outcome.events.length > 0)) changed += 1;
    }
    before = page.at(-1)?.id;
    if (page.length < PAGE) return changed;
  }
}
