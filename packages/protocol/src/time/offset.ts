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
/** A clock that stands still, or runs at twice its speed. */
const WORST_DRIFT = 1;

/**
 * The offset between a local monotonic clock and the authority's wall clock: the best of the last 8 samples. All times in ms.
 *
 * Samples that contradict each other show a clock that stepped, or one that runs wrong; which of both, later ones tell. From then on the
 * bound of the drift is what the samples do not rule out, until they rule out all but the usual.
 */
export class OffsetEstimator {
  readonly #usualDrift: number;
  #drift: number;
  readonly #resolutionMs: number;
  #samples: Sample[] = [];
  /** The newest sample that contradicted others, or the first after a suspend: what the doubted drift is measured from. */
  #doubtedAt: Sample | undefined;

  constructor(options: OffsetOptions = {}) {
    this.#usualDrift = (options.driftPpm ?? 100) / 1_000_000;
    this.#drift = this.#usualDrift;
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
    const agreeing = this.#samples.filter((other) => agree(one, other, t4, this.#drift));
    const newest = this.#samples.at(-1);
    if (newest !== undefined && agreeing.length < this.#samples.length) {
      this.#drift = Math.max(this.#drift, mostDrift(newest, one));
      this.#doubtedAt = one;
    } else if (this.unsure && this.#doubtedAt === undefined) {
      this.#doubtedAt = one;
    } else if (this.unsure && this.#doubtedAt !== undefined) {
      this.#drift = Math.max(this.#usualDrift, Math.min(this.#drift, mostDrift(this.#doubtedAt, one)));
    }
    this.#samples = [...agreeing, one].slice(-KEPT_SAMPLES);
  }

  /** An estimate from elsewhere, of this local time, counts as a sample. */
  seed({ authorityMs, errorMs }: TimeEstimate, localMs: number): void {
    if (!Number.isFinite(authorityMs) || !Number.isFinite(errorMs)) return;
    const offsetMs = authorityMs - localMs;
    this.#samples = [...this.#samples, { sentMs: localMs, lowMs: offsetMs - errorMs, highMs: offsetMs + errorMs }].slice(-KEPT_SAMPLES);
  }

  /** The clocks part faster than they may: more samples are wanted, soon. */
  get unsure(): boolean {
    return this.#drift > this.#usualDrift;
  }

  /** The authority's time at a local monotonic time, not before the newest sample; undefined before the first sample. */
  estimate(localMonotonicMs: number): TimeEstimate | undefined {
    // On the path of every call: nothing is made but the answer.
    let leastMs = Infinity;
    let offsetMs = 0;
    for (const { sentMs, lowMs, highMs } of this.#samples) {
      const errorMs = (highMs - lowMs) / 2 + this.#drift * Math.max(0, localMonotonicMs - sentMs);
      // Ties go to the newer one.
      if (errorMs > leastMs) continue;
      leastMs = errorMs;
      offsetMs = (lowMs + highMs) / 2;
    }
    return this.#samples.length === 0 ? undefined : { authorityMs: localMonotonicMs + offsetMs, errorMs: leastMs };
  }

  /** Forgets the samples: after a suspend. Doubts about the drift stay, until samples from here on rule them out. */
  reset(): void {
    this.#samples = [];
    this.#doubtedAt = undefined;
  }
}

/** The most by which the clocks can have parted between two samples, for each millisecond. */
function mostDrift(before: Sample, after: Sample): number {
  const partedMs = Math.max(after.highMs - before.lowMs, before.highMs - after.lowMs);
  return Math.min(WORST_DRIFT, partedMs / Math.max(1, after.sentMs - before.sentMs));
}

/** Whether both can be true of clocks that part by at most `drift`. */
function agree(a: Sample, b: Sample, localMs: number, drift: number): boolean {
  const slackMs = drift * (2 * localMs - a.sentMs - b.sentMs);
  return a.lowMs - slackMs <= b.highMs && b.lowMs - slackMs <= a.highMs;
}
