// The authority's time as this guard knows it: from samples over the link, over a restart, and over a sleep of the machine.
// Owns the estimate, and when it is in doubt. Never talks: whoever owns it sends probes and brings the answers.
import { type Clock, OffsetEstimator, type TimeEstimate, type Timer } from "@brevet/protocol";
import { type ClockMark, carriedOver, machineTime } from "../state/mark.ts";
import { PartedClocks } from "./parted.ts";

/** How long elevated calls wait for a fresh sample. */
const WAIT_MS = 2000;
/** Until a fresh sample came, the time counts as stale: less certain than a second. */
const DOUBT_ERROR_MS = 1001;
const BOOT_RESOLUTION_MS = 20;
const PROBE_RESOLUTION_MS = 0.001;

/** What an authority's time is made with. */
export interface AuthorityTimeOptions {
  readonly clock: Clock;
  /** A fresh sample is wanted at once: the machine slept for so long, or its monotonic clock stepped ahead (negative). */
  readonly onDoubt: (partedMs: number) => void;
  /** A fresh sample came, or it was waited for long enough: what hangs on the time has to be judged anew. */
  readonly onSettled: () => void;
}

/** See the head of this file. */
export class AuthorityTime {
  readonly #options: AuthorityTimeOptions;
  readonly #estimator = new OffsetEstimator();
  readonly #clocks: PartedClocks;
  /** No fresh sample came since then: samples that were asked for before say nothing. */
  #doubtedAtMs: number | undefined;
  /** What waits for one. */
  #waiting: PromiseWithResolvers<void> | undefined;
  #timer: Timer | undefined;
  /** Without a sample, and no clock that tells: authority minus monotonic. */
  #guessMs: number | undefined;

  constructor(options: AuthorityTimeOptions) {
    this.#options = options;
    this.#clocks = new PartedClocks(options.clock);
  }

  /** Undefined before the first sample. Its error is Infinity where nothing tells the time any more. */
  now(): TimeEstimate | undefined {
    const nowMs = this.#look();
    const estimate = this.#estimator.estimate(nowMs);
    if (estimate === undefined) return this.#guessMs === undefined ? undefined : { authorityMs: nowMs + this.#guessMs, errorMs: Infinity };
    if (this.#doubtedAtMs === undefined || estimate.errorMs >= DOUBT_ERROR_MS) return estimate;
    return { authorityMs: estimate.authorityMs, errorMs: DOUBT_ERROR_MS };
  }

  /** While a fresh sample is waited for, two seconds at most: resolves with it or without. Knows what {@link now} noticed. */
  settling(): Promise<void> | undefined {
    return this.#waiting?.promise;
  }

  /** More samples are wanted than usual. */
  get wanted(): boolean {
    return this.#doubtedAtMs !== undefined || (this.#estimator.unsure && (this.now()?.errorMs ?? 0) > 50);
  }

  /** As {@link OffsetEstimator.sample}. */
  sample(t1: number, t2: number, t3: number, t4: number): void {
    this.#look();
    // A probe that was sent before the sleep measures the sleep as well.
    if (this.#doubtedAtMs !== undefined && t1 < this.#doubtedAtMs - PROBE_RESOLUTION_MS) return;
    this.#estimator.sample(t1, t2, t3, t4);
    if (this.#doubtedAtMs === undefined) return;
    this.#doubtedAtMs = undefined;
    this.#settle();
  }

  /** Goes on from a mark that was kept over a restart. Answers why no clock can tell, where none can. */
  restore(mark: ClockMark): string | undefined {
    const { clock } = this.#options;
    const { estimate, problem } = carriedOver(mark, machineTime(clock));
    const nowMs = clock.monotonicMs();
    this.#guessMs = estimate.authorityMs - nowMs;
    this.#estimator.seed(estimate, nowMs);
    return problem;
  }

  /** For {@link restore}; undefined where the time is not known. */
  mark(): ClockMark | undefined {
    const now = this.now();
    if (now === undefined || now.errorMs === Infinity) return undefined;
    return { ...machineTime(this.#options.clock), ...now };
  }

  close(): void {
    this.#timer?.cancel();
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  #look(): number {
    const nowMs = this.#options.clock.monotonicMs();
    const partedMs = this.#clocks.look(nowMs);
    if (partedMs !== 0) this.#parted(partedMs, nowMs);
    return nowMs;
  }

  #parted(partedMs: number, nowMs: number): void {
    const before = this.#estimator.estimate(nowMs);
    this.#estimator.reset();
    if (before !== undefined) {
      // Slept: the boot-time clock knows for how long. A monotonic clock that went ahead of it is as likely wrong as right.
      const errorMs = before.errorMs + BOOT_RESOLUTION_MS;
      const half = partedMs / 2;
      const slept = { authorityMs: before.authorityMs + partedMs, errorMs };
      this.#estimator.seed(partedMs > 0 ? slept : { authorityMs: before.authorityMs + half, errorMs: errorMs - half }, nowMs);
    }
    this.#doubtedAtMs = nowMs;
    this.#waiting ??= Promise.withResolvers<void>();
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(WAIT_MS, () => this.#settle());
    this.#options.onDoubt(partedMs);
  }

  #settle(): void {
    this.#timer?.cancel();
    this.#waiting?.resolve();
    this.#waiting = undefined;
    this.#options.onSettled();
  }
}
