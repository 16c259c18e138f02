// The authority's time: the one clock that its log, windows, timers, guards, streams, identities and grants are judged on. Runs with the
// machine's monotonic clock, whatever the wall clock does; decides whether it may start from where the wall clock is.
// Never goes back, and never decides what the time means to anybody.
import type { Clock, Timer } from "@brevet/protocol";

/** How fast it follows a wall clock that is ahead. Guards allow for two clocks that part by 100 ppm: this leaves half of it to the machines. */
const FOLLOW = 50 / 1_000_000;
const LOOK_EVERY_MS = 1000;
/** A machine's timers do not count its sleep: no wait is longer than this without a look at the time. */
const LONGEST_WAIT_MS = 60_000;
/** Some systems tell the boot-time clock in whole seconds. */
const SLEPT_MS = 2000;
const PARTED_MS = 30_000;
/** How far a wall clock may be from the last known time at a start that nobody confirmed. */
const MOST_BEFORE_MS = 5 * 60_000;
const MOST_AFTER_MS = 30 * 24 * 3_600_000;

/** What an {@link AuthorityClock} stands on. */
export interface AuthorityClockOptions {
  /** The machine's. */
  readonly machine: Clock;
  /** Milliseconds since the machine was started, those that it slept included (`os.uptime`). Default: it never sleeps. */
  readonly bootMs?: () => number;
  /** Told when the wall clock is 30 s or more away, and again when that changes by as much; positive: it is ahead. */
  readonly onParted?: (aheadMs: number) => void;
}

/**
 * A {@link Clock} whose `wallMs` is the authority's time, in whole milliseconds since 1970. It starts at the machine's wall clock, or
 * later ({@link notBefore}). From then on it
 * - never goes back;
 * - moves on by at least what the monotonic clock does, and by what the machine slept: no window outlives its end;
 * - follows a wall clock that is ahead by at most 50 ppm of the time that passes, and one that is behind not at all: a step in either
 *   direction changes no verdict. Being far apart is told, and a new start takes the wall clock as it is.
 */
export class AuthorityClock implements Clock {
  readonly #options: AuthorityClockOptions;
  #timeMs: number;
  #monotonicMs: number;
  #lookedMs: number;
  /** Of the boot-time clock, ahead of the monotonic one. */
  #sleptMs: number;
  #toldMs = 0;

  constructor(options: AuthorityClockOptions) {
    this.#options = options;
    this.#timeMs = options.machine.wallMs();
    this.#monotonicMs = options.machine.monotonicMs();
    this.#lookedMs = this.#monotonicMs;
    this.#sleptMs = (options.bootMs?.() ?? this.#monotonicMs) - this.#monotonicMs;
  }

  wallMs(): number {
    return Math.floor(this.#now());
  }

  monotonicMs(): number {
    return this.#options.machine.monotonicMs();
  }

  /** As {@link Clock.after}, on the authority's time: what came due while the machine slept is called back within a minute. */
  after(delayMs: number, callback: () => void, options?: { hold?: boolean }): Timer {
    const { machine } = this.#options;
    if (delayMs <= LONGEST_WAIT_MS) return machine.after(delayMs, callback, options);
    const dueMs = this.#now() + delayMs;
    const again = () => {
      timer = this.after(dueMs - this.#now(), callback, options);
    };
    let timer = machine.after(LONGEST_WAIT_MS, again, options);
    return { cancel: () => timer.cancel() };
  }

  /** From now on it is at least this late. */
  notBefore(timeMs: number): void {
    this.#timeMs = Math.max(this.#now(), timeMs);
    this.#look(this.#monotonicMs);
  }

  /** Brings the time forward, and answers with it. */
  #now(): number {
    const { machine } = this.#options;
    const monotonicMs = machine.monotonicMs();
    const passedMs = Math.max(0, monotonicMs - this.#monotonicMs);
    this.#monotonicMs += passedMs;
    this.#timeMs += passedMs;
    this.#timeMs += Math.min(Math.max(0, machine.wallMs() - this.#timeMs), passedMs * FOLLOW);
    if (monotonicMs - this.#lookedMs >= LOOK_EVERY_MS) this.#look(monotonicMs);
    return this.#timeMs;
  }

  /** What needs a system call, or a word to somebody: once a second. */
  #look(monotonicMs: number): void {
    const { machine, bootMs, onParted } = this.#options;
    this.#lookedMs = monotonicMs;
    const sleptMs = (bootMs?.() ?? monotonicMs) - monotonicMs;
    if (sleptMs - this.#sleptMs >= SLEPT_MS) {
      this.#timeMs += sleptMs - this.#sleptMs;
      this.#sleptMs = sleptMs;
    }
    const aheadMs = machine.wallMs() - this.#timeMs;
    if (Math.abs(aheadMs - this.#toldMs) < PARTED_MS) return;
    this.#toldMs = aheadMs;
    if (Math.abs(aheadMs) >= PARTED_MS) onParted?.(aheadMs);
  }
}

/**
 * Why an authority does not start by itself at this wall clock, for whom starts it; undefined where it may: the wall clock is at most 5
 * minutes before the last known time, and at most 30 days after it.
 * @param lastMs Of the log's last entry, or noted since (known-time.ts), milliseconds since 1970.
 */
export function startProblem(lastMs: number, wallMs: number): string | undefined {
  const before = lastMs - wallMs > MOST_BEFORE_MS;
  if (!before && wallMs - lastMs <= MOST_AFTER_MS) return undefined;
  const [far, which] = [spanOf(Math.abs(lastMs - wallMs)), before ? "before" : "after"];
  const then = before ? "time then goes on from the last known one" : "what was open may be over by then";
  return (
    `the machine's clock says ${instant(wallMs)}, which is ${far} ${which} the last time that the authority knew (${instant(lastMs)}): ` +
    `correct the machine's clock and start again. If it is right, confirm it with --accept-clock (option acceptClock): ${then}`
  );
}

/** A span to read, in its two largest units. */
export function spanOf(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  const shown = parts.slice(Math.max(0, first), Math.max(0, first) + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => `${count} ${unit}`).join(" ") || "0 s";
}

function instant(ms: number): string {
  return new Date(ms).toISOString();
}
