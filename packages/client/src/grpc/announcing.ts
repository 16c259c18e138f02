// Asking on behalf of a call that cannot be issued again, so that approvers see it and the call ends with the elevation's id. Waits for nobody.
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import type { StatusObject } from "@grpc/grpc-js";
import type { AuthoritySession } from "../client.ts";
import { AuthorityError } from "../connection/failure.ts";
import { isApproved } from "../watch/outcome.ts";
import { askFor } from "./ask.ts";
import { type Credentials, demandsGrant } from "./credentials.ts";
import { tell } from "./hooks.ts";
import { openAlready } from "./joining.ts";
import type { Settings } from "./options.ts";
import type { RefusedCall } from "./parking.ts";
import { asked } from "./progress.ts";
import { askedOnly } from "./refusal.ts";

// Such a call is to end at once, with the elevation's id if that can be had.
const LIMIT_MS = 5000;

/** What it takes. */
export interface AnnouncingMeans {
  readonly settings: Settings;
  readonly session: AuthoritySession;
  readonly credentials: Credentials;
}

/**
 * Asks, and gives the status that the call ends with: its refusal, with what was asked for, or as it came where the authority is silent for
 * `limitMs`. The next call of the method finds what this one asked for, and shows its grant where that is demanded. Rejects as the authority refuses.
 */
export async function announce(call: RefusedCall, means: AnnouncingMeans, signal: AbortSignal, limitMs = LIMIT_MS): Promise<StatusObject> {
  const { clock, logger } = means.settings;
  const limit = new AbortController();
  const timer = clock.after(Math.max(0, Math.min(limitMs, LIMIT_MS)), () => limit.abort(), { hold: true });
  try {
    const either = AbortSignal.any([signal, limit.signal]);
    return call.remedy === "renewal" ? await renew(call, means, either) : await ask(call, means, either);
  } catch (error) {
    const isSilent = limit.signal.aborted || (error instanceof AuthorityError && error.transient);
    if (!isSilent) throw error;
    // The refusal itself says what to do.
    logger?.warn({ method: call.method, err: String(error) }, "brevet: the authority is away; nothing was asked for");
    return call.status;
  } finally {
    timer.cancel();
  }
}

/** The next call shows a fresh one, or goes without. */
async function renew(
  { method, status }: RefusedCall,
  { session, credentials }: AnnouncingMeans,
  signal: AbortSignal,
): Promise<StatusObject> {
  const held = credentials.heldFor(method);
  if (held !== undefined) await session.issueGrant(held, { fresh: true, signal }).catch(() => credentials.drop(method));
  return status;
}

async function ask(call: RefusedCall, means: AnnouncingMeans, signal: AbortSignal): Promise<StatusObject> {
  const { settings, session, credentials } = means;
  credentials.drop(call.method);
  let elevation: Elevation | undefined = await openAlready(call, session, signal);
  if (elevation === undefined) {
    const asking = askFor(call, settings);
    if (asking.kind !== "ask") return asking.kind === "end" ? asking.status : call.status;
    signal.throwIfAborted();
    elevation = (await session.request(asking.ask, { signal })).elevation;
  }
  if (elevation === undefined) return call.status;
  tell(settings.onProgress, asked(call.method, elevation, call.decisionId), settings.logger);
  if (demandsGrant(elevation) && isApproved(elevation)) {
    if (elevation.state === ElevationState.SCHEDULED) elevation = await session.start(elevation.id, { signal });
    await session.issueGrant(elevation.id, { signal });
    credentials.hold(elevation);
  }
  return askedOnly(call, call.refused, elevation);
}
