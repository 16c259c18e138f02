// Waiting for one elevation on the watch, until it is settled. Owns no timer: whoever waits says how long.
import type { Timer } from "@brevet/protocol";
import { type Elevation, ElevationState, type LogPosition } from "@brevet/protocol/brevet/v1/elevation";
import { AuthorityError } from "../connection/failure.ts";
import { backoffMs, type Pace } from "../connection/retry.ts";
import { isSettled } from "./outcome.ts";
import type { Watch } from "./watch.ts";

/** What is known before the wait. */
export interface WaitStart {
  readonly id: string;
  /** As the authority answered, and the position at which it did. */
  readonly known?: { readonly elevation: Elevation; readonly position: LogPosition | undefined };
}

/** What a wait needs of the session. */
export interface WaitMeans extends Pace {
  readonly watch: Pick<Watch, "add">;
  get(id: string, signal: AbortSignal): Promise<Elevation>;
}

// An approval with a caller waiting is two entries, approved and started, a moment apart.
const START_MS = 10;

/**
 * Resolves with the elevation once it is settled. `onChange` hears of each state on the way, the known one and the last included. Survives
 * restarts of the authority. Rejects with AuthorityError or IdentityFailure where the authority refuses, or no longer knows the elevation;
 * with the signal's reason when that is aborted.
 */
export function untilSettled(
  start: WaitStart,
  means: WaitMeans,
  signal: AbortSignal,
  onChange: (elevation: Elevation) => void,
): Promise<Elevation> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    let latest: Elevation | undefined;
    let leave: (settled: boolean) => void = () => {};
    let starting: Timer | undefined;
    let lookingAgain: Timer | undefined;
    let over = false;
    const end = (finish: () => void) => {
      leave(latest !== undefined && isSettled(latest));
      over = true;
      starting?.cancel();
      lookingAgain?.cancel();
      signal.removeEventListener("abort", onAbort);
      finish();
    };
    const onAbort = () => end(() => reject(signal.reason as Error));
    const onElevation = (elevation: Elevation) => {
      // A resumed watch repeats, and answers overtake each other.
      if (latest !== undefined && elevation.revision <= latest.revision) return;
      latest = elevation;
      onChange(elevation);
      if (!isSettled(elevation)) return;
      if (elevation.state !== ElevationState.SCHEDULED) end(() => resolve(elevation));
      else starting ??= means.clock.after(START_MS, () => end(() => resolve(latest ?? elevation)), { hold: true });
    };
    const onFailure = (failure: Error) => end(() => reject(failure));
    const lookUp = (failures: number) => {
      // A later miss looks anew: what was found before it may be old.
      lookingAgain?.cancel();
      means.get(start.id, signal).then(onElevation, (error: unknown) => {
        if (over) return;
        const failure = AuthorityError.from(error);
        if (!(failure instanceof AuthorityError && failure.transient)) return onFailure(failure);
        // The watch may be well, and tells only what changes.
        lookingAgain?.cancel();
        lookingAgain = means.clock.after(backoffMs(failures, means.random), () => lookUp(failures + 1), { hold: true });
      });
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (start.known !== undefined) onElevation(start.known.elevation);
    if (start.known !== undefined && isSettled(start.known.elevation)) return;
    leave = means.watch.add({ id: start.id, onElevation, onMissed: () => lookUp(1), onFailure }, start.known?.position);
  });
}
