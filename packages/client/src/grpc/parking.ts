// The story of a refused call from asking to the metadata with which it is issued again. Asks the configured authority only, and only for the
// method and audience that the program called. Never touches a call: call.ts does.
import { sanitise, sleep } from "@brevet/protocol";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import type { Ask, AuthoritySession, Outage } from "../client.ts";
import { bounded } from "../connection/bounded.ts";
import { tokenLimit } from "../connection/connection.ts";
import { AuthorityError, IdentityFailure } from "../connection/failure.ts";
import { backoffMs } from "../connection/retry.ts";
import { isApproved, type WaitResult } from "../watch/outcome.ts";
import { announce } from "./announcing.ts";
import { type AskedCall, askFor, withPayload } from "./ask.ts";
import { type Credentials, demandsGrant } from "./credentials.ts";
import { type Ending, endingOf, endsInMs } from "./ending.ts";
import { tell } from "./hooks.ts";
import { mayBeOpen, openAlready } from "./joining.ts";
import type { Settings } from "./options.ts";
import { approved, asked, type ProgressEvent, reachable, running, unreachable, waiting } from "./progress.ts";
import { authorityFailed, authoritySilent, noIdentity, notElevated, type ParkedCall, waitTimedOut } from "./refusal.ts";
import type { Remedy } from "./remedy.ts";
import { type Warnings, windowLeftMs } from "./warnings.ts";

/** A call that was refused and may be helped. */
export interface RefusedCall extends AskedCall {
  readonly remedy: Remedy;
  /** Its metadata as the program gave it. */
  readonly given: Metadata;
  /** The refusal as it came. */
  readonly status: StatusObject;
}

/** What to do with it. */
export type Verdict =
  /** `unproven`: an elevation that the guard may not have heard of yet; where it refuses for that, {@link Parking.prove} helps. */
  | { readonly kind: "issue"; readonly metadata: Metadata; readonly unproven?: Elevation }
  | { readonly kind: "end"; readonly status: StatusObject };

/** What is kept of the call while it waits, which may be long: of the refusal no more than what names it. */
interface Parked extends ParkedCall, Pick<RefusedCall, "given" | "request"> {
  /** On the monotonic clock. */
  readonly beganMs: number;
  /** Undefined once the authority has answered. */
  ask: Ask | undefined;
  toldOutage: boolean;
  /** What the refusal says is over, and how often its end may still be waited for. */
  readonly ending: Ending | undefined;
  endings: number;
}

const GRANT_PATIENCE_MS = 1500;
// However little of the wait is left: a token may have to be fetched.
const TOKEN_PATIENCE_MS = 5000;
// The second is for a guard whose time is ahead.
const MOST_ENDINGS = 2;

/** See the head of this file. */
export class Parking {
  readonly #settings: Settings;
  readonly #session: AuthoritySession;
  readonly #credentials: Credentials;
  readonly #warnings: Warnings;
  readonly #random: () => number;
  /** Calls that wait, told when the authority cannot be reached. */
  readonly #waiting = new Set<Parked>();
  #unsubscribe: () => void = () => {};

  /** `random` is in [0, 1), for jitter. */
  constructor(
    settings: Settings,
    session: AuthoritySession,
    credentials: Credentials,
    warnings: Warnings,
    random: () => number = Math.random,
  ) {
    this.#settings = settings;
    this.#session = session;
    this.#credentials = credentials;
    this.#warnings = warnings;
    this.#random = random;
  }

  /** How many calls wait, where their program wants to hear of it. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Does what helps, and says how the call goes on. Never rejects; after `signal` is aborted nobody listens. */
  help(call: RefusedCall, signal: AbortSignal): Promise<Verdict> {
    const { method, audience, decisionId, principal, given, request } = call;
    const beganMs = this.#settings.clock.monotonicMs();
    const about = { method, audience, decisionId, principal, given, request, beganMs, ending: endingOf(call.refused, beganMs) };
    const parked: Parked = { ...about, ask: undefined, toldOutage: false, endings: MOST_ENDINGS };
    const either = this.#orClosing(signal);
    this.#listen(parked);
    const verdict = call.remedy === "renewal" ? this.#renew(parked, call, either) : this.#elevate(parked, call, either);
    return verdict
      .catch((error: unknown): Verdict => ({ kind: "end", status: this.#failure(parked, error) }))
      .finally(() => this.#forget(parked));
  }

  /** For a call that was issued again before the guard had heard of the approval: shows it the grant. Never rejects. */
  async prove(call: RefusedCall, { id }: Elevation, signal: AbortSignal): Promise<Verdict> {
    try {
      const either = this.#orClosing(signal);
      const soon = AbortSignal.any([either, AbortSignal.timeout(GRANT_PATIENCE_MS)]);
      const grant = await this.#session.issueGrant(id, { signal: soon });
      return { kind: "issue", metadata: await this.#identified(call.given, grant, either, TOKEN_PATIENCE_MS) };
    } catch (error) {
      if (error instanceof IdentityFailure) return { kind: "end", status: noIdentity(call, error) };
      this.#settings.logger?.warn(
        { elevation: id, err: String(error) },
        "brevet: the guard has not heard of the elevation, and no grant is to be had",
      );
      return { kind: "end", status: call.status };
    }
  }

  /** For a call that cannot be issued again: asks, and says how it ends, in `limitMs` at most. Never rejects. */
  announce(call: RefusedCall, signal: AbortSignal, limitMs: number | undefined): Promise<Verdict> {
    const means = { settings: this.#settings, session: this.#session, credentials: this.#credentials };
    return announce(call, means, this.#orClosing(signal), limitMs).then(
      (reached): Verdict => ({ kind: "end", status: reached }),
      (error: unknown): Verdict => ({ kind: "end", status: this.#failure(call, error) }),
    );
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

  #forget(parked: Parked): void {
    this.#waiting.delete(parked);
    if (this.#waiting.size === 0) this.#unsubscribe();
  }

  #tellOutage(outage: Outage | undefined): void {
    for (const parked of this.#waiting) {
      if (parked.toldOutage === (outage !== undefined)) continue;
      parked.toldOutage = outage !== undefined;
      const { url } = this.#session;
      this.#say(outage === undefined ? reachable(parked.method, url) : unreachable(parked.method, url, outage));
    }
  }

  #failure(parked: ParkedCall, error: unknown): StatusObject {
    if (error instanceof AuthorityError) return authorityFailed(parked, error, this.#session.url);
    if (error instanceof IdentityFailure) return noIdentity(parked, error);
    const text = sanitise(error instanceof Error ? error.message : String(error), 300);
    if (this.#settings.signal?.aborted)
      return { code: status.CANCELLED, details: `the wait for ${parked.method} was ended: ${text}`, metadata: new Metadata() };
    // A function that the program gave: `reason` or `choose`.
    return { code: status.INTERNAL, details: `elevate() for ${parked.method}: ${text}`, metadata: new Metadata() };
  }

  /** The grant went stale: a fresh one, or, where its elevation is over, a new elevation. */
  async #renew(parked: Parked, call: RefusedCall, signal: AbortSignal): Promise<Verdict> {
    // Only what was obtained for this method and audience; never an elevation that the refusal names.
    const elevation = this.#credentials.heldFor(parked.method);
    if (elevation === undefined) return { kind: "end", status: call.status };
    try {
      const grant = await this.#patiently(parked, signal, () => this.#session.issueGrant(elevation, { fresh: true, signal }));
      return { kind: "issue", metadata: await this.#identified(parked.given, grant, signal, this.#tokenMs(parked)) };
    } catch (error) {
      if (!(error instanceof AuthorityError) || error.transient) throw error;
      return this.#elevate(parked, call, signal);
    }
  }

  /** No function waits with the refusal in hand: what it asks for is all that is kept. */
  #elevate(parked: Parked, call: RefusedCall, signal: AbortSignal): Promise<Verdict> {
    this.#credentials.drop(parked.method);
    return mayBeOpen(call) ? this.#join(parked, call, signal) : this.#ask(parked, call, signal);
  }

  async #join(parked: Parked, call: RefusedCall, signal: AbortSignal): Promise<Verdict> {
    const open = await this.#patiently(parked, signal, () => openAlready(call, this.#session, signal));
    if (open === undefined) return this.#ask(parked, call, signal);
    this.#say(asked(parked.method, open, parked.decisionId));
    const waiting = this.#session.wait(open.id, { ...this.#following(parked, signal, open), known: open });
    return waiting.then((result) => this.#reached(parked, result, signal));
  }

  async #ask(parked: Parked, call: RefusedCall, signal: AbortSignal): Promise<Verdict> {
    const asking = askFor(call, this.#settings);
    if (asking.kind === "pass") return { kind: "end", status: call.status };
    if (asking.kind === "end") return asking;
    // The program's functions may have taken their time, or cancelled the call.
    signal.throwIfAborted();
    parked.ask = asking.ask;
    return this.#obtain(parked, signal);
  }

  /** Asks and waits. That an approval covers one exact request is the authority's word where the refusal did not say so. */
  async #obtain(parked: Parked, signal: AbortSignal): Promise<Verdict> {
    let result: WaitResult;
    try {
      result = await this.#patiently(parked, signal, () =>
        this.#session.obtain(parked.ask ?? {}, this.#following(parked, signal, undefined)),
      );
    } catch (error) {
      const { ask } = parked;
      const isBound = error instanceof AuthorityError && error.received.reason === "PAYLOAD_REQUIRED";
      if (!isBound || ask === undefined || ask.payload !== undefined) throw error;
      const exact = withPayload(parked, ask);
      if (exact.kind === "end") return exact;
      if (exact.kind !== "ask" || exact.ask.payload === undefined) throw error;
      parked.ask = exact.ask;
      return this.#obtain(parked, signal);
    }
    const endMs = result.settled ? this.#endMs(parked, result.elevation) : undefined;
    if (endMs === undefined) return this.#reached(parked, result, signal);
    // Called with once more now, it would be refused for the same end.
    parked.endings -= 1;
    await sleep(this.#settings.clock, endMs, signal);
    return this.#obtain(parked, signal);
  }

  /** How long to wait for the end of what the authority found, where the guard has reached it already. */
  #endMs(parked: Parked, elevation: Elevation): number | undefined {
    if (parked.endings === 0) return undefined;
    const endMs = endsInMs(parked.ending, elevation, this.#settings.clock.monotonicMs());
    return endMs !== undefined && endMs < this.#settings.waitMs - this.#waitedMs(parked) ? endMs : undefined;
  }

  #reached(parked: Parked, result: WaitResult, signal: AbortSignal): Verdict | Promise<Verdict> {
    const { elevation } = result;
    if (elevation === undefined) return { kind: "end", status: authoritySilent(parked, this.#session.url, this.#waitedMs(parked)) };
    if (!result.settled) return { kind: "end", status: waitTimedOut(parked, elevation, this.#waitedMs(parked)) };
    if (!isApproved(elevation)) return { kind: "end", status: notElevated(parked, elevation) };
    return this.#goOn(parked, elevation, signal);
  }

  /** How this call waits: for the rest of its limit, telling the program each step once. */
  #following(parked: Parked, signal: AbortSignal, known: Elevation | undefined) {
    let first = known === undefined;
    let told = "";
    const onChange = (elevation: Elevation) => {
      if (this.#endMs(parked, elevation) !== undefined) return;
      parked.ask = undefined;
      if (first) this.#say(asked(parked.method, elevation, parked.decisionId));
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
    let elevation = found;
    try {
      if (elevation.state === ElevationState.SCHEDULED)
        elevation = await this.#patiently(parked, signal, () => this.#session.start(found.id, { signal }));
      this.#say(approved(parked.method, elevation));
      this.#warnings.ends(parked.method, windowLeftMs(elevation, this.#settings.clock.wallMs()));
      // A stream may have sent more than is kept before a guard that has not heard of the approval refuses it: it is not left to chance.
      const streams = parked.request === undefined;
      const wantsGrant = this.#settings.alwaysGrant || streams || demandsGrant(elevation);
      const grant = wantsGrant ? await this.#patiently(parked, signal, () => this.#session.issueGrant(found.id, { signal })) : undefined;
      // An approval of one exact request is used with this call.
      if (grant !== undefined && elevation.payloadDigest === undefined) this.#credentials.hold(elevation);
      const metadata = await this.#identified(parked.given, grant, signal, this.#tokenMs(parked));
      this.#say(running(parked.method, elevation));
      // Identity is enough, and the guard most often hears of the approval before the call comes: getting a grant would take longer.
      return wantsGrant ? { kind: "issue", metadata } : { kind: "issue", metadata, unproven: elevation };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof AuthorityError) return { kind: "end", status: authorityFailed(parked, error, this.#session.url, elevation) };
      throw error;
    }
  }

  /** What to issue it with. Rejects with IdentityFailure where the program gives no token in `limitMs`. */
  async #identified(given: Metadata, grant: string | undefined, signal: AbortSignal, limitMs: number): Promise<Metadata> {
    const { clock, audience } = this.#settings;
    const metadata = this.#credentials.with(given, grant);
    return "then" in metadata ? bounded(metadata, signal, tokenLimit(clock, audience, limitMs)) : metadata;
  }

  /** The call waits for its token as it waits for people. */
  #tokenMs(parked: Parked): number {
    return Math.max(TOKEN_PATIENCE_MS, this.#settings.waitMs - this.#waitedMs(parked));
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
