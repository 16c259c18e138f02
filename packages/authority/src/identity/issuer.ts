// One issuer of identity tokens: its key set, found by discovery (OpenID Connect Discovery 1.0, 4), kept fresh, fetched again for an
// unknown key at most once a while. Never keeps anybody waiting at the start, and never forgets good keys because a fetch failed.
import type { Clock, Timer } from "@brevet/protocol";
import type { Logger } from "pino";
import { type FetchText, isFetchable, isLoopbackHost } from "./fetch.ts";
import { KeySet } from "./keyset.ts";

const DISCOVERY_PATH = "/.well-known/openid-configuration";
const TIMEOUT_MS = 5000;
const MAX_DISCOVERY_BYTES = 64 * 1024;
const MAX_KEYS_BYTES = 512 * 1024;
const REFRESH_MS = 10 * 60_000;
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MOST_MS = 60_000;
/** Keys that could not be confirmed for so long are not trusted any more. */
const MAX_AGE_MS = 24 * 3_600_000;
/** An unknown key makes the set be fetched again, not more often than this. */
export const REFETCH_FLOOR_MS = 10_000;

/** What an issuer's keys are fetched with. */
export interface IssuerKeysOptions {
  readonly issuer: string;
  readonly clock: Clock;
  readonly fetchText: FetchText;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  readonly logger: Logger;
  /** The set changed. */
  readonly onChange: () => void;
}

/** Keeps the keys of one issuer until disposed. */
export class IssuerKeys implements Disposable {
  readonly issuer: string;
  readonly #options: IssuerKeysOptions;
  readonly #abort = new AbortController();
  #keys: KeySet | undefined;
  #fetchedMs = 0;
  #fetching: Promise<void> | undefined;
  #timer: Timer | undefined;
  #failures = 0;
  #lastForced = Number.NEGATIVE_INFINITY;

  constructor(options: IssuerKeysOptions) {
    this.issuer = options.issuer;
    this.#options = options;
    void this.#fetch();
  }

  /** The newest keys; undefined while there are none that may be trusted. */
  current(): KeySet | undefined {
    return this.#options.clock.wallMs() - this.#fetchedMs <= MAX_AGE_MS ? this.#keys : undefined;
  }

  /** When the keys were last confirmed, milliseconds since 1970; 0: never. */
  get fetchedMs(): number {
    return this.#fetchedMs;
  }

  /** The keys for a token that names `kid`: waits for a fetch that is under way or that this key is worth. */
  async keysFor(kid: string | undefined): Promise<KeySet | undefined> {
    if (this.current()?.has(kid)) return this.current();
    if (this.#fetching === undefined) {
      const now = this.#options.clock.monotonicMs();
      if (now - this.#lastForced < REFETCH_FLOOR_MS) return this.current();
      this.#lastForced = now;
    }
    await this.#fetch();
    return this.current();
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
    this.#timer?.cancel();
  }

  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchOnce().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetchOnce(): Promise<void> {
    const { issuer, clock, logger, onChange, random } = this.#options;
    this.#timer?.cancel();
    try {
      const keys = await this.#read();
      const changed = keys.json !== this.#keys?.json;
      if (changed) this.#keys = keys;
      this.#fetchedMs = clock.wallMs();
      this.#failures = 0;
      if (changed) onChange();
      this.#again(REFRESH_MS * (0.9 + 0.2 * random()));
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      this.#failures += 1;
      const most = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.#failures - 1, 10));
      const problem = error instanceof Error ? causeOf(error) : String(error);
      const level = this.current() === undefined ? "error" : "warn";
      logger[level]({ issuer, problem, failures: this.#failures }, "the issuer's keys could not be had");
      this.#again(Math.max(100, most * random()));
    }
  }

  async #read(): Promise<KeySet> {
    const { issuer, fetchText } = this.#options;
    if (!isFetchable(issuer, { loopback: true })) throw new Error("the issuer is no https URL");
    const signal = this.#abort.signal;
    const url = issuer.replace(/\/$/, "") + DISCOVERY_PATH;
    const discovered: unknown = JSON.parse(await fetchText(url, { timeoutMs: TIMEOUT_MS, maxBytes: MAX_DISCOVERY_BYTES, signal }));
    const { issuer: named, jwks_uri: keysUrl } = (typeof discovered === "object" ? discovered : null) as {
      issuer?: unknown;
      jwks_uri?: unknown;
    };
    if (named !== issuer) throw new Error("the discovery document names another issuer");
    const loopback = isLoopbackHost(new URL(issuer).hostname);
    if (typeof keysUrl !== "string" || !isFetchable(keysUrl, { loopback }))
      throw new Error("the discovery document names no https key set");
    const text = await fetchText(keysUrl, { timeoutMs: TIMEOUT_MS, maxBytes: MAX_KEYS_BYTES, signal });
    return KeySet.read(text);
  }

  #again(delayMs: number): void {
    if (this.#abort.signal.aborted) return;
    this.#timer = this.#options.clock.after(delayMs, () => void this.#fetch());
  }
}

function causeOf(error: Error): string {
  const { cause } = error;
  return cause instanceof Error ? `${error.message}: ${cause.message}` : error.message;
}
