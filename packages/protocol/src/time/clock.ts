// The clock that long-lived objects hold. Rules never read one: they are given `nowMs`.
import { readFileSync } from "node:fs";
import { uptime } from "node:os";

/** Time and timers. All times are milliseconds, with fractions where the source has them. */
export interface Clock {
  /** Wall clock, since 1970. May step. */
  wallMs(): number;
  /** Since an arbitrary start; never steps. Stands still while the machine sleeps. */
  monotonicMs(): number;
  /** Since the machine was started, its sleep included; may be cut down to 10 ms. Costs a few microseconds. Absent: it never sleeps. */
  bootMs?(): number;
  /** Names this run of the machine: another one after each start. Empty or absent: not known. */
  boot?(): string;
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
  bootMs: () => uptime() * 1000,
  boot: () => (bootId ??= readBootId()),
  after(delayMs, callback, options) {
    const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), LONGEST_TIMER_MS));
    if (options?.hold !== true) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

let bootId: string | undefined;

function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    // Another system than Linux.
    return "";
  }
}

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
