// The clock that long-lived objects hold. Rules never read one: they are given `nowMs`.

/** Time and timers. All times are milliseconds, with fractions where the source has them. */
export interface Clock {
  /** Wall clock, since 1970. May step. */
  wallMs(): number;
  /** Since an arbitrary start; never steps. */
  monotonicMs(): number;
  /** Calls back once after `delayMs`; the handle cancels. The timer does not keep the process alive unless `hold` is set. */
  after(delayMs: number, callback: () => void, options?: { hold?: boolean }): Timer;
}

/** A running timer. */
export interface Timer {
  cancel(): void;
}

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The machine's clock. A longer delay than a Node timer can take is cut to 24.8 days. */
export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, callback, options) {
    const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), LONGEST_TIMER_MS));
    if (options?.hold !== true) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves after `delayMs`; rejects with the signal's reason when it is aborted first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.after(
      delayMs,
      () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      { hold: true },
    );
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
