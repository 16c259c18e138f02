// How many failed checks of signatures one connection, and one address, may cause: one costs a hundred times a cached look-up.
// Owns the counters; never looks at a token.

interface Bucket {
  left: number;
  atMs: number;
}

const MAX_PEERS = 10_000;
/** Behind one address there may be a balancer, and everybody. */
const ADDRESS = { burst: 1000, perSecond: 100 };

/** Peers are `address#port`: limited by connection, and wider by address. Those without a port, as on a Unix socket, by address only. */
export class FailureLimit {
  readonly #connections = new Buckets({ burst: 100, perSecond: 10 });
  readonly #addresses = new Buckets(ADDRESS);

  /** Milliseconds until the peer may have another token checked; 0: now. */
  waitMs(peer: string, nowMs: number): number {
    const address = addressOf(peer);
    const waitMs = this.#addresses.waitMs(address, nowMs);
    return address === peer ? waitMs : Math.max(waitMs, this.#connections.waitMs(peer, nowMs));
  }

  /** A check failed. */
  failed(peer: string, nowMs: number): void {
    const address = addressOf(peer);
    this.#addresses.failed(address, nowMs);
    if (address !== peer) this.#connections.failed(peer, nowMs);
  }
}

function addressOf(peer: string): string {
  const end = peer.lastIndexOf("#");
  return end < 0 ? peer : peer.slice(0, end);
}

/** A token bucket per peer: `burst` failures at once, then `perSecond`. Bounded; the peer that was quiet longest is forgotten first. */
class Buckets {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #peers = new Map<string, Bucket>();

  constructor({ burst, perSecond }: { readonly burst: number; readonly perSecond: number }) {
    this.#burst = burst;
    this.#perSecond = perSecond;
  }

  waitMs(peer: string, nowMs: number): number {
    const bucket = this.#peers.get(peer);
    if (bucket === undefined) return 0;
    const left = this.#leftAt(bucket, nowMs);
    return left >= 1 ? 0 : Math.ceil(((1 - left) / this.#perSecond) * 1000);
  }

  failed(peer: string, nowMs: number): void {
    const bucket = this.#peers.get(peer) ?? { left: this.#burst, atMs: nowMs };
    bucket.left = Math.max(0, this.#leftAt(bucket, nowMs) - 1);
    bucket.atMs = nowMs;
    this.#peers.delete(peer);
    this.#peers.set(peer, bucket);
    if (this.#peers.size <= MAX_PEERS) return;
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
