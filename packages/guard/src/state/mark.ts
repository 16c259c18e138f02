// What this machine's clocks said when the authority's time was known, and what that time is by them after a restart.
// Owns the rule of which clock to believe. Never reads one.
import type { Clock, TimeEstimate } from "@brevet/protocol";

/** The machine's clocks at one instant, all in milliseconds. */
export interface MachineTime {
  /** Names the machine's run; empty: not known. */
  readonly boot: string;
  /** Since the machine was started, its sleep included. */
  readonly bootMs: number;
  /** Since 1970. */
  readonly wallMs: number;
}

/** An instant at which the authority's time was known. */
export interface ClockMark extends MachineTime, TimeEstimate {}

/** The authority's time by a mark. */
export interface CarriedTime {
  /** Its error is Infinity where no clock can tell; the time is a guess then, good for nothing that an end depends on. */
  readonly estimate: TimeEstimate;
  /** Why no clock can tell. */
  readonly problem?: string;
}

/** A boot-time clock is cut down to 10 ms, twice. */
const BOOT_RESOLUTION_MS = 20;
const BOOT_DRIFT = 100 / 1_000_000;
/** After a start of the machine the wall clock comes from a battery clock of whole seconds. */
const WALL_RESOLUTION_MS = 2000;
/** As fast as a clock may be made to run, to correct it. */
const WALL_DRIFT = 500 / 1_000_000;

/** The machine's clocks now. A clock without a boot-time one is of a machine that nobody knows the run of. */
export function machineTime(clock: Clock): MachineTime {
  const bootMs = clock.bootMs?.();
  return { boot: bootMs === undefined ? "" : (clock.boot?.() ?? ""), bootMs: bootMs ?? 0, wallMs: clock.wallMs() };
}

/**
 * The authority's time now. In the same run of the machine it lies between what the boot-time clock and the wall clock say, unless the wall
 * clock went back, and then counts for nothing. In another run only the wall clock is left: its error is more than a second, so that the
 * guard counts as stale; and it tells nothing where it stands before the mark, or shows less time than the machine has been up.
 */
export function carriedOver(mark: ClockMark, now: MachineTime): CarriedTime {
  const wallMs = now.wallMs - mark.wallMs;
  const upMs = now.bootMs - mark.bootMs;
  const known = mark.boot !== "" && now.boot !== "";
  if (known && mark.boot === now.boot && upMs >= -BOOT_RESOLUTION_MS) {
    const errorMs = mark.errorMs + BOOT_RESOLUTION_MS + BOOT_DRIFT * Math.max(0, upMs);
    const [least, most] = wallMs < 0 ? [upMs, upMs] : [Math.min(upMs, wallMs), Math.max(upMs, wallMs)];
    return { estimate: { authorityMs: mark.authorityMs + (least + most) / 2, errorMs: errorMs + (most - least) / 2 } };
  }
  const errorMs = mark.errorMs + WALL_RESOLUTION_MS + WALL_DRIFT * Math.max(0, wallMs);
  // The machine, or what stands for it in a container, was started after the mark.
  const leastMs = known ? now.bootMs : 0;
  if (wallMs >= leastMs - errorMs && wallMs >= 0) return { estimate: { authorityMs: mark.authorityMs + wallMs, errorMs } };
  const problem =
    wallMs < 0
      ? `the machine's clock is ${Math.ceil(-wallMs / 1000)} s before the time at which the authority was last known`
      : "the machine's clock shows less time since the authority was last known than the machine has been up";
  return { estimate: { authorityMs: mark.authorityMs + Math.max(0, leastMs), errorMs: Infinity }, problem };
}
