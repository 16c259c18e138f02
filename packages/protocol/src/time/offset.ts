// Estimates the authority's time from exchanges of messages, with a bound on the error that holds whatever the network does.
// Owns the arithmetic of NTP (RFC 5905); never reads a clock.

/** Where the authority's clock stands, within `errorMs` either way. */
export interface TimeEstimate {
  readonly authorityMs: number;
  readonly errorMs: number;
}

/** What the clocks are like. */
export interface OffsetOptions {
  /** How fast two clocks may part. 100 ppm, 0.36 s an hour, unless told. */
  readonly driftPpm?: number;
  /** The authority's times may be cut down by up to this. 1 ms unless told. */
  readonly resolutionMs?: number;
}

interface Sample {
  /** Local time of sending: the bound loosens from here on. */
  readonly sentMs: number;
  /** Authority minus local: from its lowest to its highest possible value. */
  readonly lowMs: number;
  readonly highMs: number;
}

const KEPT_SAMPLES = 8;

/** The offset between a local monotonic clock and the authority's wall clock: the best of the last 8 samples. All times in ms. */
export class OffsetEstimator {
  readonly #drift: number;
  readonly #resolutionMs: number;
  #samples: Sample[] = [];

  constructor(options: OffsetOptions = {}) {
    this.#drift = (options.driftPpm ?? 100) / 1_000_000;
    this.#resolutionMs = options.resolutionMs ?? 1;
  }

  /**
   * One exchange: sent at `t1` and answered at `t4` on the local monotonic clock; received at `t2` and answered at `t3` on the
   * authority's. An impossible exchange is ignored. One that contradicts older samples replaces them: a clock stepped, or this machine slept.
   */
  sample(t1: number, t2: number, t3: number, t4: number): void {
    if (![t1, t2, t3, t4].every(Number.isFinite) || t4 < t1) return;
    // The request was received after it was sent, the answer sent before it was received.
    const one: Sample = { sentMs: t1, lowMs: t3 - t4, highMs: t2 + this.#resolutionMs - t1 };
    if (one.highMs < one.lowMs) return;
    this.#samples = [...this.#samples.filter((other) => this.#agree(one, other, t4)), one].slice(-KEPT_SAMPLES);
  }

  /** The authority's time at a local monotonic time, not before the newest sample; undefined before the first sample. */
  estimate(localMonotonicMs: number): TimeEstimate | undefined {
    let best: TimeEstimate | undefined;
    for (const { sentMs, lowMs, highMs } of this.#samples) {
      const errorMs = (highMs - lowMs) / 2 + this.#drift * Math.max(0, localMonotonicMs - sentMs);
      // Ties go to the newer one.
      if (!best || errorMs <= best.errorMs) best = { authorityMs: localMonotonicMs + (lowMs + highMs) / 2, errorMs };
    }
    return best;
  }

  /** Forgets everything: after a suspend, or a change of authority. */
  reset(): void {
    this.#samples = [];
  }

  #agree(a: Sample, b: Sample, localMs: number): boolean {
    const slackMs = this.#drift * (2 * localMs - a.sentMs - b.sentMs);
    return a.lowMs - slackMs <= b.highMs && b.lowMs - slackMs <= a.highMs;
  }
}
