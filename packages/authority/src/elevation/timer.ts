// Time's own writes: one timer on the earliest instant at which an elevation changes by itself, over all elevations.
// Never decides late what should have been decided earlier: entries carry the instant, however late they are written.
import type { Clock, Timer } from "@brevet/protocol";
import type { Log } from "../log/log.ts";
import { execute } from "./execute.ts";
import { type CurrentPolicies, currentPolicy, PolicyBehind } from "./policies.ts";

/** What {@link ElevationTimer} stands on. */
export interface ElevationTimerOptions {
  readonly log: Log;
  readonly policies: CurrentPolicies;
  readonly clock: Clock;
  /** Told of what could not be written; it is tried again within a second. */
  readonly onFault?: (error: unknown) => void;
}

const BATCH = 256;
const AGAIN_MS = 500;
const SHORTEST_MS = 5;

/** Runs until disposed. */
export class ElevationTimer implements AsyncDisposable {
  readonly #options: ElevationTimerOptions;
  readonly #subscription: Disposable;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #changed = false;
  #disposed = false;

  constructor(options: ElevationTimerOptions) {
    this.#options = options;
    this.#subscription = options.log.subscribe((changes) => {
      if (changes.some((change) => change.elevation !== undefined)) this.#wake();
    });
    this.#wake();
  }

  /** Writes all that time has brought about by now; answers with the number of elevations that changed. */
  async tick(): Promise<number> {
    const { log, policies } = this.#options;
    let total = 0;
    for (;;) {
      const count = await log.write(async (tx) => {
        const ids = await tx.due(tx.nowMs, BATCH);
        let moved = 0;
        for (const id of ids) {
          const state = await tx.elevation(id);
          if (state === undefined) continue;
          const policy = await currentPolicy(tx, policies, state.audience);
          const outcome = await execute(tx, { kind: "tick" }, state, { policy, facts: undefined, call: undefined, isWaiting: () => false });
          if (outcome.due.length > 0) moved += 1;
        }
        return moved;
      });
      total += count;
      if (count < BATCH) return total;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#subscription[Symbol.dispose]();
    this.#timer?.cancel();
    await this.#running;
  }

  /** Looks again at what is due next; while it looks, one more look is remembered, not queued. */
  #wake(): void {
    this.#changed = true;
    if (this.#disposed || this.#running) return;
    this.#running = this.#look().finally(() => {
      this.#running = undefined;
      if (this.#changed) this.#wake();
    });
  }

  async #look(): Promise<void> {
    const { log, clock, onFault } = this.#options;
    this.#changed = false;
    this.#timer?.cancel();
    try {
      const dueMs = await log.store.nextDueMs();
      if (dueMs === undefined || this.#disposed) return;
      const delayMs = dueMs - clock.wallMs();
      if (delayMs > 0) return this.#sleep(Math.max(SHORTEST_MS, delayMs));
      // A store whose time is behind ours says that nothing is due yet.
      if ((await this.tick()) === 0) this.#sleep(SHORTEST_MS);
    } catch (error) {
      if (!(error instanceof PolicyBehind)) onFault?.(error);
      if (!this.#disposed) this.#sleep(AGAIN_MS);
    }
  }

  #sleep(delayMs: number): void {
    if (this.#disposed) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => this.#wake());
  }
}
