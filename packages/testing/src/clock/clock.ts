// A clock that stands still until it is told to move. Timers fire in the order of their times, each at its own time.
import type { Clock, Timer } from "@brevet/protocol";

interface Waiting {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Time for tests. The wall clock can step; timers and the monotonic clock do not notice. */
export class TestClock implements Clock {
  #wallMs: number;
  #monotonicMs = 0;
  #bootMs = 100_000;
  readonly #boot: string;
  #order = 0;
  readonly #waiting = new Set<Waiting>();

  /** @param wallMs Milliseconds since 1970; default: noon of 5 January 2026, a Monday, in UTC. @param boot Names the machine's run. */
  constructor(wallMs: number = Date.UTC(2026, 0, 5, 12), boot: string = "boot-1") {
    this.#wallMs = wallMs;
    this.#boot = boot;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  bootMs(): number {
    return this.#bootMs;
  }

  boot(): string {
    return this.#boot;
  }

  after(delayMs: number, callback: () => void): Timer {
    this.#order += 1;
    const waiting = { atMs: this.#monotonicMs + Math.max(0, delayMs), order: this.#order, callback };
    this.#waiting.add(waiting);
    return { cancel: () => void this.#waiting.delete(waiting) };
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#waiting.size;
  }

  /** Moves both clocks on, firing what is due on the way; what a timer starts may fire too. */
  advance(ms: number): void {
    const endMs = this.#monotonicMs + ms;
    for (let next = this.#earliest(endMs); next; next = this.#earliest(endMs)) {
      this.#waiting.delete(next);
      this.#move(next.atMs - this.#monotonicMs);
      next.callback();
    }
    this.#move(endMs - this.#monotonicMs);
  }

  /** As {@link advance}, in steps, letting promises and sockets go on after each: for what waits on both. */
  async advanceSlowly(ms: number, stepMs: number = 100): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.advance(Math.min(left, stepMs));
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  /** Steps the wall clock only. */
  step(ms: number): void {
    this.#wallMs += ms;
  }

  /** The machine sleeps: the wall clock and the boot-time clock go on, timers and the monotonic clock do not notice. */
  suspend(ms: number): void {
    this.#wallMs += ms;
    this.#bootMs += ms;
  }

  /** The monotonic clock is wrong: it steps, and timers with it. */
  stepMonotonic(ms: number): void {
    this.#monotonicMs += ms;
  }

  #earliest(untilMs: number): Waiting | undefined {
    let earliest: Waiting | undefined;
    for (const waiting of this.#waiting) {
      if (waiting.atMs > untilMs) continue;
      if (!earliest || waiting.atMs < earliest.atMs || (waiting.atMs === earliest.atMs && waiting.order < earliest.order))
        earliest = waiting;
    }
    return earliest;
  }

  #move(ms: number): void {
    this.#monotonicMs += ms;
    this.#bootMs += ms;
    this.#wallMs += ms;
  }
}
