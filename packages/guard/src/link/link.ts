// The link to the authority: one Sync stream, kept open, resumed when it breaks; knowledge and time down, acknowledgements and decisions up.
// Owns reconnecting and the estimate of the authority's time. Never decides a call, and never keeps one waiting but for its first use.
import { type Clock, catalogue, type NewId, OffsetEstimator, sleep, type TimeEstimate, type Timer } from "@brevet/protocol";
import {
  type GuardServiceSyncRequest,
  GuardServiceSyncRequestSchema,
  type GuardServiceSyncResponse,
} from "@brevet/protocol/brevet/v1/guard";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type { Used } from "../core/decide.ts";
import type { Knowledge } from "../core/knowledge.ts";
import type { GuardLogger } from "../log/logger.ts";
import { type Connection, type ConnectionOptions, connect } from "./connection.ts";
import type { DecisionLog } from "./decisions.ts";
import { failureOf, isBroken } from "./failure.ts";
import { Intake } from "./intake.ts";
import { Outbox } from "./outbox.ts";

/** What a link is made with. */
export interface LinkOptions extends ConnectionOptions {
  readonly audience: string;
  /** `grpc`, `proxy` … */
  readonly form: string;
  readonly software: string;
  readonly clock: Clock;
  readonly newId: NewId;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  readonly logger: GuardLogger;
  readonly decisions: DecisionLog;
  /** Called with the knowledge to decide by, whenever it has changed: the same, or another that replaces it. */
  readonly onKnowledge: (knowledge: Knowledge) => void;
}

/** How the link stands. */
export interface LinkStatus {
  readonly connected: boolean;
  /** Why not; absent while connected. */
  readonly problem?: string;
}

const BACKOFF_FIRST_MS = 250;
const BACKOFF_MOST_MS = 15_000;
const PROBES_AT_START = 4;
const PROBE_EVERY_MS = 10_000;
const FLUSH_EVERY_MS = 500;
/** Heartbeats come every 15 s at the latest. */
const SILENT_MS = 40_000;
const USE_TIMEOUT_MS = 5000;
const FORGET_EVERY_MS = 60_000;
const CLOSE_GRACE_MS = 500;

type SyncMessage = GuardServiceSyncRequest["message"];

/** Keeps one guard in step with the authority until closed. */
export class Link {
  readonly #options: LinkOptions;
  readonly #connection: Connection;
  readonly #intake: Intake;
  readonly #estimator = new OffsetEstimator();
  readonly #abort = new AbortController();
  readonly #instance: string;
  #outbox: Outbox<GuardServiceSyncRequest> | undefined;
  #running: Promise<void> | undefined;
  #connected = false;
  #problem: string | undefined;
  #logged = "";
  #adopted: Knowledge | undefined;
  #acknowledged = "";
  #ackQueued = false;
  #heardAtMs = 0;
  #probedAtMs = 0;
  #forgotAtMs = 0;
  #closing = false;
  #streamEnded: Promise<void> = Promise.resolve();

  /** @throws TypeError for an address that may not be used. */
  constructor(options: LinkOptions) {
    this.#options = options;
    this.#connection = connect(options);
    this.#instance = options.newId("gud");
    this.#intake = new Intake({ ...options, complete: (knowledge) => this.#complete(knowledge) });
  }

  /** Connects, and goes on until closed. */
  start(): void {
    this.#running ??= this.#run();
  }

  get status(): LinkStatus {
    return { connected: this.#connected, ...(this.#problem === undefined ? {} : { problem: this.#problem }) };
  }

  /** The authority's time; undefined before the first sample. */
  now(): TimeEstimate | undefined {
    return this.#estimator.estimate(this.#options.clock.monotonicMs());
  }

  /** Starts an elevation's window, or uses up an approval. One repeat if the connection broke: the request id makes it safe. */
  async use(id: string, payloadDigest?: Uint8Array): Promise<Used> {
    const request = { requestId: this.#options.newId("req"), id, ...(payloadDigest && { payloadDigest }) };
    for (let attempt = 0; ; attempt += 1) {
      try {
        const { elevation } = await this.#connection.elevations.start(request, { timeoutMs: USE_TIMEOUT_MS, signal: this.#abort.signal });
        if (elevation !== undefined) return { ok: true, elevation };
        return { ok: false, reason: "AUTHORITY_UNREACHABLE", problem: "the authority answered nothing" };
      } catch (error) {
        const failure = failureOf(error, this.#options.authority);
        if (isBroken(failure.code) && failure.reason === undefined && attempt === 0 && !this.#abort.signal.aborted) continue;
        const { reason } = failure;
        if (reason !== undefined && (reason.startsWith("ELEVATION_") || reason === "GRANT_PAYLOAD_MISMATCH"))
          return { ok: false, reason, problem: catalogue[reason].what };
        this.#options.logger.warn(
          { elevation: id, cause: failure.cause, fix: failure.fix },
          "the first use of an elevation could not be told to the authority",
        );
        return { ok: false, reason: "AUTHORITY_UNREACHABLE", problem: "the first use could not be told to the authority" };
      }
    }
  }

  /** Sends what is left of the decisions, ends the stream and the connection. */
  async close(): Promise<void> {
    if (this.#outbox !== undefined && this.#connected) {
      this.#flushAll();
      this.#outbox.end();
      const { clock } = this.#options;
      let grace: Timer | undefined;
      const waited = new Promise<void>((resolve) => {
        grace = clock.after(CLOSE_GRACE_MS, resolve, { hold: true });
      });
      this.#closing = true;
      await Promise.race([this.#streamEnded, waited]);
      grace?.cancel();
    }
    this.#abort.abort();
    this.#connection.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, logger, authority } = this.#options;
    const { signal } = this.#abort;
    let attempt = 0;
    while (!signal.aborted && !this.#closing) {
      const before = clock.monotonicMs();
      const stream = this.#stream(signal);
      this.#streamEnded = settled(stream);
      let failure: ReturnType<typeof failureOf>;
      try {
        await stream;
        failure = { cause: "the authority ended the stream", fix: "none: it is connected to again", code: Code.Unavailable };
      } catch (error) {
        failure = failureOf(error, authority);
      }
      this.#connected = false;
      this.#outbox?.end();
      this.#outbox = undefined;
      if (signal.aborted || this.#closing) break;
      this.#problem = `${failure.cause}; ${failure.fix}`;
      // A stream that lasted was a good one: the next attempt starts from the first step again.
      attempt = clock.monotonicMs() - before > BACKOFF_MOST_MS ? 0 : attempt + 1;
      if (this.#logged !== this.#problem) {
        this.#logged = this.#problem;
        logger.warn(
          { authority, cause: failure.cause, fix: failure.fix, ...(failure.reason && { reason: failure.reason }) },
          "no link to the authority",
        );
      }
      // Full jitter: many guards that lost the same authority come back spread out.
      const delayMs = random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 10));
      try {
        await sleep(clock, delayMs, signal);
      } catch {
        break;
      }
    }
  }

  async #stream(signal: AbortSignal): Promise<void> {
    const outbox = new Outbox<GuardServiceSyncRequest>();
    this.#outbox = outbox;
    this.#acknowledged = "";
    const { clock } = this.#options;
    const watchdog = new AbortController();
    this.#send(() => ({ case: "hello", value: this.#hello() }));
    this.#heardAtMs = clock.monotonicMs();
    let ticking: Timer | undefined;
    const tick = (): void => {
      this.#tick(watchdog);
      ticking = clock.after(FLUSH_EVERY_MS, tick);
    };
    ticking = clock.after(FLUSH_EVERY_MS, tick);
    try {
      const responses = this.#connection.guards.sync(outbox, { signal: AbortSignal.any([signal, watchdog.signal]) });
      for await (const response of responses) this.#receive(response);
    } finally {
      ticking.cancel();
    }
  }

  #hello() {
    const { audience, form, software } = this.#options;
    const known = this.#intake.current;
    return {
      $typeName: "brevet.v1.GuardHello" as const,
      audience,
      form,
      instance: this.#instance,
      software,
      checkpoint: this.#intake.checkpoint,
      ...(known && { after: { $typeName: "brevet.v1.LogPosition" as const, epoch: known.epoch, revision: known.revision } }),
    };
  }

  #receive(response: GuardServiceSyncResponse): void {
    const { clock, logger, authority } = this.#options;
    const arrivedMs = clock.monotonicMs();
    this.#heardAtMs = arrivedMs;
    if (response.message.case === "welcome") {
      for (let i = 0; i < PROBES_AT_START; i += 1) this.#probe();
      this.#connected = true;
      const again = this.#options.decisions.unconfirmed;
      if (again !== undefined) this.#send(() => ({ case: "decisions", value: again }));
      this.#problem = undefined;
      if (this.#logged !== "") logger.info({ authority }, "linked to the authority again");
      this.#logged = "";
    }
    if (response.message.case === "timeSample") {
      const { sent, received, answered } = response.message.value;
      if (received && answered) this.#estimator.sample(Number(sent) / 1e6, timestampMs(received), timestampMs(answered), arrivedMs);
    }
    if (response.message.case === "decisionsTaken") {
      this.#options.decisions.confirmed(response.message.value.sequence);
      if (this.#options.decisions.size > 0) this.#flush();
    }
    this.#intake.apply(response);
    this.#acknowledge();
  }

  /** Complete, and the time is known: decide by it. */
  #complete(knowledge: Knowledge): void {
    if (this.now() === undefined) return;
    this.#adopted = knowledge;
    this.#options.onKnowledge(knowledge);
  }

  /** Once per turn of the loop, however many entries came in it. */
  #acknowledge(): void {
    if (this.#ackQueued || this.#adopted === undefined || this.#adopted !== this.#intake.current) return;
    const { epoch, revision, policy } = this.#adopted;
    if (`${epoch}/${revision}/${policy?.version}` === this.#acknowledged) return;
    this.#ackQueued = true;
    setImmediate(() => {
      this.#ackQueued = false;
      const known = this.#adopted;
      if (known === undefined) return;
      this.#acknowledged = `${known.epoch}/${known.revision}/${known.policy?.version}`;
      this.#send(() => ({ case: "acknowledgement", value: this.#acknowledgement(known) }));
    });
  }

  #acknowledgement(known: Knowledge) {
    const now = this.now();
    const offsetMs = now === undefined ? 0 : now.authorityMs - this.#options.clock.wallMs();
    return {
      $typeName: "brevet.v1.GuardAcknowledgement" as const,
      position: { $typeName: "brevet.v1.LogPosition" as const, epoch: known.epoch, revision: known.revision },
      policyVersion: known.policy?.version ?? 0n,
      clockOffset: durationFromMs(Math.round(offsetMs)),
      clockError: durationFromMs(Math.ceil(now?.errorMs ?? 0)),
    };
  }

  #probe(): void {
    const { clock } = this.#options;
    this.#probedAtMs = clock.monotonicMs();
    this.#send(() => ({
      case: "timeProbe",
      value: { $typeName: "brevet.v1.TimeProbe", sent: BigInt(Math.round(clock.monotonicMs() * 1e6)) },
    }));
  }

  #tick(watchdog: AbortController): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#heardAtMs > SILENT_MS) watchdog.abort(new Error("the authority was silent for longer than it may be"));
    if (!this.#connected) return;
    if (nowMs - this.#probedAtMs > PROBE_EVERY_MS) this.#probe();
    this.#flush();
    const authorityMs = this.now()?.authorityMs;
    if (nowMs - this.#forgotAtMs < FORGET_EVERY_MS || authorityMs === undefined) return;
    this.#forgotAtMs = nowMs;
    this.#intake.current?.forgetEnded(authorityMs);
  }

  #flush(): void {
    const batch = this.#options.decisions.take();
    if (batch !== undefined) this.#send(() => ({ case: "decisions", value: batch }));
  }

  /** At the end nothing is waited for: what is left goes out behind what is on its way. */
  #flushAll(): void {
    const { decisions } = this.#options;
    do {
      if (decisions.unconfirmed !== undefined) decisions.confirmed(decisions.unconfirmed.sequence);
      this.#flush();
    } while (decisions.unconfirmed !== undefined && decisions.size > 0);
  }

  #send(make: () => SyncMessage): void {
    this.#outbox?.push(() => create(GuardServiceSyncRequestSchema, { message: make() }));
  }
}

/** When it ended, however. */
async function settled(work: Promise<void>): Promise<void> {
  await Promise.allSettled([work]);
}
