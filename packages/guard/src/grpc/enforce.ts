// One call of a guarded grpc-js service: held until it is decided, then let through or refused before anything was sent.
// Never throws: whatever goes wrong in here refuses the call with GUARD_FAULT, and the process lives.
import {
  AUTHORIZATION_HEADER,
  BREVET_HEADER_PREFIX,
  catalogue,
  type EncodedStatus,
  GRANT_HEADER,
  GrpcCode,
  type TimeEstimate,
  TRACEPARENT_HEADER,
  WINDOW_ENDS_TRAILER,
} from "@brevet/protocol";
import {
  Metadata,
  type MetadataValue,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerMethodDefinition,
  status,
} from "@grpc/grpc-js";
import { type GuardDecision, type GuardedCall, type GuardPermit, type GuardRefusal, refuse } from "../core/call.ts";
import type { Decider } from "../core/decide.ts";
import type { DecisionLog } from "../link/decisions.ts";
import type { GuardLogger } from "../log/logger.ts";
import { certificateOf } from "./certificate.ts";
import { type SentStatus, statusObject } from "./denied.ts";
import { type Recorder, traceIdOf } from "./record.ts";
import { repeatedAuthorization, takeBytes } from "./wire.ts";

/** What calls are enforced with. */
export interface EnforcementOptions {
  readonly decider: Decider;
  readonly recorder: Recorder;
  readonly decisions: DecisionLog;
  readonly logger: GuardLogger;
  readonly now: () => TimeEstimate | undefined;
}

type Definition = ServerMethodDefinition<unknown, unknown>;

const NO_VALUES: readonly string[] = [];

/** The call as the handler gets it. */
export function guardedCall(
  options: EnforcementOptions,
  definition: Definition,
  call: ServerInterceptingCallInterface,
): ServerInterceptingCall {
  const enforcement = new Enforcement(options, definition, call);
  return enforcement.handed;
}

/** Lets the guard read ahead: a read of the guard's own is not asked for again when the handler asks for its first. */
class HeldCall extends ServerInterceptingCall {
  #readAhead = false;

  readAhead(): void {
    this.#readAhead = true;
    super.startRead();
  }

  override startRead(): void {
    if (this.#readAhead) this.#readAhead = false;
    else super.startRead();
  }
}

class Enforcement {
  readonly handed: HeldCall;
  readonly #options: EnforcementOptions;
  readonly #call: ServerInterceptingCallInterface;
  readonly #method: string;
  readonly #requestStream: boolean;
  #metadata: Metadata | undefined;
  #release: ((metadata: Metadata) => void) | undefined;
  #takeRequest: (() => Uint8Array | undefined) | undefined;
  #permit: GuardPermit | undefined;
  #refused = false;
  #ended = false;

  constructor(options: EnforcementOptions, definition: Definition, call: ServerInterceptingCallInterface) {
    this.#options = options;
    this.#call = call;
    this.#method = definition.path.slice(1);
    this.#requestStream = definition.requestStream;
    this.handed = new HeldCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, release) => this.#onMetadata(metadata, release),
          onReceiveMessage: (message, release) => this.#onMessage(message, release),
          onReceiveHalfClose: (release) => this.#onHalfClose(release),
          onCancel: () => this.#onEnd(GrpcCode.CANCELLED),
        }),
      sendStatus: (sent, next) => next(this.#onStatus(sent)),
    });
  }

  #onMetadata(metadata: Metadata, release: (metadata: Metadata) => void): void {
    this.#metadata = metadata;
    this.#release = release;
    this.#decide(undefined, undefined);
  }

  #onMessage(message: unknown, release: (message: unknown) => void): void {
    if (this.#refused) return;
    const take = this.#takeRequest;
    if (take === undefined) return release(message);
    this.#takeRequest = undefined;
    try {
      const request = take();
      if (request === undefined) throw new Error("a message came without its bytes");
      this.#decide(request, () => release(message));
    } catch (error) {
      this.#fault(error);
    }
  }

  #onHalfClose(release: () => void): void {
    if (this.#refused) return;
    if (this.#takeRequest === undefined) return release();
    // No request came, and nothing is permitted: grpc-js runs no handler of one request without it, and says so to the caller.
    try {
      this.#release?.(this.#stripped());
      release();
      this.#refused = true;
    } catch (error) {
      this.#fault(error);
    }
  }

  #decide(request: Uint8Array | undefined, deliver: (() => void) | undefined): void {
    try {
      const decision = this.#options.decider.decide(this.#asked(request));
      if (!(decision instanceof Promise)) return this.#settle(decision, deliver);
      decision.then(
        (later) => this.#settle(later, deliver),
        (error: unknown) => this.#fault(error),
      );
    } catch (error) {
      this.#fault(error);
    }
  }

  #asked(request: Uint8Array | undefined): GuardedCall {
    const call = this.#call;
    const metadata = this.#metadata;
    return {
      method: this.#method,
      requestStream: this.#requestStream,
      authorization: repeatedAuthorization(call) ?? texts(metadata?.get(AUTHORIZATION_HEADER)),
      grants: texts(metadata?.get(GRANT_HEADER)),
      certificate: () => certificateOf(call),
      peer: call.getConnectionInfo().remoteAddress ?? "",
      ...(request === undefined ? undefined : { request }),
    };
  }

  #settle(decision: GuardDecision, deliver: (() => void) | undefined): void {
    try {
      if (decision.kind === "permit") return this.#let(decision, deliver);
      if (decision.kind === "refuse") return this.#refuse(decision);
      this.#takeRequest = takeBytes(this.#call);
      if (this.#takeRequest !== undefined) return this.handed.readAhead();
      const problem = "the guard does not stand first in `interceptors`, and cannot read requests";
      const { principal, observes } = decision;
      const refusal = refuse("POLICY_MISCONFIGURED", { problem }, principal);
      if (observes) this.#let({ kind: "permit", principal, observed: refusal }, deliver);
      else this.#refuse(refusal);
    } catch (error) {
      this.#fault(error);
    }
  }

  #let(permit: GuardPermit, deliver: (() => void) | undefined): void {
    if (permit.observed !== undefined) this.#record(permit.observed, true);
    const metadata = this.#stripped();
    this.#permit = permit;
    // The message first: it is kept until the metadata has gone ahead.
    deliver?.();
    this.#release?.(metadata);
  }

  /** What a handler may see of the metadata. */
  #stripped(): Metadata {
    const metadata = this.#metadata ?? new Metadata();
    for (const name of Object.keys(metadata.getMap())) if (name.startsWith(BREVET_HEADER_PREFIX)) metadata.remove(name);
    return metadata;
  }

  #refuse(refusal: GuardRefusal): void {
    this.#send(this.#record(refusal, false));
  }

  #record(refusal: GuardRefusal, observed: boolean): EncodedStatus {
    const { decider, recorder, now } = this.#options;
    const metadata = this.#metadata ?? new Metadata();
    const headersSeen = Object.keys(metadata.getMap());
    const call = { method: this.#method, headersSeen, traceId: traceIdOf(metadata.get(TRACEPARENT_HEADER)) };
    return recorder.refused(refusal, { ...call, knowledge: decider.knowledge, nowMs: now()?.authorityMs }, observed);
  }

  /** Straight to the network, before any metadata: Trailers-Only. What still arrives is swallowed. */
  #send(status: EncodedStatus): void {
    if (this.#refused || this.#ended) return;
    this.#refused = true;
    this.#call.sendStatus(statusObject(status));
  }

  #fault(error: unknown): void {
    const wasRefused = this.#refused;
    try {
      this.#options.logger.error(
        { method: this.#method, error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
        "the guard failed",
      );
      if (!wasRefused) this.#refuse(refuse("GUARD_FAULT"));
    } catch {
      if (!wasRefused) this.#lastResort();
    }
  }

  /** Even saying so failed. */
  #lastResort(): void {
    try {
      this.#refused = true;
      this.#call.sendStatus({ code: status.INTERNAL, details: `GUARD_FAULT: ${catalogue.GUARD_FAULT.what}` });
    } catch {
      // The call is gone.
    }
  }

  #onStatus(sent: SentStatus): SentStatus {
    try {
      this.#onEnd(sent.code ?? GrpcCode.UNKNOWN);
      const endsMs = this.#permit?.endsMs;
      const nowMs = endsMs === undefined ? undefined : this.#options.now()?.authorityMs;
      if (endsMs === undefined || nowMs === undefined) return sent;
      const metadata = sent.metadata?.clone() ?? new Metadata();
      metadata.set(WINDOW_ENDS_TRAILER, String(Math.max(0, Math.floor((endsMs - nowMs) / 1000))));
      return { ...sent, metadata };
    } catch {
      return sent;
    }
  }

  /** Also told of ends that were counted before. */
  #onEnd(callStatus: number): void {
    if (this.#ended) return;
    this.#ended = true;
    const permit = this.#permit;
    if (permit === undefined || permit.observed !== undefined) return;
    const { decider, decisions, recorder, now } = this.#options;
    const principal = permit.principal?.name ?? "";
    const elevation = permit.elevation?.id ?? "";
    const policyVersion = decider.knowledge?.policy?.version ?? 0n;
    decisions.permitted({ method: this.#method, principal, elevation, nowMs: now()?.authorityMs ?? 0, policyVersion, callStatus });
    recorder.told({
      permitted: true,
      method: this.#method,
      ...(principal !== "" && { principal }),
      ...(elevation !== "" && { elevation }),
    });
  }
}

function texts(values: readonly MetadataValue[] | undefined): readonly string[] {
  if (values === undefined || values.length === 0) return NO_VALUES;
  return values.filter((value) => typeof value === "string");
}
