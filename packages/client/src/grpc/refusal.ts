// The statuses that this library makes itself: why a parked call did not go on. Same catalogue and form as a guard's, so programs read both alike.
import {
  catalogue,
  codeName,
  type Denial,
  encodeDenial,
  formatDuration,
  RETRY_PUSHBACK_TRAILER,
  type ReasonName,
  type ReceivedStatus,
  STATUS_DETAILS_TRAILER,
} from "@brevet/protocol";
import { type Elevation, ElevationState, VoteKind } from "@brevet/protocol/brevet/v1/elevation";
import type { EntitlementOffer } from "@brevet/protocol/brevet/v1/error";
import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import type { AuthorityError, IdentityFailure } from "../connection/failure.ts";
import { stateName, time } from "./progress.ts";
import type { CalledMethod } from "./remedy.ts";

/** The call, and what its refusal is known by. */
export interface ParkedCall extends CalledMethod {
  readonly decisionId: string | undefined;
  readonly principal: string | undefined;
}

/** A denial as grpc-js hands it to the program. */
export function statusOf(denial: Denial): StatusObject {
  const { code, message, details, pushback } = encodeDenial(denial);
  const metadata = new Metadata();
  metadata.set(STATUS_DETAILS_TRAILER, Buffer.from(details));
  if (pushback !== undefined) metadata.set(RETRY_PUSHBACK_TRAILER, pushback);
  return { code: status[codeName(code) as keyof typeof status], details: message, metadata };
}

/** The wait's limit came first. */
export function waitTimedOut(parked: ParkedCall, elevation: Elevation, waitedMs: number): StatusObject {
  const pendingUntil = time(elevation.pendingUntil);
  const stands = elevation.state === ElevationState.SCHEDULED ? "has not started" : "is not decided";
  const lapses = elevation.state === ElevationState.PENDING && pendingUntil !== undefined ? ` until ${pendingUntil}` : "";
  return statusOf({
    reason: "APPROVAL_WAIT_TIMEOUT",
    message:
      `${elevation.id} (${elevation.entitlement}) for ${parked.method} ${stands} after ${formatDuration(waitedMs)}; it stays open${lapses}.` +
      ` Run: brevet show ${elevation.id}, and call again after the approval${recorded(parked)}`,
    metadata: {
      ...factsOf(parked, elevation),
      waitedMs: String(Math.round(waitedMs)),
      ...(pendingUntil === undefined ? {} : { pendingUntil }),
    },
  });
}

/** The refusal as it came, of a call that had sent more than can be sent again; with what was asked for since. */
export function askedOnly(parked: ParkedCall, refused: ReceivedStatus, elevation: Elevation): StatusObject {
  const { reason = "ELEVATION_REQUIRED", metadata, help } = refused;
  const isPending = elevation.state === ElevationState.PENDING;
  const then = isPending ? `call again after the approval. Run: brevet show ${elevation.id}` : `it is ${stateName(elevation)}: call again`;
  return statusOf({
    reason,
    message:
      `${parked.method} needs an approved elevation, and this call has sent too much to wait for it.` +
      ` Asked for ${elevation.id} (${elevation.entitlement}); ${then}${recorded(parked)}`,
    metadata: { ...metadata, ...factsOf(parked, elevation) },
    help,
  });
}

/** An approval covers one exact request, and this one is too long for people to read. */
export function payloadTooLong(parked: ParkedCall, bytes: number, mostBytes: number): StatusObject {
  return statusOf({
    reason: "REQUEST_INVALID",
    message:
      `each approval of ${parked.method} covers one exact request of at most ${mostBytes / 1024} KiB, and this one has ${bytes} bytes.` +
      ` Split it${recorded(parked)}`,
    metadata: { ...called(parked), field: "payload", problem: `must be at most ${mostBytes} bytes` },
  });
}

/** The elevation became final without letting the call run. */
export function notElevated(parked: ParkedCall, elevation: Elevation): StatusObject {
  const { reason, says } = ENDINGS[elevation.state] ?? { reason: "ELEVATION_REQUIRED", says: () => "is in no known state" };
  const ended = time(elevation.endTime ?? elevation.windowEnd);
  return statusOf({
    reason,
    message: `${elevation.id} (${elevation.entitlement}) for ${parked.method} ${says(elevation)}. Run: brevet show ${elevation.id}${recorded(parked)}`,
    metadata: {
      ...factsOf(parked, elevation),
      ...(ended === undefined ? {} : { [reason === "ELEVATION_EXPIRED" ? "expiredAt" : "endedAt"]: ended }),
    },
  });
}

type Ending = { readonly reason: ReasonName; says(elevation: Elevation): string };

const ENDINGS: Readonly<Partial<Record<ElevationState, Ending>>> = {
  [ElevationState.DENIED]: { reason: "ELEVATION_DENIED", says: deniedWords },
  [ElevationState.WITHDRAWN]: { reason: "ELEVATION_WITHDRAWN", says: () => "was withdrawn before a decision" },
  [ElevationState.LAPSED]: { reason: "ELEVATION_LAPSED", says: () => "lapsed: nobody decided or started it in time; it was not refused" },
  [ElevationState.EXPIRED]: { reason: "ELEVATION_EXPIRED", says: () => "was approved, and its window is over" },
  [ElevationState.ENDED]: { reason: "ELEVATION_ENDED", says: (elevation) => `was handed back${by(elevation)}${words(elevation)}` },
  [ElevationState.REVOKED]: { reason: "ELEVATION_REVOKED", says: (elevation) => `was revoked${by(elevation)}${words(elevation)}` },
};

function deniedWords(elevation: Elevation): string {
  const vote = elevation.votes.findLast(({ kind, voided }) => kind === VoteKind.DENY && !voided);
  const who = vote?.voter?.name || elevation.endedBy?.name || "an approver";
  const text = vote?.comment?.text || elevation.endComment?.text || "";
  return `was refused by ${who}${text === "" ? "" : `: "${text}"`}`;
}

function by({ endedBy }: Elevation): string {
  return endedBy === undefined || endedBy.name === "" ? "" : ` by ${endedBy.name}`;
}

function words({ endComment }: Elevation): string {
  return endComment === undefined || endComment.text === "" ? "" : `: "${endComment.text}"`;
}

/** A reason is wanted, and the program gave none. */
export function reasonMissing(parked: ParkedCall, offer: EntitlementOffer): StatusObject {
  const form = offer.reasonPattern === "" ? "" : ` that matches ${offer.reasonPattern}`;
  return statusOf({
    reason: "REASON_REQUIRED",
    message:
      `${offer.entitlement} for ${parked.method} wants a reason${form}, and none was given. Set the option \`reason\` of elevate(),` +
      ` or run: brevet request ${parked.method} --reason "…"${recorded(parked)}`,
    metadata: {
      method: parked.method,
      audience: parked.audience,
      entitlement: offer.entitlement,
      ...(offer.reasonPattern === "" ? {} : { pattern: offer.reasonPattern }),
    },
  });
}

/** The authority said no, or nothing. Its code becomes that of the reason's catalogue entry: NOT_FOUND there is not the service's NOT_FOUND. */
export function authorityFailed(parked: ParkedCall, failure: AuthorityError, url: string, elevation?: Elevation): StatusObject {
  const { reason, message, metadata, fieldViolations, retryDelayMs } = failure.received;
  const facts = elevation === undefined ? called(parked) : factsOf(parked, elevation);
  if (reason === undefined || reason === "NOT_FOUND" || failure.transient) {
    const what = failure.transient ? "did not answer" : "gave no usable answer";
    return statusOf({
      reason: "AUTHORITY_UNREACHABLE",
      message: `${parked.method} needs an elevation, and the authority ${url} ${what}: ${message}. ${reachWords(url)}${recorded(parked)}`,
      metadata: { ...facts, authority: url },
    });
  }
  const said = message.startsWith(`${reason}: `) ? message.slice(reason.length + 2) : message;
  return statusOf({
    reason,
    message: `asking for ${parked.method}: ${said}${recorded(parked)}`,
    metadata: { ...metadata, ...called(parked) },
    fieldViolations,
    ...(retryDelayMs === undefined ? {} : { retryDelayMs }),
  });
}

/** The wait was over before the authority answered at all. */
export function authoritySilent(parked: ParkedCall, url: string, waitedMs: number): StatusObject {
  return statusOf({
    reason: "AUTHORITY_UNREACHABLE",
    message: `${parked.method} needs an elevation, and the authority ${url} did not answer in ${formatDuration(waitedMs)}. ${reachWords(url)}${recorded(parked)}`,
    metadata: { ...called(parked), authority: url },
  });
}

/** What helps with an authority that gives no answer. */
function reachWords(url: string): string {
  return `Check that it runs, its address and its TLS. Run: brevet list --authority ${url}`;
}

/** There is no token to call with. */
export function noIdentity(called: CalledMethod, failure: IdentityFailure): StatusObject {
  return statusOf({
    reason: "IDENTITY_MISSING",
    message: `${called.method} was not called: ${failure.message}. ${catalogue.IDENTITY_MISSING.callerRemedy}`,
    metadata: { method: called.method },
  });
}

function called({ method, audience }: CalledMethod): Record<string, string> {
  return { method, audience };
}

function factsOf(parked: ParkedCall, elevation: Elevation): Record<string, string> {
  const { decisionId, principal } = parked;
  return {
    ...(decisionId === undefined ? {} : { decisionId }),
    ...called(parked),
    ...(principal === undefined ? {} : { principal }),
    elevation: elevation.id,
    entitlement: elevation.entitlement,
    state: stateName(elevation),
  };
}

/** The refusal that the guard recorded. */
function recorded({ decisionId }: ParkedCall): string {
  return decisionId === undefined ? "" : ` (decision ${decisionId})`;
}
