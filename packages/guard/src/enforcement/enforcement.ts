// What every form of guard has behind it: the link to the authority, the decision, the record, and the calls in hand.
// Owns the wiring of one guard; a form (grpc/, proxy/) brings calls. Never touches a transport of theirs.
import type { CompiledPolicy } from "@brevet/policy";
import { type Clock, DEFAULT_AUTHORITY_AUDIENCE, type EncodedStatus, newId, systemClock } from "@brevet/protocol";
import { isoTime } from "../core/call.ts";
import { Decider } from "../core/decide.ts";
import type { Knowledge } from "../core/knowledge.ts";
import { isStale } from "../core/verdict.ts";
import type { GuardTls, IdentitySource } from "../link/connection.ts";
import { DecisionLog } from "../link/decisions.ts";
import { Link } from "../link/link.ts";
import { type GuardLogger, jsonLogger, steadyLogger } from "../log/logger.ts";
import type { Probed } from "../probe/probe.ts";
import { EnforcedCall } from "./call.ts";
import { Endings } from "./endings.ts";
import { type CallMeans, type CallPort, type IncomingCall, LAST_RESORT } from "./port.ts";
import { type DecisionEvent, Recorder } from "./record.ts";
import { LiveStreams } from "./streams.ts";

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
  /**
   * A folder, the guard's own (made with mode 0700): it keeps what it knows there, and goes on from it after a restart, also while the
   * authority is away. Never tokens, grants, or the guard's identity. Without it a restart needs the authority.
   */
  readonly state?: string;
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
  /** Streams that are open now. */
  readonly streams: number;
  /** Where what is decided by comes from: the authority, or the state kept over a restart; absent while there is nothing. */
  readonly source?: "authority" | "snapshot";
  /** With `source: "snapshot"`: milliseconds since the authority had sent the newest of it. */
  readonly snapshotAgeMs?: number;
  /** While nothing elevated is permitted because the authority was silent for too long, or the time is not known: since when it was silent. ISO 8601. */
  readonly staleSince?: string;
  /** Milliseconds since the authority sent its newest message, on its clock. */
  readonly silentMs: number;
  /** Error of the estimate of the authority's time, milliseconds; Infinity before the first sample, and where no clock tells it any more. */
  readonly clockErrorMs: number;
}

const SOFTWARE = "brevet-guard-js/0.1.0";

/** The part of a guard that no transport knows. Connects to the authority at once, and goes on until closed. */
export class Enforcement {
  readonly #audience: string;
  readonly #means: CallMeans;
  readonly #link: Link;
  readonly #decider: Decider;
  readonly #streams: LiveStreams;
  readonly #endings: Endings;
  readonly #ready = Promise.withResolvers<void>();

  /** `form`: `grpc`, `proxy` …: what the authority shows. @throws TypeError for an address, audience or folder that may not be used. */
  constructor(options: GuardOptions, form: string) {
    const { audience, authorityAudience = DEFAULT_AUTHORITY_AUDIENCE, clock = systemClock } = options;
    const logger = steadyLogger(options.logger ?? jsonLogger());
    if (audience === authorityAudience) throw new TypeError(`${audience} is the authority's own audience, and no service's`);
    this.#audience = audience;
    const decisions = new DecisionLog({ audience, newId });
    const recorder = new Recorder({ audience, newId, logger, decisions, ...(options.onDecision && { onDecision: options.onDecision }) });
    this.#decider = new Decider({
      authorityAudience,
      now: () => this.#link.now(),
      settling: () => this.#link.settling(),
      use: (id, digest) => this.#link.use(id, digest),
    });
    this.#streams = new LiveStreams({ decider: this.#decider, clock, logger });
    this.#link = new Link({
      ...options,
      authorityAudience,
      form,
      software: SOFTWARE,
      clock,
      newId,
      random: () => Math.random(),
      logger,
      decisions,
      onKnowledge: (knowledge) => this.#learn(knowledge),
      onTime: () => this.#streams.look(),
    });
    const now = () => this.#link.now();
    this.#endings = new Endings({
      clock,
      logger,
      audience,
      now,
      knowledge: () => this.#decider.knowledge,
      streams: (elevation) => this.#streams.under(elevation),
    });
    this.#means = {
      decider: this.#decider,
      recorder,
      decisions,
      logger,
      streams: this.#streams,
      endings: this.#endings,
      now,
      probed: () => this.#probed(form, clock.wallMs()),
    };
    // Whoever never asks for readiness is not to be told of its failure by the process.
    this.#ready.promise.catch(() => {});
    this.#link.start();
  }

  /** Takes a call in hand; the form says `begin` when it is ready to be told. */
  call(incoming: IncomingCall, port: CallPort): EnforcedCall {
    return new EnforcedCall(this.#means, incoming, port);
  }

  /** How many messages a method takes and answers, as the policy's descriptors say; undefined: nothing is known of it. */
  methodKind(method: string): ReturnType<CompiledPolicy["methodKind"]> {
    return this.#decider.knowledge?.policy?.compiled.methodKind(method);
  }

  /** The status of a call that could not even be taken in hand. */
  faulty(error: unknown): EncodedStatus {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#means.logger.error({ error: text }, "the guard failed");
    return LAST_RESORT;
  }

  /** Resolves once there is a policy to decide by; until then calls get UNAVAILABLE. Rejects when aborted or closed first. */
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
    const { connected, problem, restoredMs } = this.#link.status;
    const policy = knowledge?.policy;
    const stale = knowledge !== undefined && policy !== undefined && now !== undefined && isStale(knowledge, policy, now);
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
      ...(knowledge === undefined ? {} : { source: restoredMs === undefined ? ("authority" as const) : ("snapshot" as const) }),
      ...(restoredMs === undefined || now === undefined ? {} : { snapshotAgeMs: Math.max(0, now.authorityMs - restoredMs) }),
      ...(stale ? { staleSince: isoTime(knowledge.heardMs) } : {}),
      streams: this.#streams.size,
      silentMs: knowledge === undefined || now === undefined ? Infinity : Math.max(0, now.authorityMs - knowledge.heardMs),
      clockErrorMs: now?.errorMs ?? Infinity,
    };
  }

  #probed(form: string, wallMs: number): Probed {
    const { instance } = this.#link;
    const { knowledge } = this.#decider;
    return { audience: this.#audience, form, instance, software: SOFTWARE, knowledge, now: this.#link.now(), wallMs };
  }

  async close(): Promise<void> {
    this.#ready.reject(new Error("the guard was closed before it was ready"));
    this.#endings.close();
    await this.#link.close();
  }

  /** What this ends is ended when it returns: only then is it acknowledged. */
  #learn(knowledge: Knowledge): void {
    const before = this.#decider.knowledge;
    this.#decider.adopt(knowledge);
    if (before === knowledge) this.#streams.look();
    else {
      before?.watch(undefined);
      knowledge.watch(this.#streams);
      this.#streams.terms();
    }
    if (knowledge.policy !== undefined) this.#ready.resolve();
  }
}
