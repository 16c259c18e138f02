// Time's own writes: one timer on the earliest instant at which an elevation changes by itself, over all elevations.
// Never decides late what should have been decided earlier: entries carry the instant, however late they are written.
import type { Clock, Timer } from "@brevet/protocol";
import type { Log, LogTransaction } from "../log/log.ts";
import { execute } from "./execute.ts";
import { type CurrentPolicies, currentPolicy, PolicyBehind } from "./policies.ts";
import { needsPolicy } from "./start.ts";

/** What {@link ElevationTimer} stands on. */
export interface ElevationTimerOptions {
  readonly log: Log;
  readonly policies: CurrentPolicies;
  readonly clock: Clock;
  /** Told of what could not be written, and once of a policy that stays away; it is tried again within a second. */
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
  /** Elevations that wait for a policy to be loaded, which others do not wait for. */
  readonly #held = new Set<string>();
  /** Audiences whose policy is not loaded: since when, by the monotonic clock, and whether that was told. */
  readonly #behind = new Map<string, { readonly sinceMs: number; told: boolean }>();
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
    const behind = new Map<string, PolicyBehind>();
    let total = 0;
    this.#held.clear();
    for (;;) {
      const held = this.#held.size;
      const { looked, moved } = await this.#options.log.write((tx) => this.#batch(tx, behind));
      total += moved;
      if (looked < BATCH || (moved === 0 && this.#held.size === held)) break;
    }
    this.#tell(behind);
    return total;
  }

  async #batch(tx: LogTransaction, behind: Map<string, PolicyBehind>): Promise<{ looked: number; moved: number }> {
    const due = await tx.due(tx.nowMs, BATCH + this.#held.size);
    const ids = due.filter((id) => !this.#held.has(id));
    let moved = 0;
    for (const id of ids) {
      const state = await tx.elevation(id);
      if (state === undefined) continue;
      try {
        const policy = needsPolicy(state, tx.nowMs) ? await currentPolicy(tx, this.#options.policies, state.audience) : undefined;
        const outcome = await execute(tx, { kind: "tick" }, state, { policy, facts: undefined, call: undefined, isWaiting: () => false });
        if (outcome.due.length > 0) moved += 1;
      } catch (error) {
        if (!(error instanceof PolicyBehind)) throw error;
        this.#held.add(id);
        behind.set(state.audience, error);
      }
    }
    return { looked: ids.length, moved };
  }

  /** Tells once of a policy that stays away; a version that was just applied is loaded in a moment. */
  #tell(behind: ReadonlyMap<string, PolicyBehind>): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const audience of this.#behind.keys()) if (!behind.has(audience)) this.#behind.delete(audience);
    for (const [audience, error] of behind) {
      const known = this.#behind.get(audience) ?? { sinceMs: nowMs, told: false };
      this.#behind.set(audience, known);
      if (known.told || nowMs - known.sinceMs < AGAIN_MS) continue;
      known.told = true;
      this.#options.onFault?.(error);
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
      if ((await this.tick()) === 0) this.#sleep(this.#held.size > 0 ? AGAIN_MS : SHORTEST_MS);
    } catch (error) {
      onFault?.(error);
      if (!this.#disposed) this.#sleep(AGAIN_MS);
    }
  }

  #sleep(delayMs: number): void {
    if (this.#disposed) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => this.#wake());
  }
}
