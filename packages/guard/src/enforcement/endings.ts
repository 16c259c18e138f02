// Says in the guard's log, before a window that is in use ends, that it will: once for each elevation and end. Ends nothing itself.
// An elevation that nobody used here is nobody's concern here; one that was extended is told of again.
import { type Clock, formatDuration, type TimeEstimate, type Timer } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { GuardPermit } from "../core/call.ts";
import type { Knowledge } from "../core/knowledge.ts";
import type { GuardLogger } from "../log/logger.ts";

/** How long before the end, at most; and at most this part of the window. */
export const WARN_BEFORE_MS = 60_000;
export const WARN_PART = 1 / 5;
/** Elevations that are watched; beyond that, those that are used next are not told of. */
const MOST = 10_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What it takes. */
export interface EndingsOptions {
  readonly clock: Pick<Clock, "after">;
  readonly logger: GuardLogger;
  readonly audience: string;
  readonly now: () => TimeEstimate | undefined;
  readonly knowledge: () => Knowledge | undefined;
  /** Open streams under an elevation. */
  readonly streams: (elevation: string) => number;
}

interface Watched {
  readonly endsMs: number;
  readonly timer: Timer;
}

/** See the head of this file. */
export class Endings {
  readonly #options: EndingsOptions;
  readonly #watched = new Map<string, Watched>();

  constructor(options: EndingsOptions) {
    this.#options = options;
  }

  /** A call was let through. Cheap where its elevation is known already. */
  used({ elevation, endsMs }: GuardPermit): void {
    if (elevation === undefined || endsMs === undefined) return;
    const known = this.#watched.get(elevation.id);
    if (known?.endsMs === endsMs || (known === undefined && this.#watched.size >= MOST)) return;
    known?.timer.cancel();
    this.#watch(elevation, endsMs);
  }

  /** No more of it. */
  close(): void {
    for (const { timer } of this.#watched.values()) timer.cancel();
    this.#watched.clear();
  }

  #watch(elevation: Elevation, endsMs: number): void {
    const now = this.#options.now();
    if (now === undefined) return;
    const delayMs = Math.max(0, endsMs - leadMs(elevation, endsMs) - now.authorityMs);
    if (delayMs > LONGEST_TIMER_MS) return;
    const timer = this.#options.clock.after(delayMs, () => this.#tell(elevation, endsMs));
    this.#watched.set(elevation.id, { endsMs, timer });
  }

  #tell({ id }: Elevation, endsMs: number): void {
    const { now, knowledge, streams, logger, audience, clock } = this.#options;
    const atMs = now()?.authorityMs;
    const current = knowledge()?.elevation(id);
    const currentMs = current?.windowEnd === undefined ? undefined : timestampMs(current.windowEnd);
    if (current === undefined || atMs === undefined || atMs >= endsMs) return void this.#watched.delete(id);
    // Extended meanwhile, and perhaps only streams use it: they bring no further permit.
    if (currentMs !== undefined && currentMs > endsMs) return this.#watch(current, currentMs);
    const leftMs = endsMs - atMs;
    const open = streams(id);
    logger.warn(
      {
        elevation: id,
        audience,
        principal: current.requester?.name ?? "",
        entitlement: current.entitlement,
        windowEnd: new Date(endsMs).toISOString(),
        secondsLeft: Math.floor(leftMs / 1000),
        streams: open,
      },
      `a window that is in use ends in ${formatDuration(leftMs)}${open === 0 ? "" : `, with ${open} open stream${open === 1 ? "" : "s"}`}`,
    );
    // Remembered until it is over, so that later calls do not bring it up again.
    const timer = clock.after(leftMs, () => this.#watched.delete(id));
    this.#watched.set(id, { endsMs, timer });
  }
}

/** How long before its end a window is told of. */
function leadMs({ windowStart }: Elevation, endsMs: number): number {
  const startMs = windowStart === undefined ? endsMs - WARN_BEFORE_MS / WARN_PART : timestampMs(windowStart);
  return Math.min(WARN_BEFORE_MS, Math.max(0, endsMs - startMs) * WARN_PART);
}
