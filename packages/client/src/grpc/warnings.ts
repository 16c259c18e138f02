// Tells the program before a window ends that its calls are about to need another: once for each method and end. Ends nothing.
// Owns one timer for each method; none keeps the process alive.
import type { Clock, Timer } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { ClientLogger } from "../connection/logger.ts";
import { tell } from "./hooks.ts";
import type { ProgressEvent } from "./progress.ts";

/** What it takes. */
export interface WarningsOptions {
  readonly clock: Clock;
  /** How long before the end, at most; and at most a fifth of what was left when it was first heard of. */
  readonly beforeMs: number;
  readonly onProgress: ((event: ProgressEvent) => unknown) | undefined;
  readonly logger: ClientLogger | undefined;
}

const PART = 5;
/** An end is told in whole seconds, and travels: nearer ones are the same. */
const SAME_MS = 2000;
const MOST_METHODS = 1000;

interface Armed {
  endsMs: number;
  timer: Timer;
}

/** See the head of this file. */
export class Warnings {
  readonly #options: WarningsOptions;
  readonly #armed = new Map<string, Armed>();

  constructor(options: WarningsOptions) {
    this.#options = options;
  }

  /** Whether anybody would hear. */
  get heard(): boolean {
    return this.#options.onProgress !== undefined || this.#options.logger !== undefined;
  }

  /** A method's window ends in so many milliseconds, as a guard or the authority said just now. */
  ends(method: string, leftMs: number): void {
    const { clock, beforeMs } = this.#options;
    if (!this.heard || leftMs <= 0) return;
    const endsMs = clock.monotonicMs() + leftMs;
    const known = this.#armed.get(method);
    // Windows overlap: what counts is the last end.
    if (known !== undefined && endsMs < known.endsMs + SAME_MS) return;
    if (known === undefined && this.#armed.size >= MOST_METHODS) return;
    known?.timer.cancel();
    const leadMs = Math.min(beforeMs, leftMs / PART);
    this.#armed.set(method, { endsMs, timer: clock.after(leftMs - leadMs, () => this.#tell(method, endsMs)) });
  }

  #tell(method: string, endsMs: number): void {
    const { clock, onProgress, logger } = this.#options;
    const leftMs = endsMs - clock.monotonicMs();
    const known = this.#armed.get(method);
    if (known === undefined || known.endsMs !== endsMs) return;
    if (leftMs <= 0) return void this.#armed.delete(method);
    const secondsLeft = Math.floor(leftMs / 1000);
    const windowEnd = new Date(clock.wallMs() + leftMs).toISOString();
    logger?.warn({ method, secondsLeft, windowEnd }, "brevet: the window of this method's calls is about to end");
    tell(onProgress, { kind: "ending", method, secondsLeft, windowEnd }, logger);
    // Known until then, so that calls that go on do not bring it up again.
    known.timer = clock.after(leftMs, () => this.#armed.delete(method));
  }
}

/** What is left of an ACTIVE elevation's window, milliseconds, as far as this machine's clock can tell; never more than the window is long. */
export function windowLeftMs({ windowStart, windowEnd }: Elevation, nowMs: number): number {
  if (windowStart === undefined || windowEnd === undefined) return 0;
  const endMs = timestampMs(windowEnd);
  return Math.min(endMs - nowMs, endMs - timestampMs(windowStart));
}
