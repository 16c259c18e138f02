// Finding the open elevation that a refusal speaks of, so that a call waits for it and does not open another. Takes the authority's word for it.
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import type { AuthoritySession } from "../client.ts";
import { AuthorityError } from "../connection/failure.ts";
import { type AskedCall, coversRequest } from "./ask.ts";

const OPEN: ReadonlySet<ElevationState> = new Set([ElevationState.PENDING, ElevationState.SCHEDULED, ElevationState.ACTIVE]);

/** Whether a refusal speaks of one. */
export function mayBeOpen({ refused }: Pick<AskedCall, "refused">): boolean {
  const { elevation, present } = refused.metadata;
  const says = refused.reason === "ELEVATION_PENDING" || refused.reason === "ELEVATION_SCHEDULED" || present !== undefined;
  return elevation !== undefined && says;
}

/**
 * The elevation that the refusal names, if the authority says that it is this caller's, open, and for this very call. Rejects with
 * AuthorityError where the authority cannot be reached.
 */
export async function openAlready(call: AskedCall, session: AuthoritySession, signal: AbortSignal): Promise<Elevation | undefined> {
  const { method, audience, principal, refused } = call;
  if (!mayBeOpen(call)) return undefined;
  let found: Elevation;
  try {
    found = await session.get(refused.metadata.elevation ?? "", { signal });
  } catch (error) {
    if (error instanceof AuthorityError && !error.transient) return undefined;
    throw error;
  }
  const isOurs = found.audience === audience && found.methods.includes(method) && found.requester?.name === principal;
  return isOurs && OPEN.has(found.state) && coversRequest(found, call) ? found : undefined;
}
