// elevate(): the client interceptor for @grpc/grpc-js. Owns which programs' clients share a session with the authority.
// Decides nothing: guards do; it asks for what a refusal offers, and waits.
import { catalogue, methodOfPath } from "@brevet/protocol";
import type { InterceptingCall, Interceptor, NextCall } from "@grpc/grpc-js";
import { type AuthoritySession, connectAuthority } from "../client.ts";
import type { IdentitySource } from "../connection/connection.ts";
import { type CallMeans, ElevatedCall } from "./call.ts";
import { Credentials } from "./credentials.ts";
import { reportOf } from "./half.ts";
import { checkOptions, type ElevateOptions, type Settings } from "./options.ts";
import { Parking } from "./parking.ts";
import { Warnings } from "./warnings.ts";

export { readError } from "./errors.ts";
export type { ElevateOptions, ReasonContext } from "./options.ts";
export { describeProgress, type ProgressEvent } from "./progress.ts";

/**
 * A client interceptor that adds the caller's identity, and carries calls of every kind over a refusal: where the guard says that an approval
 * would help, it asks the configured authority, waits, and issues the call again, once. The program sees one call that takes longer.
 *
 * What is sent again are the bytes that were sent. Of a call that streams messages to the service they are kept up to `buffer`, until its first
 * response header or message comes; while it is parked the program writes on until the buffer is full, and then waits. A call that had sent
 * more when it was refused is not parked: what it needs is asked for, and it ends at once with its refusal and the elevation's id. A stream that
 * ran and is ended later is never issued again.
 *
 * How a call ends that does not go on: PERMISSION_DENIED (ELEVATION_DENIED with the approver's words, ELEVATION_WITHDRAWN, _LAPSED,
 * _EXPIRED, _ENDED, _REVOKED), DEADLINE_EXCEEDED (APPROVAL_WAIT_TIMEOUT: `wait` is over, the elevation stays open), UNAVAILABLE
 * (AUTHORITY_UNREACHABLE), INVALID_ARGUMENT (REASON_REQUIRED and other faults of what was asked), UNAUTHENTICATED (IDENTITY_MISSING: no
 * token), CANCELLED; all with details for {@link readError}. Refusals that asking cannot help are passed on as they came.
 *
 * A call's deadline covers the call, not the wait: it is issued again with the time that it had left. A call with a `parent` (made while
 * serving another) is never parked. Interceptors given with a single call replace the client's, this one too: that is how grpc-js works.
 *
 * Throws TypeError for options that could not work: an authority over plaintext on another machine, an audience that is the authority's own.
 */
export function elevate(options: ElevateOptions): Interceptor {
  const settings = checkOptions(options);
  const session = sharedSession(settings);
  const credentials = new Credentials(settings, session);
  const { clock, warnBeforeMs: beforeMs, onProgress, logger } = settings;
  const warnings = new Warnings({ clock, beforeMs, onProgress, logger });
  const means: CallMeans = {
    settings,
    credentials,
    parking: new Parking(settings, session, credentials, warnings),
    warnings,
    // While something is away, a thousand callers are not to come on top of it.
    report: (half) =>
      session.report(reportOf(half), half.refused.reason === undefined || catalogue[half.refused.reason].retry !== "backoff"),
  };
  return (call, nextCall) => {
    const { path } = call.method_definition;
    const elevated: ReturnType<NextCall> = new ElevatedCall(means, methodOfPath(path) ?? path, call, nextCall);
    // grpc-js asks for its class and uses the interface.
    return elevated as InterceptingCall;
  };
}

/** By identity function and then by authority: one connection and one watch for all clients of the same caller. */
const sessions = new WeakMap<IdentitySource, Map<string, AuthoritySession>>();

function sharedSession(settings: Settings): AuthoritySession {
  const { authority, authorityAudience, identity, tls, logger, clock } = settings;
  const open = () => connectAuthority({ authority, authorityAudience, identity, clock, ...(tls && { tls }), ...(logger && { logger }) });
  // Another way to the authority is another connection.
  if (tls !== undefined) return open();
  const own = sessions.get(identity) ?? new Map<string, AuthoritySession>();
  sessions.set(identity, own);
  const key = `${authority} ${authorityAudience}`;
  const session = own.get(key) ?? open();
  own.set(key, session);
  return session;
}
