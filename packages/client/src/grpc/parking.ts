// The story of a refused call from asking to the metadata with which it is issued again. Asks the configured authority only, and only for the
// method and audience that the program called. Never touches a call: call.ts does.
import { sanitise, sleep } from "@brevet/protocol";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import type { Ask, AuthoritySession, Outage } from "../client.ts";
import { AuthorityError, IdentityFailure } from "../connection/failure.ts";
import { backoffMs } from "../connection/retry.ts";
import { isApproved, type WaitResult } from "../watch/outcome.ts";
import { type AskedCall, type Asking, askFor, coversRequest, withPayload } from "./ask.ts";
import { type Credentials, demandsGrant } from "./credentials.ts";
import { tell } from "./hooks.ts";
import type { Settings } from "./options.ts";
import { approved, asked, type ProgressEvent, reachable, running, unreachable, waiting } from "./progress.ts";
import { askedOnly, authorityFailed, authoritySilent, noIdentity, notElevated, type ParkedCall, waitTimedOut } from "./refusal.ts";
import type { Remedy } from "./remedy.ts";

/** A call that was refused and may be helped. */
export interface RefusedCall extends ParkedCall, Pick<AskedCall, "sent" | "request"> {
  readonly remedy: Remedy;
  /** As the program gave it. */
  readonly given: Metadata;
}

/** What to do with it. */
export type Verdict =
  | { readonly kind: "issue"; readonly metadata: Metadata }
  | { readonly kind: "end"; readonly status: StatusObject }
  /** Give the program the refusal as it came. */
  | { readonly kind: "pass" };

/** The call as the messages see it, with when its wait began on the monotonic clock. */
interface Parked extends RefusedCall, AskedCall {
  readonly beganMs: number;
  /** Let go of when they are of no more use: a call may wait for long. */
  offers: AskedCall["offers"];
  toldOutage: boolean;
}

// Identity alone is enough: a grant only closes the gap until the guard has heard of the approval.
const GRANT_PATIENCE_MS = 1500;
// A call that is not parked is to end at once, with the elevation's id if that can be had.
const ANNOUNCE_MS = 5000;

/** See the head of this file. */
export class Parking {
  readonly #settings: Settings;
  readonly #session: AuthoritySession;
  readonly #credentials: Credentials;
  readonly #random: () => number;
  /** Calls that wait, told when the authority cannot be reached. */
  readonly #waiting = new Set<Parked>();
  #unsubscribe: () => void = () => {};

  /** `random` is in [0, 1), for jitter. */
  constructor(settings: Settings, session: AuthoritySession, credentials: Credentials, random: () => number = Math.random) {
    this.#settings = settings;
    this.#session = session;
    this.#credentials = credentials;
    this.#random = random;
  }

  /** How many calls wait, where their program wants to hear of it. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Does what helps, and says how the call goes on. Never rejects; after `signal` is aborted nobody listens. */
  help(call: RefusedCall, signal: AbortSignal): Promise<Verdict> {
    return this.#help(this.#parked(call), this.#orClosing(signal));
  }

  /**
   * For a call that cannot be issued again: asks, so that approvers see it, and says how the call ends, at once. The next call of the method finds
   * what this one asked for. Never rejects; after `signal` is aborted nobody listens.
   */
  announce(call: RefusedCall, signal: AbortSignal, limitMs = ANNOUNCE_MS): Promise<Verdict> {
    return this.#announce(this.#parked(call), this.#orClosing(signal), Math.max(0, Math.min(limitMs, ANNOUNCE_MS)));
  }

  async #help(parked: Parked, signal: AbortSignal): Promise<Verdict> {
    this.#listen(parked);
    try {
      return parked.remedy === "renewal" ? await this.#renew(parked, signal) : await this.#elevate(parked, signal);
    } catch (error) {
      return { kind: "end", status: this.#failure(parked, error) };
    } finally {
      this.#waiting.delete(parked);
      if (this.#waiting.size === 0) this.#unsubscribe();
    }
  }

  async #announce(parked: Parked, signal: AbortSignal, limitMs: number): Promise<Verdict> {
    const limit = new AbortController();
    const timer = this.#settings.clock.after(limitMs, () => limit.abort(), { hold: true });
    try {
      return await this.#askOnly(parked, AbortSignal.any([signal, limit.signal]));
    } catch (error) {
      const isSilent = limit.signal.aborted || (error instanceof AuthorityError && error.transient);
      if (!isSilent) return { kind: "end", status: this.#failure(parked, error) };
      // The refusal itself says what to do.
      this.#settings.logger?.warn({ method: parked.method, err: String(error) }, "brevet: the authority is away; nothing was asked for");
      return { kind: "pass" };
    } finally {
      timer.cancel();
    }
  }

  async #askOnly(parked: Parked, signal: AbortSignal): Promise<Verdict> {
    const { method } = parked;
    const held = this.#credentials.heldFor(method);
    if (parked.remedy === "renewal" && held !== undefined) {
      // The next call shows it.
      await this.#session.issueGrant(held, { fresh: true, signal }).catch(() => this.#credentials.drop(method));
      return { kind: "pass" };
    }
    if (parked.remedy === "renewal") return { kind: "pass" };
    this.#credentials.drop(method);
    let elevation = await this.#openAlready(parked, signal);
    if (elevation === undefined) {
      const asking = askFor(parked, this.#settings);
      if (asking.kind !== "ask") return asking;
      signal.throwIfAborted();
      elevation = (await this.#session.request(asking.ask, { signal })).elevation;
    }
    if (elevation === undefined) return { kind: "pass" };
    this.#say(asked(method, elevation, parked.refused.metadata.decisionId));
    if (demandsGrant(elevation) && isApproved(elevation)) {
      if (elevation.state === ElevationState.SCHEDULED) elevation = await this.#session.start(elevation.id, { signal });
      await this.#session.issueGrant(elevation.id, { signal });
      this.#credentials.hold(elevation);
    }
    return { kind: "end", status: askedOnly(parked, elevation) };
  }

  #parked({ refused: { offer, ...refused }, ...call }: RefusedCall): Parked {
    return { ...call, refused, offers: offer?.entitlements ?? [], beganMs: this.#settings.clock.monotonicMs(), toldOutage: false };
  }

  #orClosing(signal: AbortSignal): AbortSignal {
    const { signal: closing } = this.#settings;
    return closing === undefined ? signal : AbortSignal.any([signal, closing]);
  }

  /** Sessions are shared and outlive clients: this one listens while calls of its own wait. */
  #listen(parked: Parked): void {
    if (this.#settings.onProgress === undefined) return;
    if (this.#waiting.size === 0) this.#unsubscribe = this.#session.onOutage((outage) => this.#tellOutage(outage));
    this.#waiting.add(parked);
  }

  #tellOutage(outage: Outage | undefined): void {
    for (const parked of this.#waiting) {
      if (parked.toldOutage === (outage !== undefined)) continue;
      parked.toldOutage = outage !== undefined;
      const { url } = this.#session;
      this.#say(outage === undefined ? reachable(parked.method, url) : unreachable(parked.method, url, outage));
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
      const asking = askFor(parked, this.#settings);
      if (asking.kind !== "ask") return asking;
      parked.offers = [];
      // The program's functions may have taken their time, or cancelled the call.
      signal.throwIfAborted();
      const obtained = await this.#obtain(parked, asking.ask, signal);
      if ("kind" in obtained) return obtained;
      result = obtained;
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
    const isOurs = found.audience === audience && found.methods.includes(method) && found.requester?.name === principal;
    const fits = isOurs && coversRequest(found, parked);
    return fits && (found.state === ElevationState.PENDING || isOpen(found)) ? found : undefined;
  }

  /** Asks and waits. That an approval covers one exact request is the authority's word where the refusal did not say so. */
  async #obtain(parked: Parked, ask: Ask, signal: AbortSignal): Promise<WaitResult | Exclude<Asking, { kind: "ask" }>> {
    const obtain = (question: Ask) =>
      this.#patiently(parked, signal, () => this.#session.obtain(question, this.#following(parked, signal, undefined)));
    try {
      return await obtain(ask);
    } catch (error) {
      if (!(error instanceof AuthorityError) || error.received.reason !== "PAYLOAD_REQUIRED" || ask.payload !== undefined) throw error;
      const exact = withPayload(parked, ask);
      if (exact.kind !== "ask") return exact;
      if (exact.ask.payload === undefined) throw error;
      return obtain(exact.ask);
    }
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
    // An approval of one exact request is used with this call.
    if (grant !== undefined && elevation.payloadDigest === undefined) this.#credentials.hold(elevation);
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
