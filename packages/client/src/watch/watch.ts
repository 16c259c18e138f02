// The one watch of a process on its authority: open while somebody waits, resumed behind what was seen, whatever happens to the connection.
// Hands each change to whoever waits for that elevation; never judges it.
import { type Clock, sleep, type Timer } from "@brevet/protocol";
import {
  type Elevation,
  type ElevationServiceWatchRequestSchema,
  type ElevationServiceWatchResponse,
  ElevationState,
  type LogPosition,
} from "@brevet/protocol/brevet/v1/elevation";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { AuthorityError, type IdentityFailure } from "../connection/failure.ts";
import type { ClientLogger } from "../connection/logger.ts";
import type { Outages } from "../connection/outage.ts";
import { backoffMs, type Pace } from "../connection/retry.ts";

/** Somebody who waits for one elevation. */
export interface Waiter {
  readonly id: string;
  onElevation(elevation: Elevation): void;
  /** How it stands is not told here: the watch came too late, or the elevation is none of the caller's open ones. Changes from now on are told. */
  onMissed(): void;
  /** The authority refuses the watch; no further call follows. */
  onFailure(failure: AuthorityError | IdentityFailure): void;
}

/** What the watch needs. */
export interface WatchOptions extends Pace {
  open(
    request: MessageInitShape<typeof ElevationServiceWatchRequestSchema>,
    signal: AbortSignal,
  ): AsyncIterable<ElevationServiceWatchResponse>;
  readonly logger: ClientLogger | undefined;
  /** Told how it goes. */
  readonly outages: Pick<Outages, "failed" | "answered">;
}

// The authority sends a heartbeat at least every 15 s.
const SILENCE_MS = 40_000;
// The authority takes no more. An approval of the others makes them SCHEDULED, and the call starts them.
const MOST_ANNOUNCED = 1000;
// Who came and who left is said with the next opening. The authority takes the word of the request for longer than this.
const ANNOUNCE_MS = 500;
// Of the whole state only what is open: who waits for something that is final is told that it is not there.
const OPEN_STATES = [ElevationState.PENDING, ElevationState.SCHEDULED, ElevationState.ACTIVE];

/** See the head of this file. */
export class Watch {
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();
  /** Behind which the next stream resumes; undefined: with the whole state. */
  #after: LogPosition | undefined;
  #running = false;
  #failures = 0;
  /** Ends the present stream, or the pause before the next. */
  #turn: AbortController | undefined;
  #announcing: Timer | undefined;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  /** Whether a stream is open or being opened. */
  get open(): boolean {
    return this.#running;
  }

  /**
   * Waits for an elevation. `after` is the position of the log up to which its changes are known. Returns how to stop, which is told whether
   * the elevation is settled.
   */
  add(waiter: Waiter, after?: LogPosition): (settled: boolean) => void {
    this.#waiters.add(waiter);
    if (!this.#running) {
      this.#after = after;
      void this.#run();
    } else {
      this.#announce();
      const isAhead = after !== undefined && after.epoch === this.#after?.epoch && after.revision >= this.#after.revision;
      // Looking one up is cheap. Resuming further behind would send everybody's changes again.
      if (!isAhead) waiter.onMissed();
    }
    return (settled) => {
      if (!this.#waiters.delete(waiter)) return;
      if (this.#waiters.size === 0) this.#turn?.abort();
      // While it is said to be waited for, an approval would start its window.
      else if (!settled) this.#announce();
    };
  }

  /** For whom calls wait is said when a stream is opened: open a new one, for all that changed until then. */
  #announce(): void {
    this.#announcing ??= this.#clock.after(ANNOUNCE_MS, () => this.#turn?.abort());
  }

  async #run(): Promise<void> {
    this.#running = true;
    // Whoever asks in the same moment is on the first stream already.
    await Promise.resolve();
    while (this.#waiters.size > 0) {
      const turn = new AbortController();
      this.#turn = turn;
      const failure = await this.#follow(turn);
      if (turn.signal.aborted && failure === undefined) continue;
      if (failure !== undefined && !(failure instanceof AuthorityError && failure.transient)) {
        this.#fail(failure);
        break;
      }
      this.#failures += 1;
      this.#options.outages.failed(failure?.message ?? "the watch broke off");
      if (this.#failures === 1)
        this.#options.logger?.warn({ err: failure?.message }, "brevet: the watch on the authority broke off; it will be resumed");
      await sleep(this.#clock, backoffMs(this.#failures, this.#options.random), turn.signal).catch(() => undefined);
    }
    this.#running = false;
    this.#announcing?.cancel();
    this.#announcing = undefined;
    this.#turn = undefined;
    this.#after = undefined;
    this.#failures = 0;
  }

  /** One stream to its end. Undefined where it was ended here, or by the authority without an error. */
  async #follow(turn: AbortController): Promise<AuthorityError | IdentityFailure | undefined> {
    const waiters = new Set(this.#waiters);
    this.#announcing?.cancel();
    this.#announcing = undefined;
    const resumed = this.#after;
    const seen = new Set<string>();
    let whole = resumed === undefined;
    let silent = false;
    const stream = new AbortController();
    const end = () => stream.abort();
    turn.signal.addEventListener("abort", end, { once: true });
    let watchdog: Timer | undefined;
    const listen = () => {
      watchdog?.cancel();
      watchdog = this.#clock.after(SILENCE_MS, () => {
        silent = true;
        stream.abort();
      });
    };
    try {
      listen();
      const request = {
        filter: { mine: true, states: whole ? OPEN_STATES : [] },
        waitingFor: [...new Set([...waiters].map(({ id }) => id))].slice(-MOST_ANNOUNCED),
        ...(resumed === undefined ? {} : { after: resumed }),
      };
      for await (const message of this.#options.open(request, stream.signal)) {
        if (turn.signal.aborted) return undefined;
        listen();
        this.#failures = 0;
        this.#options.outages.answered();
        if (message.reset) {
          whole = true;
          seen.clear();
          this.#after = undefined;
        }
        if (message.elevation !== undefined) {
          if (whole) seen.add(message.elevation.id);
          this.#tell(message.elevation);
        }
        if (message.caughtUp && whole) {
          whole = false;
          for (const waiter of waiters) if (this.#waiters.has(waiter) && !seen.has(waiter.id)) waiter.onMissed();
        }
        // Before all of the state came, no position says what was seen.
        if (!whole && message.position !== undefined) this.#after = message.position;
      }
      return undefined;
    } catch (error) {
      if (turn.signal.aborted) return undefined;
      return silent ? undefined : AuthorityError.from(error);
    } finally {
      watchdog?.cancel();
      turn.signal.removeEventListener("abort", end);
    }
  }

  #tell(elevation: Elevation): void {
    for (const waiter of this.#waiters) if (waiter.id === elevation.id) waiter.onElevation(elevation);
  }

  #fail(failure: AuthorityError | IdentityFailure): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter.onFailure(failure);
  }
}
