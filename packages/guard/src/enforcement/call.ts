// One guarded call, whatever carries it: held until it is decided, then let through or refused, and watched while it lives.
// Owns the order of things; a form (grpc/, proxy/) moves the messages. Never throws: what goes wrong in here refuses the call with GUARD_FAULT.
import { type EncodedStatus, PROBE_METHOD } from "@brevet/protocol";
import { type GuardDecision, type GuardedCall, type GuardPermit, type GuardRefusal, refuse } from "../core/call.ts";
import { probeAnswer } from "../probe/probe.ts";
import { Lane } from "./lane.ts";
import { type CallMeans, type CallPort, HEALTH_CHECK, type IncomingCall, LAST_RESORT, NO_REQUEST, NOT_SERVING } from "./port.ts";
import type { LiveStream } from "./stream.ts";

export type { CallPort, IncomingCall } from "./port.ts";

/** `held`: not decided. `reading`: its first request has to be seen. `live`: let through. `over`: refused, or ended. */
type Phase = "held" | "reading" | "live" | "over";

/** See the head of this file. A form calls `begin`, then brings messages, half-close and end as they come. */
export class EnforcedCall {
  readonly #means: CallMeans;
  readonly #port: CallPort;
  /** With the one request that it was judged by, where one was. */
  #call: IncomingCall & GuardedCall;
  #phase: Phase = "held";
  #permit: GuardPermit | undefined;
  #wanted: GuardPermit["principal"];
  /** Hands on the message that is being judged. */
  #deliver: (() => void) | undefined;
  /** Let through before its one request came: nothing has run. */
  #awaits = false;
  /** What was known at the permit; see {@link Decider.changes}. */
  #changes = 0;
  /** Of a stream that was let through. */
  #live: LiveStream | undefined;
  /** What came while it could not be judged. */
  #requests: Lane | undefined;
  #responses: Lane | undefined;

  constructor(means: CallMeans, call: IncomingCall, port: CallPort) {
    this.#means = means;
    this.#call = call;
    this.#port = port;
  }

  /** Whether the call is over: whatever still arrives is to be swallowed. */
  get over(): boolean {
    return this.#phase === "over";
  }

  /** Whether the bytes of a request message that comes now are needed, or may be. */
  get reads(): boolean {
    return this.#phase === "live" ? this.#live?.judges === true : this.#phase !== "over";
  }

  /** Whether messages have to be brought to {@link request} and {@link response} after the permit; does not change from then on. */
  get supervised(): boolean {
    return this.#live?.supervised === true;
  }

  /** Whether its one request, which runs it, has to be brought to {@link request} though it was let through; false from then on. */
  get awaitsRequest(): boolean {
    return this.#awaits && this.#phase === "live";
  }

  /**
   * Whether a call that was let through, and that the service has not seen, still may go: to be asked after a wait in a form. Judged again
   * where anything moved; false: it is over, and its port has been told.
   */
  stands(): boolean {
    if (this.#phase !== "live") return false;
    const permit = this.#permit;
    try {
      if (this.#live !== undefined) this.#live.review();
      else if (permit !== undefined && (permit.elevation ?? permit.observed) !== undefined && !this.#stillStands())
        this.#permit = this.#judgeAgain(permit);
    } catch (error) {
      this.fault(error);
    }
    return !this.over;
  }

  /** Value of the trailer `brevet-window-ends`: whole seconds; undefined for calls without a window. */
  get windowEnds(): string | undefined {
    const endsMs = (this.#live?.permit ?? this.#permit)?.endsMs;
    const nowMs = endsMs === undefined ? undefined : this.#nowMs();
    if (endsMs === undefined || nowMs === undefined) return undefined;
    return String(Math.max(0, Math.floor((endsMs - nowMs) / 1000)));
  }

  /** Decides. */
  begin(): void {
    try {
      if (!this.#answersHealth()) this.#decide(this.#call);
    } catch (error) {
      this.fault(error);
    }
  }

  /**
   * A request message came; `deliver` hands it on: at once, later or never, and in the order of the messages. A form reads no further one
   * until then. `bytes`: after decompression, exactly as received, wherever {@link reads} says so; undefined: not to be had.
   */
  request(bytes: Uint8Array | undefined, deliver: () => void): void {
    if (this.#isFree(this.#requests) && (!this.#awaits || this.#stillStands())) {
      this.#awaits = false;
      return deliver();
    }
    this.#requests ??= new Lane();
    this.#requests.bring(() => this.#tryRequest(bytes, deliver));
  }

  /**
   * In place of {@link request}: one came that has to be read, and cannot be. Where the policy only observes it goes on as it came, and that
   * is written down; false: nothing was done, and the form ends the call.
   */
  unreadable(problem: string, deliver: () => void): boolean {
    try {
      const reading = this.#phase === "reading";
      if (!this.#means.decider.observes || !(reading || (this.#phase === "live" && this.#live?.judges === true))) return false;
      const principal = reading ? this.#wanted : this.#live?.permit.principal;
      const observed = refuse("CONDITION_NOT_MET", { problem }, principal);
      if (reading) {
        this.#deliver = deliver;
        this.#let({ kind: "permit", observed, ...(principal && { principal }) });
      } else {
        this.#record(observed, true);
        deliver();
      }
    } catch (error) {
      this.fault(error);
    }
    return true;
  }

  /** A response message came, to be brought here where {@link supervised}; `deliver` and the form's reading are as with requests. */
  response(deliver: () => void): void {
    if (this.#isFree(this.#responses)) return deliver();
    this.#responses ??= new Lane();
    this.#responses.bring(() => this.#tryResponse(deliver));
  }

  /** The caller sends no more; `deliver` hands that on, after all messages. */
  halfClose(deliver: () => void): void {
    if (this.#isFree(this.#requests)) return deliver();
    this.#requests ??= new Lane();
    this.#requests.bring(() => this.#tryHalfClose(deliver));
  }

  /** The call ended: with the handler's status, or because the caller left. */
  ended(callStatus: number): void {
    if (this.#phase === "over") return;
    this.#phase = "over";
    try {
      this.#left(callStatus);
    } catch (error) {
      this.#log(error);
    }
  }

  /** Something failed in the form: fail closed. */
  fault(error: unknown): void {
    if (this.#phase === "over") return;
    this.#log(error);
    try {
      this.#refuse(refuse("GUARD_FAULT"));
    } catch {
      this.#lastResort();
    }
  }

  /** While there is no policy, nobody may call: the service that stands behind does not know that, and would say it serves. */
  #answersHealth(): boolean {
    if (this.#call.method !== HEALTH_CHECK || this.#means.decider.knowledge?.policy !== undefined) return false;
    if (!this.#port.answer(NOT_SERVING)) return false;
    this.#phase = "over";
    return true;
  }

  /** Let through, with nothing in it to be judged, and nothing that waits. */
  #isFree(lane: Lane | undefined): boolean {
    return this.#phase === "live" && lane === undefined && !this.supervised;
  }

  #tryRequest(bytes: Uint8Array | undefined, deliver: () => void): boolean {
    if (this.#phase === "held") return false;
    if (this.#phase === "reading") {
      this.#first(bytes, deliver);
      return true;
    }
    if (this.#mustWait(() => this.#requests)) return false;
    if (this.#awaits && !this.over && this.#mustWaitToRun()) return false;
    if (!this.over && this.#passes(bytes)) deliver();
    return true;
  }

  /** Whether the permit is as good as when it was made; cheap, since a request mostly comes right behind its headers. */
  #stillStands(): boolean {
    const { decider } = this.#means;
    try {
      if (this.#live !== undefined || this.#permit === undefined) return false;
      return decider.changes === this.#changes && decider.outlasts(this.#permit);
    } catch (error) {
      this.fault(error);
      return false;
    }
  }

  /** The request came that runs the call. Whether it has to wait, since the time is in doubt; a call that may not run is over after this. */
  #mustWaitToRun(): boolean {
    const { decider, streams } = this.#means;
    try {
      const wait = this.#stillStands() ? undefined : decider.settling;
      if (wait !== undefined) {
        wait.then(() => this.#requests?.release()).catch((error: unknown) => this.fault(error));
        return true;
      }
      this.#awaits = false;
      if (this.#live !== undefined) streams.run(this.#live);
      else if (!this.over && this.#permit !== undefined && !this.#stillStands()) this.#permit = this.#judgeAgain(this.#permit);
    } catch (error) {
      this.fault(error);
    }
    return false;
  }

  /** What a call that is no stream, and has not run, rests on now; undefined: nothing, and it is over. */
  #judgeAgain(permit: GuardPermit): GuardPermit | undefined {
    const outcome = this.#means.decider.again({ call: this.#call, permit, sinceMs: Infinity });
    if (outcome.kind === "refuse") {
      this.#refuse(outcome);
      return undefined;
    }
    if (outcome.permit.observed !== undefined && permit.observed === undefined) this.#record(outcome.permit.observed, true);
    return outcome.permit;
  }

  #tryResponse(deliver: () => void): boolean {
    if (this.#mustWait(() => this.#responses)) return false;
    if (!this.over) deliver();
    return true;
  }

  #tryHalfClose(deliver: () => void): boolean {
    if (this.#phase === "held") return false;
    if (this.#phase === "reading") this.#none();
    if (!this.over) deliver();
    return true;
  }

  /** Whether a message of a supervised stream has to wait, since the time is in doubt; what is past its end by the clock is over after this. */
  #mustWait(lane: () => Lane | undefined): boolean {
    if (this.over || !this.supervised) return false;
    try {
      const wait = this.#means.streams.check();
      if (wait === undefined || this.over) return false;
      wait.then(() => lane()?.release()).catch((error: unknown) => this.fault(error));
      return true;
    } catch (error) {
      this.fault(error);
      return false;
    }
  }

  /** Judges a further request where that is asked for. */
  #passes(bytes: Uint8Array | undefined): boolean {
    const live = this.#live;
    if (live?.judges !== true) return true;
    try {
      return live.judge(bytes);
    } catch (error) {
      this.fault(error);
      return false;
    }
  }

  #first(bytes: Uint8Array | undefined, deliver: () => void): void {
    try {
      if (bytes === undefined) throw new Error("a message came without its bytes");
      this.#phase = "held";
      this.#deliver = deliver;
      const judged = { ...this.#call, request: bytes };
      // Of a stream each request counts for itself only.
      if (!this.#call.requestStream) this.#call = judged;
      this.#decide(judged);
    } catch (error) {
      this.fault(error);
    }
  }

  /** A stream of nothing: the condition holds for nothing. Without a stream it is no decision, but a fault of the call. */
  #none(): void {
    try {
      if (!this.#call.requestStream) {
        this.#phase = "over";
        return this.#port.refuse(NO_REQUEST);
      }
      const refusal = refuse("CONDITION_NOT_MET", { problem: "no request message came" }, this.#wanted);
      if (this.#means.decider.observes) this.#let({ kind: "permit", observed: refusal, ...(this.#wanted && { principal: this.#wanted }) });
      else this.#refuse(refusal);
    } catch (error) {
      this.fault(error);
    }
  }

  #decide(call: GuardedCall): void {
    try {
      const decision = this.#means.decider.decide(call);
      if (!(decision instanceof Promise)) return this.#settle(decision);
      decision.then(
        (later) => this.#settle(later, true),
        (error: unknown) => this.fault(error),
      );
    } catch (error) {
      this.fault(error);
    }
  }

  /** `late`: what was decided a moment ago may be over. */
  #settle(decision: GuardDecision, late = false): void {
    if (this.#phase === "over") return;
    try {
      if (decision.kind === "permit") return this.#let(decision, late);
      if (decision.kind === "refuse") return this.#refuse(decision);
      const { principal } = decision;
      this.#wanted = principal;
      this.#phase = "reading";
      if (this.#port.readAhead()) return this.#requests?.release();
      const problem = "the guard does not stand first in `interceptors`, and cannot read requests";
      const refusal = refuse("POLICY_MISCONFIGURED", { problem }, principal);
      if (this.#means.decider.observes) this.#let({ kind: "permit", principal, observed: refusal });
      else this.#refuse(refusal);
    } catch (error) {
      this.fault(error);
    }
  }

  #let(permit: GuardPermit, late = false): void {
    const { decider, streams } = this.#means;
    const { requestStream, responseStream } = this.#call;
    if (this.#call.method === PROBE_METHOD) return this.#answerProbe(permit);
    if (permit.observed !== undefined) {
      if (!decider.observes) return this.#refuse(permit.observed);
      this.#record(permit.observed, true);
    }
    this.#permit = permit;
    const watched = permit.elevation !== undefined || permit.observed !== undefined;
    this.#awaits = watched && !requestStream && this.#deliver === undefined;
    this.#changes = decider.changes;
    if (requestStream || responseStream) {
      this.#live = streams.begin(this.#call, permit, !this.#awaits, {
        end: (refusal) => this.#refuse(refusal),
        observed: (refusal) => void this.#record(refusal, true),
        fault: (error) => this.fault(error),
      });
      if (this.over) return this.#live.leave();
    } else if (late && watched) {
      this.#permit = this.#judgeAgain(permit);
      if (this.over) return;
    }
    this.#phase = "live";
    if (permit.endsMs !== undefined) this.#means.endings.used(permit);
    const deliver = this.#deliver;
    this.#deliver = undefined;
    // The message first: forms keep it until the metadata has gone ahead.
    deliver?.();
    this.#port.permit();
    this.#requests?.release();
  }

  /** Nothing is behind a probe that could be called: where the policy only observes, an identity is wanted all the same. */
  #answerProbe({ principal, observed }: GuardPermit): void {
    if (observed !== undefined) return this.#refuse(observed);
    const { headersSeen } = this.#call;
    const answered = this.#port.answer(probeAnswer(this.#means.probed(), { principal, headersSeen }));
    if (!answered)
      return this.#refuse(refuse("POLICY_MISCONFIGURED", { problem: "the guard does not stand first in `interceptors`" }, principal));
    this.#phase = "over";
  }

  #refuse(refusal: GuardRefusal): void {
    const permitted = this.#phase === "live";
    const status = this.#record(refusal, false, permitted);
    this.#phase = "over";
    if (permitted) this.#left(status.code);
    // What the service has seen must not be done again, whatever the reason.
    this.#port.refuse(permitted ? { ...status, pushback: "-1" } : status);
  }

  /** Nothing is watched any more, and the permit is written down. */
  #left(callStatus: number): void {
    const permit = this.#live?.permit ?? this.#permit;
    this.#live?.leave();
    if (permit === undefined || permit.observed !== undefined) return;
    const { decider, decisions, recorder } = this.#means;
    const principal = permit.principal?.name ?? "";
    const elevation = permit.elevation?.id ?? "";
    const policyVersion = decider.knowledge?.policy?.version ?? 0n;
    const { method } = this.#call;
    decisions.permitted({ method, principal, elevation, nowMs: this.#nowMs() ?? 0, policyVersion, callStatus });
    recorder.told({ permitted: true, method, ...(principal !== "" && { principal }), ...(elevation !== "" && { elevation }) });
  }

  #record(refusal: GuardRefusal, observed: boolean, ran = false): EncodedStatus {
    const { decider, recorder } = this.#means;
    const call = ran ? { ...this.#call, deadlineMs: undefined } : this.#call;
    return recorder.refused(refusal, { ...call, knowledge: decider.knowledge, nowMs: this.#nowMs() }, observed);
  }

  #log(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#means.logger.error({ method: this.#call.method, error: text }, "the guard failed");
  }

  /** Only to be shown and written down: a clock that fails does not keep a refusal back. */
  #nowMs(): number | undefined {
    try {
      return this.#means.now()?.authorityMs;
    } catch {
      return undefined;
    }
  }

  /** Even saying so failed. */
  #lastResort(): void {
    this.#phase = "over";
    try {
      this.#live?.leave();
      this.#port.refuse(LAST_RESORT);
    } catch {
      // The call is gone.
    }
  }
}
