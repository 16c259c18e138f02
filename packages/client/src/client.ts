// A caller's way to the authority: ask, wait, get grants. Wires the one connection, the one watch, the questions and the grants of a process.
// Never calls a guarded service: that is grpc/.
import { type Clock, type NewId, newId, systemClock } from "@brevet/protocol";
import {
  type Elevation,
  type ElevationServiceRequestRequest,
  ElevationServiceRequestRequestSchema,
  type ElevationServiceRequestResponse,
} from "@brevet/protocol/brevet/v1/elevation";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type FollowOptions, type Pursuit, Question } from "./asking/question.ts";
import { type Connection, type ConnectionOptions, openConnection } from "./connection/connection.ts";
import { AuthorityError } from "./connection/failure.ts";
import type { ClientLogger } from "./connection/logger.ts";
import { type Outage, Outages } from "./connection/outage.ts";
import { persist } from "./connection/retry.ts";
import { Grants, type GrantWish } from "./grants/grants.ts";
import { type Report, Reports } from "./reports/reports.ts";
import type { WaitResult } from "./watch/outcome.ts";
import { untilSettled } from "./watch/wait.ts";
import { Watch } from "./watch/watch.ts";

export type { FollowOptions } from "./asking/question.ts";
export type { ConnectionOptions, IdentitySource, TlsOptions } from "./connection/connection.ts";
export { AuthorityError, IdentityFailure } from "./connection/failure.ts";
export type { ClientLogger } from "./connection/logger.ts";
export type { Outage } from "./connection/outage.ts";
export type { GrantWish } from "./grants/grants.ts";
export type { Report } from "./reports/reports.ts";
export { isApproved, isSettled, type WaitResult } from "./watch/outcome.ts";

/** Where the authority is, who asks, and how patient to be. */
export interface AuthorityOptions extends ConnectionOptions {
  readonly logger?: ClientLogger;
  /** How long a single call is tried again while the authority cannot be reached; 5 s unless told. */
  readonly patienceMs?: number;
  readonly clock?: Clock;
  readonly newId?: NewId;
  /** In [0, 1), for jitter. */
  readonly random?: () => number;
}

/** What to ask for. `requestId` is chosen where it is missing; `audience` and `method` are needed. */
export type Ask = MessageInitShape<typeof ElevationServiceRequestRequestSchema>;

const CALL_TIMEOUT_MS = 10_000;
const PATIENCE_MS = 5000;

/** Prepares a session; nothing is sent before it is used. Throws TypeError for a URL that no token may be sent to. */
export function connectAuthority(options: AuthorityOptions): AuthoritySession {
  return new AuthoritySession(options);
}

/**
 * One caller's session with one authority. All methods reject with {@link AuthorityError} where the authority refuses or cannot be
 * reached, with IdentityFailure where there is no token, and with the signal's reason when that is aborted.
 */
export class AuthoritySession implements Disposable {
  /** The authority's origin. */
  readonly url: string;
  readonly #connection: Connection;
  readonly #watch: Watch;
  readonly #grants: Grants;
  readonly #questions = new Map<string, Question>();
  readonly #pace: { readonly clock: Clock; readonly random: () => number };
  readonly #newId: NewId;
  readonly #patienceMs: number;
  readonly #outages: Outages;
  readonly #reports: Reports;
  readonly #closing = new AbortController();

  constructor(options: AuthorityOptions) {
    const { clock = systemClock, random = Math.random, logger } = options;
    this.#connection = openConnection(options, clock);
    this.url = this.#connection.url;
    this.#pace = { clock, random };
    this.#newId = options.newId ?? newId;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#outages = new Outages(clock);
    const { api } = this.#connection;
    const outages = this.#outages;
    this.#reports = new Reports({ ...this.#pace, send: (reports, dropped) => this.#report(reports, dropped) });
    this.#watch = new Watch({ ...this.#pace, logger, outages, open: (request, signal) => api.watch(request, { signal }) });
    this.#grants = new Grants({
      ...this.#pace,
      logger,
      issue: (id) => {
        const requestId = this.#newId("req");
        return this.#persist((signal) => api.issueGrant({ requestId, id }, { signal, timeoutMs: CALL_TIMEOUT_MS }));
      },
    });
  }

  /** Asks once, or finds what the same question opened before. Tried again with the same idempotency id while the authority is away. */
  request(ask: Ask, options: { readonly signal?: AbortSignal } = {}): Promise<ElevationServiceRequestResponse> {
    const message = create(ElevationServiceRequestRequestSchema, ask);
    if (message.requestId === "") message.requestId = this.#newId("req");
    return this.#persist((signal) => this.#connection.api.request(message, { signal, timeoutMs: CALL_TIMEOUT_MS }), options.signal);
  }

  /** One elevation as it is now. */
  async get(elevationId: string, options: { readonly signal?: AbortSignal } = {}): Promise<Elevation> {
    const call = (signal: AbortSignal) => this.#connection.api.get({ id: elevationId }, { signal, timeoutMs: CALL_TIMEOUT_MS });
    return present((await this.#persist(call, options.signal)).elevation);
  }

  /** Starts the window of an approved elevation; one that runs is answered as it is. */
  async start(elevationId: string, options: { readonly signal?: AbortSignal } = {}): Promise<Elevation> {
    const message = { id: elevationId, requestId: this.#newId("req") };
    const call = (signal: AbortSignal) => this.#connection.api.start(message, { signal, timeoutMs: CALL_TIMEOUT_MS });
    return present((await this.#persist(call, options.signal)).elevation);
  }

  /** A good grant of an ACTIVE elevation: the one in hand, or a new one. Do not log it. */
  issueGrant(elevationId: string, wish: GrantWish = {}): Promise<string> {
    return this.#grants.get(elevationId, wish);
  }

  /** The grant in hand, without asking anybody; renewed in the background when its end comes near. */
  grantInHand(elevationId: string): string | undefined {
    return this.#grants.inHand(elevationId);
  }

  /** Waits until an elevation is ACTIVE, approved for its first use, or final; `known` is how it stood. Survives restarts of the authority. */
  wait(elevationId: string, options: FollowOptions & { readonly known?: Elevation } = {}): Promise<WaitResult> {
    const { known } = options;
    const start = known === undefined ? { id: elevationId } : { id: elevationId, known: { elevation: known, position: undefined } };
    const pursue: Pursuit = (signal, publish) => untilSettled(start, this.#waitMeans, signal, publish);
    return this.#follow(`id ${elevationId}`, pursue, options);
  }

  /** Asks and waits. The same question of several callers in this process is asked once, for as long as one of them waits. */
  obtain(ask: Ask, options: FollowOptions = {}): Promise<WaitResult> {
    const message = create(ElevationServiceRequestRequestSchema, { ...ask, waiting: true });
    const pursue: Pursuit = async (signal, publish) => {
      const answer = await this.request(message, { signal });
      const elevation = present(answer.elevation);
      return untilSettled({ id: elevation.id, known: { elevation, position: answer.position } }, this.#waitMeans, signal, publish);
    };
    return this.#follow(sameness(message), pursue, options);
  }

  /**
   * Hears when the authority cannot be reached, with each try that fails, and `undefined` when it answers again; judged by the calls that are
   * made anyway. Returns how to stop. Must not throw.
   */
  onOutage(listener: (outage: Outage | undefined) => void): () => void {
    return this.#outages.listen(listener);
  }

  /**
   * Tells the authority what a call saw of its refusal, with the next call that is made; `promptly`: by itself a few seconds later, if none
   * comes. Returns at once, and never fails.
   */
  report(report: Report, promptly: boolean): void {
    this.#reports.add(report, promptly);
  }

  /** Whether the watch is open. */
  get watching(): boolean {
    return this.#watch.open;
  }

  /** Ends every wait and the connection; the session is of no use after it. */
  close(): void {
    const reason = new Error("the session with the authority was closed");
    this.#closing.abort(reason);
    this.#reports.close();
    for (const question of this.#questions.values()) question.end(reason);
    this.#connection.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #waitMeans() {
    return { ...this.#pace, watch: this.#watch, get: (id: string, signal: AbortSignal) => this.get(id, { signal }) };
  }

  /** Once, without patience: it is of use only, and may be lost. False: this authority takes none. */
  async #report(reports: Report[], dropped: bigint): Promise<boolean> {
    try {
      await this.#connection.api.report({ reports, dropped }, { signal: this.#closing.signal, timeoutMs: CALL_TIMEOUT_MS });
    } catch (error) {
      const failure = AuthorityError.from(error);
      if (!(failure instanceof AuthorityError) || failure.transient) throw failure;
      return false;
    }
    return true;
  }

  #follow(key: string, pursue: Pursuit, options: FollowOptions): Promise<WaitResult> {
    // A question starts at once: whoever has left already must not ask it.
    if (options.signal?.aborted) return Promise.reject(options.signal.reason as Error);
    return this.#question(key, pursue).follow(options);
  }

  #question(key: string, pursue: Pursuit): Question {
    const open = this.#questions.get(key);
    if (open !== undefined) return open;
    const question: Question = new Question(pursue, this.#pace.clock, () => {
      if (this.#questions.get(key) === question) this.#questions.delete(key);
    });
    this.#questions.set(key, question);
    return question;
  }

  /** One signal where one does: a signal that follows two costs more than the rest of a waiting call. */
  async #persist<T>(call: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const closing = this.#closing.signal;
    closing.throwIfAborted();
    this.#reports.flush();
    return persist((each) => this.#outages.observe(call(each), each), this.#pace, this.#patienceMs, signal ?? closing, closing);
  }
}

/** Two asks with the same bytes are the same question. A payload counts by its digest. */
function sameness(message: ElevationServiceRequestRequest): string {
  const { report: _, ...question } = message;
  const bytes = toBinary(
    ElevationServiceRequestRequestSchema,
    create(ElevationServiceRequestRequestSchema, { ...question, payload: new Uint8Array(), requestId: "" }),
  );
  return `ask ${Buffer.from(bytes).toString("base64")}`;
}

function present(elevation: Elevation | undefined): Elevation {
  if (elevation === undefined)
    throw new AuthorityError({ code: 13, message: "the answer has no elevation", metadata: {}, help: [], fieldViolations: [] });
  return elevation;
}
