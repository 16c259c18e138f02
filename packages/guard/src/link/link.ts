// The link to the authority: one Sync stream, kept open, resumed when it breaks; knowledge and time down, acknowledgements and decisions up.
// Owns reconnecting, and what is kept for a restart. Never decides a call, and never keeps one waiting but for its first use.
import { type Clock, type NewId, sleep, type TimeEstimate, type Timer } from "@brevet/protocol";
import { LogPositionSchema } from "@brevet/protocol/brevet/v1/elevation";
import {
  type GuardServiceSyncRequest,
  GuardServiceSyncRequestSchema,
  type GuardServiceSyncResponse,
} from "@brevet/protocol/brevet/v1/guard";
import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type { Used } from "../core/decide.ts";
import type { Knowledge } from "../core/knowledge.ts";
import type { GuardLogger } from "../log/logger.ts";
import { StateKeeper } from "../state/state.ts";
import { Acknowledger } from "./acknowledge.ts";
import { RefusedLog } from "./checkpoint.ts";
import { type Connection, type ConnectionOptions, connect } from "./connection.ts";
import type { DecisionLog } from "./decisions.ts";
import { type Failure, failureOf } from "./failure.ts";
import { Intake } from "./intake.ts";
import { Outbox } from "./outbox.ts";
import { AuthorityTime } from "./time.ts";
import { useElevation } from "./use.ts";

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
  /** The time was learnt anew, after a sleep of the machine: what waits for an instant has to look again. */
  readonly onTime?: () => void;
  /** Folder to keep what is known in, for a restart. */
  readonly state?: string;
}

/** How the link stands. */
export interface LinkStatus {
  readonly connected: boolean;
  /** What is in the way; absent where nothing is. */
  readonly problem?: string;
  /** When the authority had sent what is decided by, on its clock, if that was read from the disk; milliseconds since 1970. */
  readonly restoredMs?: number;
}

const BACKOFF_FIRST_MS = 250;
const BACKOFF_MOST_MS = 15_000;
const PROBES_AT_START = 4;
const PROBE_EVERY_MS = 10_000;
/** At first more often: a clock that runs wrong shows early. */
const PROBES_OFTEN_MS = 5000;
const FLUSH_EVERY_MS = 500;
/** Heartbeats come every 15 s at the latest. */
const SILENT_MS = 40_000;
/** A connection that answers no probe after a sleep of the machine was given up by the other side. */
const WAKE_MS = 700;
const FORGET_EVERY_MS = 60_000;
const CLOSE_GRACE_MS = 500;
const CHECKPOINT_TIMEOUT_MS = 5000;

type SyncMessage = GuardServiceSyncRequest["message"];

/** Keeps one guard in step with the authority until closed. */
export class Link {
  readonly #options: LinkOptions;
  readonly #connection: Connection;
  readonly #intake: Intake;
  readonly #time: AuthorityTime;
  readonly #acknowledger: Acknowledger;
  readonly #keeper: StateKeeper | undefined;
  #restoredMs: number | undefined;
  readonly #abort = new AbortController();
  readonly #instance: string;
  #outbox: Outbox<GuardServiceSyncRequest> | undefined;
  #running: Promise<void> | undefined;
  #connected = false;
  #problem: string | undefined;
  #logged = "";
  #adopted: Knowledge | undefined;
  #heardAtMs = 0;
  #probedAtMs = 0;
  #forgotAtMs = 0;
  #closing = false;
  /** The machine slept: the connection is made anew at once. */
  #awoken = false;
  #watchdog: AbortController | undefined;
  #linkedAtMs = 0;
  #ticking: Timer | undefined;
  #streamEnded: Promise<void> = Promise.resolve();

  /** @throws TypeError for an address or a folder that may not be used. */
  constructor(options: LinkOptions) {
    const { clock, audience, logger } = options;
    this.#options = options;
    this.#connection = connect(options);
    this.#instance = options.newId("gud");
    this.#intake = new Intake({
      ...options,
      complete: (knowledge) => this.#complete(knowledge),
      onChange: (change) => this.#keeper?.changed(change),
    });
    this.#time = new AuthorityTime({ clock, onDoubt: (partedMs) => this.#doubt(partedMs), onSettled: () => options.onTime?.() });
    this.#acknowledger = new Acknowledger({
      enforced: () => (this.#adopted === this.#intake.current ? this.#adopted : undefined),
      now: () => this.now(),
      wallMs: () => clock.wallMs(),
      saved: () => this.#keeper?.saved() ?? Promise.resolve(true),
      send: (value) => this.#send(() => ({ case: "acknowledgement", value })),
    });
    if (options.state === undefined) return;
    const intake = this.#intake;
    this.#keeper = new StateKeeper({
      folder: options.state,
      owner: { audience, authority: new URL(options.authority).origin },
      instance: this.#instance,
      clock,
      logger,
      source: {
        whole: () => intake.whole(),
        heard: () => intake.heard(),
        mark: () => this.#time.mark(),
        pin: () => intake.checkpoint.pin,
      },
    });
  }

  /** Goes on from what was kept, if anything was; connects, and goes on until closed. */
  start(): void {
    if (this.#running !== undefined) return;
    this.#restore();
    this.#running = this.#run();
    const { clock } = this.#options;
    const tick = (): void => {
      this.#tick();
      this.#ticking = clock.after(FLUSH_EVERY_MS, tick);
    };
    this.#ticking = clock.after(FLUSH_EVERY_MS, tick);
  }

  /** Random, one for each process. */
  get instance(): string {
    return this.#instance;
  }

  get status(): LinkStatus {
    const problem = this.#problem ?? this.#keeper?.problem;
    return {
      connected: this.#connected,
      ...(problem === undefined ? {} : { problem }),
      ...(this.#restoredMs === undefined ? {} : { restoredMs: this.#restoredMs }),
    };
  }

  /** The authority's time; undefined before the first sample. Its error is Infinity where nothing tells the time any more. */
  now(): TimeEstimate | undefined {
    return this.#time.now();
  }

  /** After a sleep of the machine, while a fresh sample is waited for: resolves with it, or after two seconds. */
  settling(): Promise<void> | undefined {
    return this.#time.settling();
  }

  /** Starts an elevation's window, or uses up an approval. */
  use(id: string, payloadDigest?: Uint8Array): Promise<Used> {
    const { newId, authority, logger } = this.#options;
    const use = { requestId: newId("req"), id, ...(payloadDigest && { payloadDigest }) };
    return useElevation(use, { connection: this.#connection, authority, logger, signal: this.#abort.signal });
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
    this.#ticking?.cancel();
    await this.#keeper?.close();
    this.#time.close();
  }

  #restore(): void {
    const { logger } = this.#options;
    const state = this.#keeper?.read();
    if (state === undefined) return;
    const problem = this.#time.restore(state.mark);
    this.#intake.restore(state.messages, state.pin);
    const known = this.#intake.current;
    this.#restoredMs = known?.heardMs ?? 0;
    const where = { epoch: known?.epoch, revision: String(known?.revision), heard: new Date(this.#restoredMs).toISOString() };
    logger.info(where, "the guard goes on from what it kept");
    if (problem !== undefined)
      logger.error({ problem }, "nobody can tell the time: elevated calls are refused until the authority is there");
  }

  async #run(): Promise<void> {
    const { clock, random, logger, authority } = this.#options;
    const { signal } = this.#abort;
    let attempt = 0;
    while (!signal.aborted && !this.#closing) {
      const before = clock.monotonicMs();
      const stream = this.#stream(signal);
      this.#streamEnded = settled(stream);
      let failure: Failure;
      try {
        await stream;
        failure = { cause: "the authority ended the stream", fix: "none: it is connected to again", code: Code.Unavailable };
      } catch (error) {
        failure = error instanceof RefusedLog ? refusalOf(error) : failureOf(error, authority);
      }
      this.#connected = false;
      this.#outbox?.end();
      this.#outbox = undefined;
      if (signal.aborted || this.#closing) break;
      this.#problem = `${failure.cause}; ${failure.fix}`;
      // A stream that lasted was a good one: the next attempt starts from the first step again.
      attempt = this.#awoken || clock.monotonicMs() - before > BACKOFF_MOST_MS ? 0 : attempt + 1;
      if (this.#logged !== this.#problem) {
        this.#logged = this.#problem;
        const { cause, fix, reason } = failure;
        const about = { authority, cause, fix, ...(reason && { reason }) };
        if (failure.code === Code.DataLoss) logger.error(about, "the authority's log is refused: this guard goes on with what it knows");
        else logger.warn(about, "no link to the authority");
      }
      if (this.#awoken) {
        this.#awoken = false;
        continue;
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
    this.#acknowledger.restart();
    const { clock } = this.#options;
    const watchdog = new AbortController();
    this.#watchdog = watchdog;
    this.#send(() => ({ case: "hello", value: this.#hello() }));
    this.#heardAtMs = clock.monotonicMs();
    const responses = this.#connection.guards.sync(outbox, { signal: AbortSignal.any([signal, watchdog.signal]) });
    for await (const response of responses) this.#receive(response);
  }

  #hello() {
    const { audience, form, software } = this.#options;
    const { current: known, checkpoint } = this.#intake;
    const root = known && checkpoint.rootAt(known);
    return {
      $typeName: "brevet.v1.GuardHello" as const,
      audience,
      form,
      instance: this.#instance,
      software,
      checkpoint: checkpoint.note,
      ...(known && { after: create(LogPositionSchema, { epoch: known.epoch, revision: known.revision, ...(root && { root }) }) }),
    };
  }

  #receive(response: GuardServiceSyncResponse): void {
    const { clock, decisions } = this.#options;
    const arrivedMs = clock.monotonicMs();
    this.#heardAtMs = arrivedMs;
    if (response.message.case === "welcome") {
      for (let i = 0; i < PROBES_AT_START; i += 1) this.#probe();
      const again = decisions.again();
      if (again !== undefined) this.#send(() => ({ case: "decisions", value: again }));
    }
    if (response.message.case === "timeSample") {
      const { sent, received, answered } = response.message.value;
      if (received && answered) this.#time.sample(Number(sent) / 1e6, timestampMs(received), timestampMs(answered), arrivedMs);
    }
    if (response.message.case === "decisionsTaken") {
      decisions.confirmed(response.message.value.sequence);
      if (decisions.size > 0) this.#flush();
    }
    if (this.#intake.apply(response)) this.#linked(arrivedMs);
    this.#acknowledger.soon();
  }

  /** The stream has caught up, and its log is the one that is known. */
  #linked(nowMs: number): void {
    const { logger, authority } = this.#options;
    this.#connected = true;
    this.#linkedAtMs = nowMs;
    this.#problem = undefined;
    if (this.#logged !== "") logger.info({ authority }, "linked to the authority again");
    this.#logged = "";
    void this.#trustCheckpoints();
  }

  /** The key of the log's checkpoints is asked for once per epoch, and believed from then on. */
  async #trustCheckpoints(): Promise<void> {
    const { checkpoint } = this.#intake;
    if (checkpoint.note === "" || checkpoint.pin !== "") return;
    try {
      const { verifierKey } = await this.#connection.logs.getCheckpoint(
        {},
        { timeoutMs: CHECKPOINT_TIMEOUT_MS, signal: this.#abort.signal },
      );
      if (checkpoint.trust(verifierKey)) this.#keeper?.renew();
      else
        this.#options.logger.error({ note: checkpoint.note }, "the log's checkpoint is not signed with the key that the authority names");
    } catch {
      // It is asked for again.
    }
  }

  /** The machine slept, or its clock stepped: whether the connection still stands is seen by the answers to probes. */
  #doubt(partedMs: number): void {
    const { clock, logger } = this.#options;
    logger.warn(
      { partedMs: Math.round(partedMs) },
      "this machine slept, or its clock stepped: elevated calls wait for the authority's time",
    );
    for (let i = 0; i < PROBES_AT_START; i += 1) this.#probe();
    const watchdog = this.#watchdog;
    clock.after(WAKE_MS, () => {
      if (this.#time.settling() === undefined || watchdog !== this.#watchdog) return;
      this.#awoken = true;
      this.#connection.reset();
      watchdog?.abort(new Error("the connection did not outlive the machine's sleep"));
    });
  }

  /** Complete, and the time is known: decide by it. */
  #complete(knowledge: Knowledge): void {
    if (this.now() === undefined) return;
    if (this.#running !== undefined) {
      this.#restoredMs = undefined;
      if (this.#adopted !== knowledge || this.#keeper?.keeps === false) this.#keeper?.renew();
    }
    this.#adopted = knowledge;
    this.#options.onKnowledge(knowledge);
  }

  #probe(): void {
    const { clock } = this.#options;
    this.#probedAtMs = clock.monotonicMs();
    this.#send(() => ({
      case: "timeProbe",
      value: { $typeName: "brevet.v1.TimeProbe", sent: BigInt(Math.round(clock.monotonicMs() * 1e6)) },
    }));
  }

  #tick(): void {
    const nowMs = this.#options.clock.monotonicMs();
    // Notices a sleep of the machine, also where no call comes.
    const authorityMs = this.now()?.authorityMs;
    if (this.#outbox !== undefined && nowMs - this.#heardAtMs > SILENT_MS)
      this.#watchdog?.abort(new Error("the authority was silent for longer than it may be"));
    if (!this.#connected) return;
    this.#keeper?.tick();
    const often = this.#time.wanted || nowMs - this.#linkedAtMs < PROBES_OFTEN_MS;
    if (often || nowMs - this.#probedAtMs > PROBE_EVERY_MS) this.#probe();
    this.#flush();
    this.#acknowledger.soon();
    if (nowMs - this.#forgotAtMs < FORGET_EVERY_MS || authorityMs === undefined) return;
    this.#forgotAtMs = nowMs;
    void this.#trustCheckpoints();
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

function refusalOf({ message, fix }: RefusedLog): Failure {
  return { cause: `the authority's log is no successor of the one that this guard knows: ${message}`, fix, code: Code.DataLoss };
}

/** When it ended, however. */
async function settled(work: Promise<void>): Promise<void> {
  await Promise.allSettled([work]);
}
