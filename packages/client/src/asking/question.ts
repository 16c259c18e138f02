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

/** One of those who wait: a plain promise and one timer, no more, since thousands of calls may. */
class Follower {
  readonly onChange: FollowOptions["onChange"];
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: (result: WaitResult) => void;
  readonly #reject: (reason: Error) => void;
  readonly #leave: (follower: Follower) => void;
  timer: Timer | undefined;

  constructor(
    { signal, onChange }: FollowOptions,
    resolve: (result: WaitResult) => void,
    reject: (reason: Error) => void,
    leave: (follower: Follower) => void,
  ) {
    this.onChange = onChange;
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#leave = leave;
    signal?.addEventListener("abort", this, { once: true });
  }

  /** The signal's. */
  handleEvent(): void {
    this.fail(this.#signal?.reason as Error);
  }

  end(result: WaitResult): void {
    this.#left();
    this.#resolve(result);
  }

  fail(reason: Error): void {
    this.#left();
    this.#reject(reason);
  }

  #left(): void {
    this.timer?.cancel();
    this.#signal?.removeEventListener("abort", this);
    this.#leave(this);
  }
}

/** See the head of this file. */
export class Question {
  readonly #clock: Clock;
  readonly #followers = new Set<Follower>();
  readonly #ending = new AbortController();
  readonly #onEnd: () => void;
  #latest: Elevation | undefined;
  #answered: ((follower: Follower) => void) | undefined;

  /** Starts at once. `onEnd` is told when it is answered or nobody waits any more: then it takes no new followers. */
  constructor(pursue: Pursuit, clock: Clock, onEnd: () => void) {
    this.#clock = clock;
    this.#onEnd = onEnd;
    const publish = (elevation: Elevation) => {
      this.#latest = elevation;
      for (const { onChange } of this.#followers) onChange?.(elevation);
    };
    pursue(this.#ending.signal, publish).then(
      (elevation) => this.#answer((follower) => follower.end({ settled: true, elevation })),
      // Without any left nobody needs to see it.
      (error: unknown) => this.#answer((follower) => follower.fail(error as Error)),
    );
  }

  /** Ends it for all who wait. */
  end(reason: Error): void {
    this.#onEnd();
    this.#ending.abort(reason);
  }

  /** Rejects as the pursuit does, and with the signal's reason when that is aborted. */
  follow(options: FollowOptions): Promise<WaitResult> {
    return new Promise((resolve, reject) => {
      const follower = new Follower(options, resolve, reject, this.#leave);
      this.#followers.add(follower);
      const { signal, limitMs, onChange } = options;
      if (signal?.aborted) return follower.handleEvent();
      try {
        if (onChange !== undefined && this.#latest !== undefined) onChange(this.#latest);
      } catch (error) {
        return follower.fail(error as Error);
      }
      if (this.#answered !== undefined) return this.#answered(follower);
      if (limitMs === undefined) return;
      // The process stays for it: somebody waits.
      follower.timer = this.#clock.after(limitMs, () => follower.end({ settled: false, elevation: this.#latest }), { hold: true });
    });
  }

  readonly #leave = (follower: Follower): void => {
    this.#followers.delete(follower);
    if (this.#followers.size > 0) return;
    this.#onEnd();
    this.#ending.abort();
  };

  #answer(answered: (follower: Follower) => void): void {
    this.#answered = answered;
    this.#onEnd();
    for (const follower of this.#followers) answered(follower);
  }
}
