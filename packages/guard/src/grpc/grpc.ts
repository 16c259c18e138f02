// The guard for @grpc/grpc-js: an interceptor that stands first in front of a server's handlers, and the link that keeps it informed.
// Owns the wiring of one guard; rules are in core/, the authority is behind link/.
import { type Clock, DEFAULT_AUTHORITY_AUDIENCE, newId, systemClock } from "@brevet/protocol";
import { status as code, ServerInterceptingCall, type ServerInterceptingCallInterface, type ServerInterceptor } from "@grpc/grpc-js";
import { Decider } from "../core/decide.ts";
import type { Knowledge } from "../core/knowledge.ts";
import type { GuardTls, IdentitySource } from "../link/connection.ts";
import { DecisionLog } from "../link/decisions.ts";
import { Link } from "../link/link.ts";
import { type GuardLogger, jsonLogger, steadyLogger } from "../log/logger.ts";
import { type EnforcementOptions, guardedCall } from "./enforce.ts";
import { type DecisionEvent, Recorder } from "./record.ts";
import { watchAuthorization } from "./wire.ts";

export type { GuardTls, IdentitySource } from "../link/connection.ts";
export { type GuardLogger, jsonLogger } from "../log/logger.ts";
export type { DecisionEvent } from "./record.ts";
export { fromFile } from "./source.ts";

/** How a service is guarded. */
export interface GuardOptions {
  /** The authority's address, `https://host:port`; `http://` on loopback only. */
  readonly authority: string;
  /** The deployment that the policy governs, and that callers' tokens are for. */
  readonly audience: string;
  /** The guard's own identity for the authority. */
  readonly identity: IdentitySource;
  /** The authority's own audience; `brevet` unless it is configured otherwise there. */
  readonly authorityAudience?: string;
  /** TLS to the authority. */
  readonly tls?: GuardTls;
  /** pino or alike; default: JSON lines on stderr. */
  readonly logger?: GuardLogger;
  readonly clock?: Clock;
  /** Told of each decision, after it was made. What it throws or rejects with is logged, and changes nothing. */
  readonly onDecision?: (event: DecisionEvent) => void;
}

/** How a guard stands. */
export interface GuardState {
  /** It has a policy to decide by. */
  readonly ready: boolean;
  /** The link to the authority is up. */
  readonly connected: boolean;
  /** What keeps it from being up, and the fix. */
  readonly problem?: string;
  /** Why the newest policy cannot be enforced; every call is refused then. */
  readonly policyProblem?: string;
  readonly audience: string;
  readonly policyVersion: bigint;
  readonly epoch: string;
  readonly revision: bigint;
  /** Elevations held. */
  readonly elevations: number;
  /** Milliseconds since the authority sent its newest message, on its clock. */
  readonly silentMs: number;
  /** Error of the estimate of the authority's time, milliseconds; Infinity before the first sample. */
  readonly clockErrorMs: number;
}

/** A guard in front of a grpc-js server. */
export interface Guard extends AsyncDisposable {
  /** To stand first in the server's `interceptors`. */
  readonly interceptor: ServerInterceptor;
  /** Resolves once there is a policy to decide by; until then calls get UNAVAILABLE. Rejects when aborted or closed first. */
  ready(signal?: AbortSignal): Promise<void>;
  status(): GuardState;
  /** Reports what is left and disconnects. Calls are decided on what is known, as long as the policy allows. */
  close(): Promise<void>;
}

const SOFTWARE = "brevet-guard-js/0.1.0";

/** Guards a service: connects to the authority at once, and goes on until closed. @throws TypeError for an address that may not be used. */
export function guard(options: GuardOptions): Guard {
  return new GrpcGuard(options);
}

class GrpcGuard implements Guard {
  readonly interceptor: ServerInterceptor;
  readonly #audience: string;
  readonly #link: Link;
  readonly #decider: Decider;
  readonly #ready = Promise.withResolvers<void>();

  constructor(options: GuardOptions) {
    const { audience, authorityAudience = DEFAULT_AUTHORITY_AUDIENCE, clock = systemClock } = options;
    const logger = steadyLogger(options.logger ?? jsonLogger());
    if (audience === authorityAudience) throw new TypeError(`${audience} is the authority's own audience, and no service's`);
    this.#audience = audience;
    const decisions = new DecisionLog({ audience, newId });
    const recorder = new Recorder({ audience, newId, logger, decisions, ...(options.onDecision && { onDecision: options.onDecision }) });
    this.#decider = new Decider({ authorityAudience, now: () => this.#link.now(), use: (id, digest) => this.#link.use(id, digest) });
    this.#link = new Link({
      ...options,
      authorityAudience,
      form: "grpc",
      software: SOFTWARE,
      clock,
      newId,
      random: () => Math.random(),
      logger,
      decisions,
      onKnowledge: (knowledge) => this.#learn(knowledge),
    });
    watchAuthorization();
    this.interceptor = interceptorOf({ decider: this.#decider, recorder, decisions, logger, now: () => this.#link.now() });
    // Whoever never asks for readiness is not to be told of its failure by the process.
    this.#ready.promise.catch(() => {});
    this.#link.start();
  }

  ready(signal?: AbortSignal): Promise<void> {
    if (signal === undefined) return this.#ready.promise;
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(signal.reason as Error);
      if (signal.aborted) return abort();
      signal.addEventListener("abort", abort, { once: true });
      this.#ready.promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
    });
  }

  status(): GuardState {
    const knowledge = this.#decider.knowledge;
    const now = this.#link.now();
    const { connected, problem } = this.#link.status;
    return {
      ready: knowledge?.policy !== undefined,
      connected,
      ...(problem === undefined ? {} : { problem }),
      ...(knowledge?.policyProblem === undefined ? {} : { policyProblem: knowledge.policyProblem }),
      audience: this.#audience,
      policyVersion: knowledge?.policy?.version ?? 0n,
      epoch: knowledge?.epoch ?? "",
      revision: knowledge?.revision ?? 0n,
      elevations: knowledge?.size ?? 0,
      silentMs: knowledge === undefined || now === undefined ? Infinity : Math.max(0, now.authorityMs - knowledge.heardMs),
      clockErrorMs: now?.errorMs ?? Infinity,
    };
  }

  async close(): Promise<void> {
    this.#ready.reject(new Error("the guard was closed before it was ready"));
    await this.#link.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #learn(knowledge: Knowledge): void {
    this.#decider.adopt(knowledge);
    if (knowledge.policy !== undefined) this.#ready.resolve();
  }
}

function interceptorOf(options: EnforcementOptions): ServerInterceptor {
  return (definition, call) => {
    try {
      return guardedCall(options, definition, call);
    } catch {
      return refusedCall(call);
    }
  };
}

/** Not even the guard of this one call could be made. */
function refusedCall(call: ServerInterceptingCallInterface): ServerInterceptingCall {
  return new ServerInterceptingCall(call, {
    start: () => call.sendStatus({ code: code.INTERNAL, details: "GUARD_FAULT: the guard itself failed, and refused the call to be safe" }),
  });
}
