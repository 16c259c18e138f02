// The story of a refused call from asking to the metadata with which it is issued again. Asks the configured authority only, and only for the
// method and audience that the program called. Never touches a call: call.ts does.
import { type ReceivedStatus, sanitise, sleep, TRACEPARENT_HEADER } from "@brevet/protocol";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import type { EntitlementOffer } from "@brevet/protocol/brevet/v1/error";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import type { Ask, AuthoritySession } from "../client.ts";
import { AuthorityError, IdentityFailure } from "../connection/failure.ts";
import { backoffMs } from "../connection/retry.ts";
import { isApproved, type WaitResult } from "../watch/outcome.ts";
import { type Credentials, demandsGrant } from "./credentials.ts";
import { atOnce, tell } from "./hooks.ts";
import type { Settings } from "./options.ts";
import { approved, asked, type ProgressEvent, running, waiting } from "./progress.ts";
import { authorityFailed, authoritySilent, noIdentity, notElevated, type ParkedCall, reasonMissing, waitTimedOut } from "./refusal.ts";
import { chooseEntitlement, type Remedy } from "./remedy.ts";

/** A call that was refused and may be helped. */
export interface RefusedCall extends ParkedCall {
  readonly remedy: Remedy;
  /** As the program gave it. */
  readonly given: Metadata;
  /** As it was sent. */
  readonly sent: Metadata;
}

/** What to do with it. */
export type Verdict =
  | { readonly kind: "issue"; readonly metadata: Metadata }
  | { readonly kind: "end"; readonly status: StatusObject }
  /** Give the program the refusal as it came. */
  | { readonly kind: "pass" };

/** The call as the messages see it, with when its wait began on the monotonic clock. */
interface Parked extends RefusedCall {
  readonly beganMs: number;
}

// Identity alone is enough: a grant only closes the gap until the guard has heard of the approval.
const GRANT_PATIENCE_MS = 1500;

/** See the head of this file. */
export class Parking {
  readonly #settings: Settings;
  readonly #session: AuthoritySession;
  readonly #credentials: Credentials;
  readonly #random: () => number;

  /** `random` is in [0, 1), for jitter. */
  constructor(settings: Settings, session: AuthoritySession, credentials: Credentials, random: () => number = Math.random) {
    this.#settings = settings;
    this.#session = session;
    this.#credentials = credentials;
    this.#random = random;
  }

  /** Does what helps, and says how the call goes on. Never rejects; after `signal` is aborted nobody listens. */
  async help(call: RefusedCall, signal: AbortSignal): Promise<Verdict> {
    const { signal: closing, clock } = this.#settings;
    const either = closing === undefined ? signal : AbortSignal.any([signal, closing]);
    const parked = { ...call, beganMs: clock.monotonicMs() };
    try {
      return call.remedy === "renewal" ? await this.#renew(parked, either) : await this.#elevate(parked, either);
    } catch (error) {
      return { kind: "end", status: this.#failure(parked, error) };
    }
  }

  #failure(parked: Parked, error: unknown): StatusObject {
    if (error instanceof AuthorityError) return authorityFailed(parked, error, this.#session.url);
    if (error instanceof IdentityFailure) return noIdentity(parked, error);
    const text = sanitise(error instanceof Error ? error.message : String(error), 300);
    if (this.#settings.signal?.aborted)
      return { code: status.CANCELLED, details: `the wait for ${parked.method} was ended: ${text}`, metadata: new Metadata() };
    // A function that the program gave: `reason` or `choose`.
    return { code: status.INTERNAL, details: `elevate() for ${parked.method}: ${text}`, metadata: new Metadata() };
  }

  /** The grant went stale: a fresh one, or, where its elevation is over, a new elevation. */
  async #renew(parked: Parked, signal: AbortSignal): Promise<Verdict> {
    // Only what was obtained for this method and audience; never an elevation that the refusal names.
    const elevation = this.#credentials.heldFor(parked.method);
    if (elevation === undefined) return { kind: "pass" };
    try {
      const grant = await this.#patiently(parked, signal, () => this.#session.issueGrant(elevation, { fresh: true, signal }));
      return { kind: "issue", metadata: await this.#credentials.with(parked.given, grant) };
    } catch (error) {
      if (!(error instanceof AuthorityError) || error.transient) throw error;
      this.#credentials.drop(parked.method);
      return this.#elevate(parked, signal);
    }
  }

  async #elevate(parked: Parked, signal: AbortSignal): Promise<Verdict> {
    this.#credentials.drop(parked.method);
    const open = await this.#openAlready(parked, signal);
    let result: WaitResult;
    if (open !== undefined) {
      this.#say(asked(parked.method, open, parked.refused.metadata.decisionId));
      result = await this.#session.wait(open.id, { ...this.#following(parked, signal, open), known: open });
    } else {
      const ask = this.#question(parked);
      if ("kind" in ask) return ask;
      // The program's functions may have taken their time, or cancelled the call.
      signal.throwIfAborted();
      result = await this.#patiently(parked, signal, () => this.#session.obtain(ask, this.#following(parked, signal, undefined)));
    }
    const { elevation } = result;
    if (elevation === undefined) return { kind: "end", status: authoritySilent(parked, this.#session.url, this.#waitedMs(parked)) };
    if (!result.settled) return { kind: "end", status: waitTimedOut(parked, elevation, this.#waitedMs(parked)) };
    if (!isApproved(elevation)) return { kind: "end", status: notElevated(parked, elevation) };
    return this.#goOn(parked, elevation, signal);
  }

  /** The elevation that the refusal names, if the authority says that it is this caller's, open, and for this very call. */
  async #openAlready(parked: Parked, signal: AbortSignal): Promise<Elevation | undefined> {
    const { refused, method, audience } = parked;
    const { elevation: id, principal } = refused.metadata;
    const mayBeOpen =
      refused.reason === "ELEVATION_PENDING" || refused.reason === "ELEVATION_SCHEDULED" || refused.metadata.present !== undefined;
    if (id === undefined || !mayBeOpen) return undefined;
    let found: Elevation;
    try {
      found = await this.#patiently(parked, signal, () => this.#session.get(id, { signal }));
    } catch (error) {
      if (error instanceof AuthorityError && !error.transient) return undefined;
      throw error;
    }
    const fits = found.audience === audience && found.methods.includes(method) && found.requester?.name === principal;
    return fits && (found.state === ElevationState.PENDING || isOpen(found)) ? found : undefined;
  }

  /** What to ask for, or how the call ends without asking. */
  #question(parked: Parked): Ask | Verdict {
    const { method, audience, refused } = parked;
    const offers = refused.offer?.entitlements ?? [];
    let entitlement: EntitlementOffer | undefined;
    let name = "";
    if (this.#settings.choose !== undefined && offers.length > 0) {
      const chosen = atOnce("choose", this.#settings.choose(offers));
      if (chosen === undefined) return { kind: "pass" };
      name = chosen;
      entitlement = offers.find((offer) => offer.entitlement === chosen);
    } else {
      const choice = chooseEntitlement(offers);
      if (!choice.ask) return { kind: "pass" };
      entitlement = choice.entitlement;
      name = entitlement?.entitlement ?? "";
    }
    const reason = atOnce("reason", this.#settings.reason({ method, audience, entitlement }));
    if (entitlement?.reasonRequired && reason === "") return { kind: "end", status: reasonMissing(parked, entitlement) };
    const { durationMs, clock } = this.#settings;
    return {
      audience,
      method,
      entitlement: name,
      reason,
      breakGlass: entitlement?.breakGlass ?? false,
      ...(durationMs === undefined ? {} : { duration: durationFromMs(durationMs) }),
      report: { ...reportOf(refused, method, parked.sent), callerTime: timestampFromMs(Math.round(clock.wallMs())) },
    };
  }

  /** How this call waits: for the rest of its limit, telling the program each step once. */
  #following(parked: Parked, signal: AbortSignal, known: Elevation | undefined) {
    let first = known === undefined;
    let told = "";
    const onChange = (elevation: Elevation) => {
      if (first) this.#say(asked(parked.method, elevation, parked.refused.metadata.decisionId));
      first = false;
      // A vote is one change, the decision that follows from it the next: between them nobody is waited for anew.
      const stage = elevation.stages[elevation.stage];
      const awaited = `${elevation.stage} ${stage?.approved}`;
      if (elevation.state !== ElevationState.PENDING || stage === undefined || awaited === told) return;
      told = awaited;
      this.#say(waiting(parked.method, elevation));
    };
    return { signal, limitMs: Math.max(0, this.#settings.waitMs - this.#waitedMs(parked)), onChange };
  }

  /** Approved: starts the window if nobody has, and gets what the guard will want to see. */
  async #goOn(parked: Parked, found: Elevation, signal: AbortSignal): Promise<Verdict> {
    const needed = demandsGrant(found);
    const soon = needed ? signal : AbortSignal.any([signal, AbortSignal.timeout(GRANT_PATIENCE_MS)]);
    let elevation = found;
    let grant: string | undefined;
    try {
      // Without the grant the guard may not have heard of the approval yet; and nobody issues one before the window has started.
      if (elevation.state === ElevationState.SCHEDULED)
        elevation = await this.#patiently(parked, soon, () => this.#session.start(found.id, { signal: soon }));
      this.#say(approved(parked.method, elevation));
      grant = await this.#patiently(parked, soon, () => this.#session.issueGrant(found.id, { signal: soon }));
    } catch (error) {
      signal.throwIfAborted();
      if (needed && error instanceof AuthorityError)
        return { kind: "end", status: authorityFailed(parked, error, this.#session.url, elevation) };
      if (needed) throw error;
      this.#settings.logger?.warn(
        { elevation: elevation.id, err: String(error) },
        "brevet: no grant; the call goes on with the identity alone",
      );
    }
    if (grant !== undefined) this.#credentials.hold(elevation);
    const metadata = await this.#credentials.with(parked.given, grant);
    this.#say(running(parked.method, elevation));
    return { kind: "issue", metadata };
  }

  /** Does what the session gave up, again while the authority is away, for the rest of the wait: it waits for it as it waits for people. */
  async #patiently<T>(parked: Parked, signal: AbortSignal, act: () => Promise<T>): Promise<T> {
    const { clock, logger, waitMs } = this.#settings;
    for (let failures = 1; ; failures += 1) {
      try {
        return await act();
      } catch (error) {
        const leftMs = waitMs - this.#waitedMs(parked);
        if (!(error instanceof AuthorityError) || !error.transient || leftMs <= 0) throw error;
        if (failures === 1)
          logger?.warn({ method: parked.method, err: error.message }, "brevet: the authority is away; the call waits for it");
        await sleep(clock, Math.min(backoffMs(failures, this.#random), leftMs), signal);
      }
    }
  }

  #waitedMs({ beganMs }: Parked): number {
    return this.#settings.clock.monotonicMs() - beganMs;
  }

  #say(event: ProgressEvent): void {
    tell(this.#settings.onProgress, event, this.#settings.logger);
  }
}

function isOpen({ state }: Elevation): boolean {
  return state === ElevationState.SCHEDULED || state === ElevationState.ACTIVE;
}

/** The caller's half of a refusal, for the authority. */
function reportOf(refused: ReceivedStatus, method: string, sent: Metadata) {
  const [trace] = sent.get(TRACEPARENT_HEADER);
  return {
    decisionId: refused.metadata.decisionId ?? "",
    code: refused.code,
    reason: refused.reason ?? "",
    method,
    headersSent: Object.keys(sent.getMap()),
    traceId: typeof trace === "string" ? (/^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(trace)?.[1] ?? "") : "",
  };
}
