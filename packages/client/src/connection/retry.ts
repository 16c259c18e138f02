// Trying again: full jitter between tries, so that many callers of one authority never come back at the same instant.
import { type Clock, sleep } from "@brevet/protocol";
import { AuthorityError, type IdentityFailure } from "./failure.ts";

/** What waiting and trying again need. */
export interface Pace {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
}

const FIRST_MS = 100;
const LONGEST_MS = 5000;

/** How long to wait before the try after `failures` failed ones, from 1. */
export function backoffMs(failures: number, random: () => number): number {
  return random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures, 10));
}

/**
 * Makes a call, again while the authority cannot be reached, for up to `patienceMs`. The call has to be idempotent. Rejects with
 * {@link AuthorityError} or {@link IdentityFailure}, and with a signal's reason when it is aborted: `closing` counts once a try has failed.
 */
export async function persist<T>(
  call: (signal: AbortSignal) => Promise<T>,
  pace: Pace,
  patienceMs: number,
  signal: AbortSignal,
  closing: AbortSignal,
): Promise<T> {
  const began = pace.clock.monotonicMs();
  for (let failures = 1; ; failures += 1) {
    let failure: AuthorityError | IdentityFailure;
    try {
      return await call(signal);
    } catch (error) {
      signal.throwIfAborted();
      closing.throwIfAborted();
      failure = AuthorityError.from(error);
    }
    const leftMs = patienceMs - (pace.clock.monotonicMs() - began);
    if (!(failure instanceof AuthorityError) || !failure.transient || leftMs <= 0) throw failure;
    // However long the pause would be: the last try is made when the patience is over, not before.
    await sleep(pace.clock, Math.min(backoffMs(failures, pace.random), leftMs), signal);
  }
}
