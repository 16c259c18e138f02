// The caller's half of refusals on its way to the authority, so that whoever explains one has both. Sent along with the next call that is made
// anyway, or by itself a few seconds later. Never waits, never fails a call, never keeps the process alive.
import type { Clock, Timer } from "@brevet/protocol";
import type { CallerReportSchema } from "@brevet/protocol/brevet/v1/elevation";
import type { MessageInitShape } from "@bufbuild/protobuf";

/** What one call saw of its refusal. */
export type Report = MessageInitShape<typeof CallerReportSchema>;

/** What it takes. */
export interface ReportsOptions {
  readonly clock: Clock;
  readonly random: () => number;
  /** Sends a batch of at most {@link MOST_REPORTS}; resolves with false where the authority takes none. */
  readonly send: (reports: Report[], dropped: bigint) => Promise<boolean>;
}

/** In one batch, and waiting. */
export const MOST_REPORTS = 100;
const LATEST_MS = 10_000;

/** See the head of this file. */
export class Reports {
  readonly #options: ReportsOptions;
  #waiting: Report[] = [];
  #dropped = 0n;
  #timer: Timer | undefined;
  #sending = false;
  #closed = false;

  constructor(options: ReportsOptions) {
    this.#options = options;
  }

  /** Adds one; `promptly`: it goes by itself if no call comes first. Else it waits for the next call, as while the authority is away. */
  add(report: Report, promptly: boolean): void {
    if (this.#closed) return;
    if (this.#waiting.length >= MOST_REPORTS) this.#dropped += 1n;
    else this.#waiting.push(report);
    if (!promptly || this.#timer !== undefined) return;
    const { clock, random } = this.#options;
    this.#timer = clock.after(LATEST_MS * (0.5 + random() / 2), () => this.flush());
  }

  /** A call is made: what waits goes along. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#sending || this.#waiting.length === 0) return;
    void this.#send();
  }

  /** No more of it; what waits is let go. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#waiting = [];
  }

  async #send(): Promise<void> {
    const [batch, dropped] = [this.#waiting, this.#dropped];
    [this.#waiting, this.#dropped] = [[], 0n];
    this.#sending = true;
    try {
      // One that takes none is not asked again.
      if (!(await this.#options.send(batch, dropped))) this.close();
    } catch {
      // Away: with the next call that is made.
      const room = Math.max(0, MOST_REPORTS - this.#waiting.length);
      this.#waiting.unshift(...batch.slice(-room));
      this.#dropped += dropped + BigInt(Math.max(0, batch.length - room));
    } finally {
      this.#sending = false;
    }
  }
}
