// For which elevations a call is parked right now: their approval starts the window. In memory only; a client that comes back says it again.
// Never decides what a waiting call is worth.
import type { Clock, Timer } from "@brevet/protocol";

/** Between the answer to a request that waits and the watch that follows it: what the API says. */
const GRACE_MS = 30_000;

/** Counts the calls that wait, by elevation. */
export class WaitingCalls {
  readonly #clock: Clock;
  readonly #counts = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a call waits for it. */
  isWaiting(elevation: string): boolean {
    return this.#counts.has(elevation);
  }

  /** A call waits for it until this is disposed. */
  hold(elevation: string): Disposable {
    this.#counts.set(elevation, (this.#counts.get(elevation) ?? 0) + 1);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const left = (this.#counts.get(elevation) ?? 1) - 1;
        if (left > 0) this.#counts.set(elevation, left);
        else this.#counts.delete(elevation);
      },
    };
  }

  /** A call waits for it, and its watch is about to come. */
  expect(elevation: string): Timer {
    const held = this.hold(elevation);
    return this.#clock.after(GRACE_MS, () => held[Symbol.dispose]());
  }
}
