// Waiting for what may never settle: a promise of somebody else's, until a signal or a limit comes first. Never ends the work behind it.
import type { Clock, Timer } from "@brevet/protocol";

/** The longest wait, and what it ends with. */
export interface Limit {
  readonly clock: Clock;
  readonly afterMs: number;
  late(): Error;
}

/** The promise; the signal's reason, or what is late, where that comes first. */
export function bounded<T>(promise: Promise<T>, signal: AbortSignal | undefined, limit?: Limit): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: Timer | undefined;
    const end = () => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    const fail = (reason: Error) => {
      end();
      reject(reason);
    };
    const onAbort = () => fail(signal?.reason as Error);
    promise.then(resolve, reject).finally(end);
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    // The process stays for it: somebody waits.
    if (limit !== undefined) timer = limit.clock.after(limit.afterMs, () => fail(limit.late()), { hold: true });
  });
}
