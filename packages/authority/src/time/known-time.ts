// The last time that the authority knew, noted beside the log once a minute: an idle log alone would not tell that a clock was set back.
// Never judges what a time means: authority-clock.ts does.
import type { Clock, Timer } from "@brevet/protocol";
import type { Store } from "../store/store.ts";

const SECRET = "time";
const NOTE_EVERY_MS = 60_000;

/** What {@link TimeNotes} stands on. */
export interface TimeNotesOptions {
  /** The authority's. */
  readonly clock: Clock;
  readonly secrets: Store["secrets"];
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

/** Notes the time now, then every minute, and a last time when disposed. */
export class TimeNotes implements AsyncDisposable {
  readonly #options: TimeNotesOptions;
  #timer: Timer;
  #writing: Promise<void> | undefined;

  constructor(options: TimeNotesOptions) {
    this.#options = options;
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
    const { clock, secrets, onFault } = this.#options;
    this.#writing ??= secrets
      .set(SECRET, Buffer.from(`${clock.wallMs()}`))
      .catch(onFault)
      .finally(() => {
        this.#writing = undefined;
      });
  }
}
