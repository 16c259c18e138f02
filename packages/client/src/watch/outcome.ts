// What a wait is for: which states of an elevation end it. Pure.
import { type Elevation, ElevationState, StartMode } from "@brevet/protocol/brevet/v1/elevation";

/** How a wait ended. */
export type WaitResult =
  /** ACTIVE, approved and waiting for its first use, or final. */
  | { readonly settled: true; readonly elevation: Elevation }
  /** The wait's own limit came first; the elevation, as last seen, stays open. Undefined where not even asking was answered. */
  | { readonly settled: false; readonly elevation: Elevation | undefined };

/** Whether nothing more is to be waited for. Approved and starting with the first use counts: that use is what waits. */
export function isSettled(elevation: Elevation): boolean {
  switch (elevation.state) {
    case ElevationState.UNSPECIFIED:
    case ElevationState.PENDING:
      return false;
    case ElevationState.SCHEDULED:
      return elevation.startMode !== StartMode.AT_TIME;
    default:
      return true;
  }
}

/** Whether calls may be made under it. */
export function isApproved(elevation: Elevation): boolean {
  return elevation.state === ElevationState.ACTIVE || (elevation.state === ElevationState.SCHEDULED && isSettled(elevation));
}
