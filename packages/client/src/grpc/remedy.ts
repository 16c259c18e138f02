// Whether a refusal is one that this call may do something about, and what to ask for. Pure.
// A refusal is a hint: it counts only if it names the very method and audience that were called.
import { catalogue, GrpcCode, type ReceivedStatus } from "@brevet/protocol";
import type { EntitlementOffer } from "@brevet/protocol/brevet/v1/error";

/** What could lift a refusal. */
export type Remedy = "approval" | "renewal";

/** The call as the program made it. */
export interface CalledMethod {
  readonly method: string;
  readonly audience: string;
}

/**
 * The remedy for a refusal of this call, undefined where it is passed on. A status with a `reason` is of the domain `brevet.dev`,
 * which authenticates nobody: a refusal from deeper in a chain, or of a service that makes one up for another method or audience, is the
 * program's affair.
 */
export function remedyFor(refused: ReceivedStatus, called: CalledMethod): Remedy | undefined {
  const { reason, metadata, offer, code } = refused;
  if (reason === undefined || code !== GrpcCode.PERMISSION_DENIED) return undefined;
  if (metadata.method !== called.method || (offer !== undefined && offer.method !== called.method)) return undefined;
  const audiences = [offer?.audience, metadata.audience].filter((name) => name !== undefined);
  if (audiences.length === 0 || audiences.some((name) => name !== called.audience)) return undefined;
  const { retry } = catalogue[reason];
  if (retry === "after-renewal") return "renewal";
  return retry === "after-approval" ? "approval" : undefined;
}

/** Whether a guard may have refused because it has not heard yet of this elevation, which is ACTIVE: it speaks of none, of another, or of its past. */
export function isBehind({ reason, metadata }: ReceivedStatus, elevation: string): boolean {
  if (reason === undefined || catalogue[reason].retry !== "after-approval") return false;
  return metadata.elevation !== elevation || reason === "ELEVATION_PENDING" || reason === "ELEVATION_SCHEDULED";
}

/**
 * Whether a stream may have run under the elevation whose end it was refused for: it ended after the stream was issued, `runningMs` ago. Such
 * a stream has reached its handler, also where no response header came, and is not issued again. By the guard's times alone; where they are
 * missing, it may have.
 */
export function endedUnderway({ reason, metadata }: ReceivedStatus, runningMs: number): boolean {
  if (reason !== "ELEVATION_EXPIRED" && reason !== "ELEVATION_ENDED") return false;
  const sinceMs = Date.parse(metadata.serverTime ?? "") - Date.parse(metadata.expiredAt ?? metadata.endedAt ?? "");
  return !(sinceMs > runningMs + MAX_CLOCK_ERROR_MS);
}

/** A guard that knows the authority's time less well than this permits nothing. */
export const MAX_CLOCK_ERROR_MS = 1000;

/** Which entitlement to ask for. */
export type Choice =
  /** Undefined: whichever the authority finds best. */
  | { readonly ask: true; readonly entitlement: EntitlementOffer | undefined }
  /** Nothing that may be asked for without a person's word. */
  | { readonly ask: false };

/**
 * The entitlement with the fewest approvals; of equals the guard's order counts, the narrowest first. Break-glass is never chosen here,
 * whatever else there is: active at once and loud, it takes a person's or a program's explicit choice.
 */
export function chooseEntitlement(offers: readonly EntitlementOffer[]): Choice {
  if (offers.length === 0) return { ask: true, entitlement: undefined };
  const [best] = offers.filter((offer) => !offer.breakGlass).toSorted((a, b) => a.approvals - b.approvals);
  return best === undefined ? { ask: false } : { ask: true, entitlement: best };
}
