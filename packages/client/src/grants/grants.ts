// Grants in hand, one for each elevation: fetched when first wanted, renewed in the background before their end. Never writes one down.
import { MAX_GRANT_LIFETIME_MS, parseGrant } from "@brevet/protocol";
import type { ElevationServiceIssueGrantResponse } from "@brevet/protocol/brevet/v1/elevation";
import { bounded } from "../connection/bounded.ts";
import type { ClientLogger } from "../connection/logger.ts";
import type { Pace } from "../connection/retry.ts";

/** What the cache needs. */
export interface GrantsOptions extends Pace {
  issue(elevationId: string): Promise<ElevationServiceIssueGrantResponse>;
  readonly logger: ClientLogger | undefined;
}

/** How a grant is wanted. */
export interface GrantWish {
  /** A new one, also where the one in hand seems good. */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal;
}

interface Held {
  readonly token: string;
  /** On the monotonic clock: from then on a use renews it, and from then on it is not used. */
  renewAtMs: number;
  readonly endsAtMs: number;
}

const MOST_HELD = 1000;
// A grant in hand has to last for the way to the guard.
const SPARE_MS = 5000;
const RETRY_MS = 10_000;

/** See the head of this file. */
export class Grants {
  readonly #options: GrantsOptions;
  readonly #held = new Map<string, Held>();
  readonly #coming = new Map<string, Promise<string>>();

  constructor(options: GrantsOptions) {
    this.#options = options;
  }

  /** The grant in hand, if it is good; renews it in the background when its end comes near. Costs a look-up. */
  inHand(elevationId: string): string | undefined {
    const held = this.#held.get(elevationId);
    if (held === undefined) return undefined;
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs >= held.endsAtMs) {
      this.#held.delete(elevationId);
      return undefined;
    }
    if (nowMs >= held.renewAtMs && !this.#coming.has(elevationId)) {
      // Jittered, also between tries: grants that were issued together are not renewed together.
      held.renewAtMs = nowMs + RETRY_MS * (0.5 + this.#options.random());
      this.#fetch(elevationId).catch((error: unknown) =>
        this.#options.logger?.warn({ elevation: elevationId, err: String(error) }, "brevet: a grant could not be renewed yet"),
      );
    }
    return held.token;
  }

  /** A good grant. Rejects as issuing does, and with the signal's reason when that is aborted. */
  async get(elevationId: string, { fresh = false, signal }: GrantWish = {}): Promise<string> {
    signal?.throwIfAborted();
    if (fresh) this.#held.delete(elevationId);
    const held = fresh ? undefined : this.inHand(elevationId);
    if (held !== undefined) return held;
    // Others may wait for the same answer: one caller's abort must not take it from them.
    const coming = this.#coming.get(elevationId) ?? this.#fetch(elevationId);
    return signal === undefined ? coming : bounded(coming, signal);
  }

  /** Lets go of the grant of an elevation. */
  forget(elevationId: string): void {
    this.#held.delete(elevationId);
  }

  #fetch(elevationId: string): Promise<string> {
    const coming = this.#issue(elevationId).finally(() => this.#coming.delete(elevationId));
    this.#coming.set(elevationId, coming);
    return coming;
  }

  async #issue(elevationId: string): Promise<string> {
    const { clock, random } = this.#options;
    const askedMs = clock.monotonicMs();
    const { grant } = await this.#options.issue(elevationId);
    // Its length is counted from before it was asked for, so that no clock but this one matters and the error is on the safe side.
    const form = parseGrant(grant);
    const lifetimeMs = form.ok ? Math.min((form.claims.exp - form.claims.iat) * 1000, MAX_GRANT_LIFETIME_MS) : 0;
    if (this.#held.size >= MOST_HELD) for (const oldest of this.#held.keys()) if (this.#held.delete(oldest)) break;
    this.#held.set(elevationId, {
      token: grant,
      renewAtMs: askedMs + lifetimeMs * (0.6 + 0.2 * random()),
      endsAtMs: askedMs + lifetimeMs - Math.min(SPARE_MS, lifetimeMs / 10),
    });
    return grant;
  }
}
