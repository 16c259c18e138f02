// The last time that the authority knew, noted beside the log once a minute: an idle log alone would not tell that a clock was set back.
// Never judges what a time means: authority-clock.ts does.
import type { Clock, Timer } from "@brevet/protocol";
import type { Store } from "../store/store.ts";

const SECRET = "time";
const NOTE_EVERY_MS = 60_000;
/** A start that is this much later than the last known time may stand on a wrong clock. One this much earlier is let through. */
const JUMP_MS = 5 * 60_000;
/** An authority that ran for so long is taken to run at the right time. */
const SETTLED_MS = 60 * 60_000;

/** What {@link TimeNotes} stands on. */
export interface TimeNotesOptions {
  /** The authority's. */
  readonly clock: Clock;
  readonly store: Pick<Store, "head" | "secrets">;
  /** The time that was known before the start, milliseconds since 1970; 0 for none. */
  readonly lastMs: number;
  /** Somebody said that the clock is right. */
  readonly confirmed: boolean;
  /** Told of a note that could not be written; the next one follows within a minute. */
  readonly onFault: (error: unknown) => void;
}

/** The time of the last entry or note, whichever is later, milliseconds since 1970; 0 where there was none. */
export async function lastKnownMs(store: Pick<Store, "head" | "secrets">): Promise<number> {
  const { timeMs } = await store.head();
  const noted = await store.secrets.get(SECRET);
  const notedMs = noted === undefined ? 0 : Number(Buffer.from(noted).toString());
  return Math.max(timeMs, Number.isSafeInteger(notedMs) ? notedMs : 0);
}

/**
 * Notes the time now, then every minute, and a last time when disposed. After a jump of more than 5 minutes that nobody confirmed, only
 * once an entry carries the new time, or after an hour: until then a clock that was wrong is corrected by a start with the right one.
 */
export class TimeNotes implements AsyncDisposable {
  readonly #options: TimeNotesOptions;
  #timer: Timer;
  #writing: Promise<void> | undefined;
  readonly #startedMs: number;
  readonly #settlesMs: number;
  #settled: boolean;

  constructor(options: TimeNotesOptions) {
    const { clock, lastMs, confirmed } = options;
    this.#options = options;
    this.#startedMs = clock.wallMs();
    this.#settlesMs = clock.monotonicMs() + SETTLED_MS;
    this.#settled = confirmed || this.#startedMs - lastMs <= JUMP_MS;
    this.#timer = this.#again();
    this.#note();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer.cancel();
    await this.#writing;
    this.#note();
    await this.#writing;
  }

  #again(): Timer {
    return this.#options.clock.after(NOTE_EVERY_MS, () => {
      this.#timer = this.#again();
      this.#note();
    });
  }

  /** One at a time: a store that does not keep up is not asked for more. */
  #note(): void {
    this.#writing ??= this.#write()
      .catch(this.#options.onFault)
      .finally(() => {
        this.#writing = undefined;
      });
  }

  async #write(): Promise<void> {
    const { clock, store } = this.#options;
    this.#settled ||= clock.monotonicMs() >= this.#settlesMs || (await store.head()).timeMs >= this.#startedMs;
    if (this.#settled) await store.secrets.set(SECRET, Buffer.from(`${clock.wallMs()}`));
  }
}
