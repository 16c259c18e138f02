// Notices that the machine slept, or that its monotonic clock went wrong: the boot-time clock counts what the monotonic one does not.
// Owns when it is worth looking. Never corrects anything.
import type { Clock } from "@brevet/protocol";

/** More than this between the two clocks is a sleep. */
const SLEPT_MS = 500;
/** For so long, and no longer, two cheap clocks that agree are believed. */
const LOOK_EVERY_MS = 50;

/** Watches one machine's clocks. */
export class PartedClocks {
  readonly #clock: Clock;
  #monotonicMs: number;
  #wallMs: number;
  #aheadMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#monotonicMs = clock.monotonicMs();
    this.#wallMs = clock.wallMs();
    const bootMs = clock.bootMs?.();
    this.#aheadMs = bootMs === undefined ? undefined : bootMs - this.#monotonicMs;
  }

  /**
   * By how much the boot-time clock went ahead of the monotonic one since the last answer, if by more than half a second; negative where the
   * monotonic one went ahead; 0 otherwise. Cheap enough for each call: where the wall clock and the monotonic one agree on a short while
   * that passed, the machine did not sleep in it, since the wall clock goes on in its sleep. Only a longer while asks the boot-time clock.
   */
  look(monotonicMs: number): number {
    if (this.#aheadMs === undefined) return 0;
    const passedMs = monotonicMs - this.#monotonicMs;
    const wallMs = this.#clock.wallMs();
    if (passedMs >= 0 && passedMs <= LOOK_EVERY_MS && Math.abs(wallMs - this.#wallMs - passedMs) <= LOOK_EVERY_MS) return 0;
    // Between two readings this process may have been stopped: what that adds speaks for neither.
    const beforeMs = this.#clock.monotonicMs();
    const bootMs = this.#clock.bootMs?.() ?? 0;
    const afterMs = this.#clock.monotonicMs();
    this.#monotonicMs = monotonicMs;
    this.#wallMs = wallMs;
    const most = bootMs - beforeMs - this.#aheadMs;
    const least = bootMs - afterMs - this.#aheadMs;
    const partedMs = least > SLEPT_MS ? least : most < -SLEPT_MS ? most : 0;
    this.#aheadMs += partedMs;
    return partedMs;
  }
}
