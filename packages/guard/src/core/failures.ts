// How many failed checks of signatures one peer may cause: one costs a hundred times a cached look-up.
// Owns the counters; never looks at a token.

interface Bucket {
  left: number;
  atMs: number;
}

/** A token bucket per peer: `burst` failures at once, then `perSecond`. Bounded; the peer that was quiet longest is forgotten first. */
export class FailureLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #maxPeers: number;
  readonly #peers = new Map<string, Bucket>();

  constructor(options: { readonly burst?: number; readonly perSecond?: number; readonly maxPeers?: number } = {}) {
    this.#burst = options.burst ?? 100;
    this.#perSecond = options.perSecond ?? 10;
    this.#maxPeers = options.maxPeers ?? 10_000;
  }

  /** Milliseconds until the peer may have another token checked; 0: now. */
  waitMs(peer: string, nowMs: number): number {
    const bucket = this.#peers.get(peer);
    if (bucket === undefined) return 0;
    const left = this.#leftAt(bucket, nowMs);
    return left >= 1 ? 0 : Math.ceil(((1 - left) / this.#perSecond) * 1000);
  }

  /** A check failed. */
  failed(peer: string, nowMs: number): void {
    const bucket = this.#peers.get(peer) ?? { left: this.#burst, atMs: nowMs };
    bucket.left = Math.max(0, this.#leftAt(bucket, nowMs) - 1);
    bucket.atMs = nowMs;
    this.#peers.delete(peer);
    this.#peers.set(peer, bucket);
    if (this.#peers.size <= this.#maxPeers) return;
    for (const oldest of this.#peers.keys()) {
      this.#peers.delete(oldest);
      break;
    }
  }

  #leftAt(bucket: Bucket, nowMs: number): number {
    const gained = (Math.max(0, nowMs - bucket.atMs) / 1000) * this.#perSecond;
    return Math.min(this.#burst, bucket.left + gained);
  }
}
