// Whether the authority answers, as the calls that are made anyway find out. Makes none itself.
import { type Clock, sanitise } from "@brevet/protocol";
import { AuthorityError } from "./failure.ts";

/** The authority cannot be reached. */
export interface Outage {
  /** Wall clock, milliseconds since 1970, of the first try that failed. */
  readonly sinceMs: number;
  /** What the last one came to. */
  readonly problem: string;
}

/** See the head of this file. */
export class Outages {
  readonly #clock: Clock;
  readonly #listeners = new Set<(outage: Outage | undefined) => void>();
  #sinceMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns how to stop. When nobody listens any more an outage is forgotten: it may be over before the next try. */
  listen(listener: (outage: Outage | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#sinceMs = undefined;
    };
  }

  /** The call as it is; how it goes counts, unless whoever made it gave up. */
  async observe<T>(call: Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      const value = await call;
      this.answered();
      return value;
    } catch (error) {
      const failure = AuthorityError.from(error);
      if (failure instanceof AuthorityError && !signal.aborted) {
        if (failure.transient) this.failed(failure.message);
        else this.answered();
      }
      throw error;
    }
  }

  failed(problem: string): void {
    if (this.#listeners.size === 0) return;
    this.#sinceMs ??= this.#clock.wallMs();
    const outage = { sinceMs: this.#sinceMs, problem: sanitise(problem, 300) };
    for (const listener of this.#listeners) listener(outage);
  }

  answered(): void {
    if (this.#sinceMs === undefined) return;
    this.#sinceMs = undefined;
    for (const listener of this.#listeners) listener(undefined);
  }
}
