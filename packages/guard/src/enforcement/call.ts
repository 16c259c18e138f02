// One guarded call, whatever carries it: held until it is decided, then let through or refused, and watched while it lives.
// Owns the order of things; a form (grpc/, proxy/) moves the messages. Never throws: what goes wrong in here refuses the call with GUARD_FAULT.
import { catalogue, type EncodedStatus, GrpcCode, type TimeEstimate } from "@brevet/protocol";
import { type GuardDecision, type GuardedCall, type GuardPermit, type GuardRefusal, refuse } from "../core/call.ts";
import type { Decider } from "../core/decide.ts";
import type { DecisionLog } from "../link/decisions.ts";
import type { GuardLogger } from "../log/logger.ts";
import type { Recorder } from "./record.ts";

/** A call as it arrives: what is decided on, and what is written down. */
export interface IncomingCall extends Omit<GuardedCall, "request"> {
  /** Whether the service may answer with more than one message. A form that cannot know says true, here and of the request. */
  readonly responseStream: boolean;
  /** Names, not values, of the metadata that came. */
  readonly headersSeen: readonly string[];
  /** W3C trace id; empty: none. */
  readonly traceId: string;
}

/** What a form does with a call when it is told to. Each may throw: the call is refused, or ended, then. */
export interface CallPort {
  /**
   * The bytes of request messages are needed from here on, and the first is to be read ahead of the handler and brought to
   * {@link EnforcedCall.request}. False: this form cannot read this call's requests.
   */
  readAhead(): boolean;
  /** Lets the call through: the metadata, without what a guard takes, then what was held of messages. At most once. */
  permit(): void;
  /** Instead of the handler: answers a call that takes and gives one message with this one, and OK. False: this form cannot. */
  answer(message: Uint8Array): boolean;
  /**
   * Ends the call with this status, at once, whatever it was about to send or receive, and tells the service that it was cancelled.
   * Before `permit` nothing was sent: Trailers-Only. After it the response's initial metadata goes ahead, empty if the service has sent
   * none: the caller has to see that the service had the call, and not to try again by itself.
   */
  refuse(status: EncodedStatus): void;
}

/** What calls are enforced with. */
export interface CallMeans {
  readonly decider: Decider;
  readonly recorder: Recorder;
  readonly decisions: DecisionLog;
  readonly logger: GuardLogger;
  readonly now: () => TimeEstimate | undefined;
}

/** Said where not even a refusal can be made. */
export const LAST_RESORT: EncodedStatus = {
  code: GrpcCode.INTERNAL,
  message: `GUARD_FAULT: ${catalogue.GUARD_FAULT.what}`,
  details: new Uint8Array(0),
  pushback: "-1",
};

/** No decision, but a fault of the call, and what every gRPC library answers to it. */
const NO_REQUEST: EncodedStatus = {
  code: GrpcCode.UNIMPLEMENTED,
  message: "no request message came",
  details: new Uint8Array(0),
  pushback: undefined,
};

const HEALTH_CHECK = "grpc.health.v1.Health/Check";
/** `grpc.health.v1.HealthCheckResponse` with status NOT_SERVING. */
const NOT_SERVING = Uint8Array.of(0x08, 0x02);

/** `held`: not decided. `reading`: its first request has to be seen. `live`: let through. `over`: refused, or ended. */
type Phase = "held" | "reading" | "live" | "over";

/** See the head of this file. A form calls `begin`, then brings messages, half-close and end as they come. */
export class EnforcedCall {
  readonly #means: CallMeans;
  readonly #call: IncomingCall;
  readonly #port: CallPort;
  #phase: Phase = "held";
  #permit: GuardPermit | undefined;
  /** Hands on the message that is being judged. */
  #deliver: (() => void) | undefined;

  constructor(means: CallMeans, call: IncomingCall, port: CallPort) {
    this.#means = means;
    this.#call = call;
    this.#port = port;
  }

  /** Whether the call is over: whatever still arrives is to be swallowed. */
  get over(): boolean {
    return this.#phase === "over";
  }

  /** Decides. */
  begin(): void {
    if (this.#answersHealth()) return;
    this.#decide(undefined);
  }

  /** Whether the bytes of the next request message are needed; once true, of all that follow. */
  get reads(): boolean {
    return this.#phase === "reading";
  }

  /**
   * A request message came; `deliver` hands it on: at once, later or never, and in the order of the messages. A form reads no further one
   * until then. `bytes`: after decompression, exactly as received, wherever {@link reads} says so; undefined: not to be had.
   */
  request(bytes: Uint8Array | undefined, deliver: () => void): void {
    if (this.#phase === "over") return;
    if (this.#phase !== "reading") return deliver();
    try {
      if (bytes === undefined) throw new Error("a message came without its bytes");
      this.#phase = "held";
      this.#deliver = deliver;
      this.#decide(bytes);
    } catch (error) {
      this.fault(error);
    }
  }

  /** A response message came, to be brought here where either side streams; `deliver` hands it on, or is never called. */
  response(deliver: () => void): void {
    if (this.#phase !== "over") deliver();
  }

  /** The caller sends no more; `deliver` hands that on, after all messages. */
  halfClose(deliver: () => void): void {
    if (this.#phase === "over") return;
    if (this.#phase !== "reading") return deliver();
    try {
      if (!this.#call.requestStream) {
        this.#phase = "over";
        return this.#port.refuse(NO_REQUEST);
      }
      // A stream of nothing: the condition holds for nothing.
      this.#refuse(refuse("CONDITION_NOT_MET", { problem: "no request message came" }, this.#wanted));
    } catch (error) {
      this.fault(error);
    }
  }

  /** The call ended: with the handler's status, or because the caller left. */
  ended(callStatus: number): void {
    if (this.#phase === "over") return;
    this.#phase = "over";
    const permit = this.#permit;
    if (permit === undefined || permit.observed !== undefined) return;
    const { decider, decisions, recorder, now } = this.#means;
    const principal = permit.principal?.name ?? "";
    const elevation = permit.elevation?.id ?? "";
    const policyVersion = decider.knowledge?.policy?.version ?? 0n;
    const { method } = this.#call;
    decisions.permitted({ method, principal, elevation, nowMs: now()?.authorityMs ?? 0, policyVersion, callStatus });
    recorder.told({ permitted: true, method, ...(principal !== "" && { principal }), ...(elevation !== "" && { elevation }) });
  }

  /** Value of the trailer `brevet-window-ends`: whole seconds; undefined for calls without a window. */
  get windowEnds(): string | undefined {
    const endsMs = this.#permit?.endsMs;
    const nowMs = endsMs === undefined ? undefined : this.#means.now()?.authorityMs;
    if (endsMs === undefined || nowMs === undefined) return undefined;
    return String(Math.max(0, Math.floor((endsMs - nowMs) / 1000)));
  }

  /** Something failed in the form: fail closed. */
  fault(error: unknown): void {
    if (this.#phase === "over") return;
    try {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#means.logger.error({ method: this.#call.method, error: text }, "the guard failed");
      this.#refuse(refuse("GUARD_FAULT"));
    } catch {
      this.#lastResort();
    }
  }

  #wanted: GuardPermit["principal"];

  /** While there is no policy, nobody may call: the service that stands behind does not know that, and would say it serves. */
  #answersHealth(): boolean {
    try {
      if (this.#call.method !== HEALTH_CHECK || this.#means.decider.knowledge?.policy !== undefined) return false;
      if (!this.#port.answer(NOT_SERVING)) return false;
      this.#phase = "over";
    } catch (error) {
      this.fault(error);
    }
    return true;
  }

  #decide(request: Uint8Array | undefined): void {
    try {
      const call = request === undefined ? this.#call : { ...this.#call, request };
      const decision = this.#means.decider.decide(call);
      if (!(decision instanceof Promise)) return this.#settle(decision);
      decision.then(
        (later) => this.#settle(later),
        (error: unknown) => this.fault(error),
      );
    } catch (error) {
      this.fault(error);
    }
  }

  #settle(decision: GuardDecision): void {
    if (this.#phase === "over") return;
    try {
      if (decision.kind === "permit") return this.#let(decision);
      if (decision.kind === "refuse") return this.#refuse(decision);
      const { principal, observes } = decision;
      this.#wanted = principal;
      this.#phase = "reading";
      if (this.#port.readAhead()) return;
      const problem = "the guard does not stand first in `interceptors`, and cannot read requests";
      const refusal = refuse("POLICY_MISCONFIGURED", { problem }, principal);
      if (observes) this.#let({ kind: "permit", principal, observed: refusal });
      else this.#refuse(refusal);
    } catch (error) {
      this.fault(error);
    }
  }

  #let(permit: GuardPermit): void {
    if (permit.observed !== undefined) this.#record(permit.observed, true);
    this.#permit = permit;
    this.#phase = "live";
    const deliver = this.#deliver;
    this.#deliver = undefined;
    // The message first: forms keep it until the metadata has gone ahead.
    deliver?.();
    this.#port.permit();
  }

  #refuse(refusal: GuardRefusal): void {
    const status = this.#record(refusal, false);
    this.#phase = "over";
    this.#port.refuse(status);
  }

  #record(refusal: GuardRefusal, observed: boolean): EncodedStatus {
    const { decider, recorder, now } = this.#means;
    return recorder.refused(refusal, { ...this.#call, knowledge: decider.knowledge, nowMs: now()?.authorityMs }, observed);
  }

  /** Even saying so failed. */
  #lastResort(): void {
    this.#phase = "over";
    try {
      this.#port.refuse(LAST_RESORT);
    } catch {
      // The call is gone.
    }
  }
}
