// One question to the authority that any number of calls wait on together: asked once, watched once, answered to each.
// Ends what it does when nobody waits any more. Never decides what an answer means.
import type { Clock, Timer } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import type { WaitResult } from "../watch/outcome.ts";

/** How one of those who wait does it. */
export interface FollowOptions {
  /** Aborting leaves the wait; the elevation stays as it is. */
  readonly signal?: AbortSignal;
  /** Longest wait. For ever unless told. */
  readonly limitMs?: number;
  /** Hears of each state, the present one first. Must not throw. */
  readonly onChange?: (elevation: Elevation) => void;
}

/** Asks and waits; tells `publish` each state on the way. */
export type Pursuit = (signal: AbortSignal, publish: (elevation: Elevation) => void) => Promise<Elevation>;

/** See the head of this file. */
export class Question {
  readonly #clock: Clock;
  readonly #listeners = new Set<(elevation: Elevation) => void>();
  readonly #ending = new AbortController();
  readonly #answer: Promise<Elevation>;
  readonly #onEnd: () => void;
  #latest: Elevation | undefined;
  #followers = 0;

  /** Starts at once. `onEnd` is told when it is answered or nobody waits any more: then it takes no new followers. */
  constructor(pursue: Pursuit, clock: Clock, onEnd: () => void) {
    this.#clock = clock;
    this.#onEnd = onEnd;
    this.#answer = pursue(this.#ending.signal, (elevation) => {
      this.#latest = elevation;
      for (const listener of this.#listeners) listener(elevation);
    }).finally(onEnd);
    // Followers see the failure; without any left nobody needs to.
    this.#answer.catch(() => undefined);
  }

  /** Ends it for all who wait. */
  end(reason: Error): void {
    this.#onEnd();
    this.#ending.abort(reason);
  }

  /** Rejects as the pursuit does, and with the signal's reason when that is aborted. */
  async follow({ signal, limitMs, onChange }: FollowOptions): Promise<WaitResult> {
    const leaving = Promise.withResolvers<WaitResult>();
    const onAbort = () => leaving.reject(signal?.reason as Error);
    const onLimit = () => leaving.resolve({ settled: false, elevation: this.#latest });
    let timer: Timer | undefined;
    this.#followers += 1;
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", onAbort, { once: true });
      if (onChange !== undefined) {
        this.#listeners.add(onChange);
        if (this.#latest !== undefined) onChange(this.#latest);
      }
      // The process stays for it: somebody waits.
      if (limitMs !== undefined) timer = this.#clock.after(limitMs, onLimit, { hold: true });
      const answered = this.#answer.then((elevation): WaitResult => ({ settled: true, elevation }));
      return await Promise.race([answered, leaving.promise]);
    } finally {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      if (onChange !== undefined) this.#listeners.delete(onChange);
      this.#followers -= 1;
      if (this.#followers === 0) {
        this.#onEnd();
        this.#ending.abort();
      }
    }
  }
}
