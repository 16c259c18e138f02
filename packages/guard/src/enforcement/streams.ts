// The live streams of a guard, and what ends or changes them: the clock, an elevation that is not what it was, another policy.
// Owns who is judged again when, with one timer for all of them. Never decides: the core does; never touches a transport: calls do.
import type { Clock, TimeEstimate, Timer } from "@brevet/protocol";
import type { GuardedCall, GuardPermit, GuardRefusal } from "../core/call.ts";
import type { Decider } from "../core/decide.ts";
import type { KnowledgeWatcher } from "../core/knowledge.ts";
import { MAX_ERROR_MS } from "../core/verdict.ts";
import type { GuardLogger } from "../log/logger.ts";
import { DueQueue } from "./due.ts";
import { LiveStream } from "./stream.ts";

/** The estimate of the authority's time changes: a timer is never trusted for longer. */
const LOOK_EVERY_MS = 5000;
const LEAST_DELAY_MS = 0.1;

/** What a stream does to the call that it is of. */
export interface StreamCall {
  /** It may not go on. */
  end(refusal: GuardRefusal): void;
  /** It would have ended, and goes on because the policy only observes. */
  observed(refusal: GuardRefusal): void;
  /** Something failed. */
  fault(error: unknown): void;
}

/** What live streams are watched with. */
export interface LiveStreamsOptions {
  readonly decider: Pick<Decider, "again" | "now" | "settling" | "patientUntilMs">;
  readonly clock: Pick<Clock, "after">;
  readonly logger: GuardLogger;
}

/** All live streams of one guard. */
export class LiveStreams implements KnowledgeWatcher {
  readonly #decider: LiveStreamsOptions["decider"];
  readonly #clock: LiveStreamsOptions["clock"];
  readonly #logger: GuardLogger;
  readonly #all = new Set<LiveStream>();
  readonly #byElevation = new Map<string, Set<LiveStream>>();
  /** Those that rest on an elevation. */
  readonly #due = new DueQueue<LiveStream>();
  #timer: Timer | undefined;
  /** Before the authority's clock may have reached this, nothing falls due. */
  #wakeMs = Infinity;

  constructor(options: LiveStreamsOptions) {
    this.#decider = options.decider;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Of one elevation. */
  under(elevation: string): number {
    return this.#byElevation.get(elevation)?.size ?? 0;
  }

  /**
   * Watches a stream that was permitted, after judging it once more: what was decided a moment ago may be over. `runs`: its handler has
   * something to run on; else it has {@link run} said of it later.
   */
  begin(call: GuardedCall, permit: GuardPermit, runs: boolean, of: StreamCall): LiveStream {
    const sinceMs = runs ? this.#latestMs() : Infinity;
    const stream = new LiveStream({ decider: this.#decider, streams: this, call, permit, sinceMs, of });
    this.#all.add(stream);
    stream.review();
    stream.supervised = stream.elevation !== "";
    return stream;
  }

  /** Its one request has come: from now on it is a stream that began, and may drain. */
  run(stream: LiveStream): void {
    stream.sinceMs = this.#latestMs();
    stream.review();
  }

  /** The stream is no more. */
  leave(stream: LiveStream): void {
    this.#all.delete(stream);
    this.lift(stream);
  }

  /** Takes a stream out of the order, to be changed and {@link place}d again. */
  lift(stream: LiveStream): void {
    this.#due.remove(stream);
    const id = stream.elevation;
    const of = this.#byElevation.get(id);
    if (of?.delete(stream) === true && of.size === 0) this.#byElevation.delete(id);
  }

  /** Puts a stream where it belongs by its elevation and the time that it is to be judged again at. */
  place(stream: LiveStream): void {
    const id = stream.elevation;
    if (id === "" || !this.#all.has(stream)) return;
    const of = this.#byElevation.get(id);
    if (of === undefined) this.#byElevation.set(id, new Set([stream]));
    else of.add(stream);
    this.#due.add(stream);
    if (stream.dueMs < this.#wakeMs) this.#arm();
  }

  /**
   * Looks at the clock, and judges what fell due: with each message, so that none passes an end that a timer is late for. While the clock
   * is in doubt nothing is judged: wait for the answer, and look again.
   */
  check(): Promise<void> | undefined {
    const now = this.#decider.now();
    const calm = now !== undefined && now.authorityMs + now.errorMs < this.#wakeMs && now.errorMs <= MAX_ERROR_MS;
    return calm ? this.#decider.settling : this.#run(now);
  }

  /** As {@link check}, when the timer fired or there is news of the time, which moves the timer too. Never throws. */
  look(): void {
    try {
      const wait = this.check();
      if (wait !== undefined) void wait.then(() => this.look());
      else this.#arm();
    } catch (error) {
      // Without a clock nothing says that they may go on.
      this.#logger.error({ error: String(error) }, "the guard failed to look at its live streams, and ends them");
      for (const stream of this.#due.all()) stream.fault(error);
    }
  }

  elevation(id: string): void {
    const of = this.#byElevation.get(id);
    if (of !== undefined) this.#review([...of]);
  }

  terms(): void {
    this.#review([...this.#all]);
    // Patience may be another too.
    this.#wakeMs = -Infinity;
    this.look();
  }

  /** Infinity: the time is not known. */
  #latestMs(): number {
    const now = this.#decider.now();
    return now === undefined ? Infinity : now.authorityMs + now.errorMs;
  }

  #run(now: TimeEstimate | undefined): Promise<void> | undefined {
    const settling = this.#decider.settling;
    if (settling !== undefined) return settling;
    if (now === undefined) this.#review(this.#due.all());
    else {
      const latestMs = now.authorityMs + now.errorMs;
      if (latestMs > this.#decider.patientUntilMs(now)) this.#review(this.#due.all());
      const fell: LiveStream[] = [];
      for (let first = this.#due.first; first !== undefined && first.dueMs <= latestMs; first = this.#due.first) {
        this.#due.remove(first);
        fell.push(first);
      }
      this.#review(fell);
    }
    this.#arm();
    return undefined;
  }

  #review(streams: readonly LiveStream[]): void {
    for (const stream of streams) if (this.#all.has(stream)) stream.review();
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const { first } = this.#due;
    if (first === undefined) {
      this.#wakeMs = Infinity;
      return;
    }
    const now = this.#decider.now();
    const latestMs = now === undefined ? Infinity : now.authorityMs + now.errorMs;
    this.#wakeMs = now === undefined ? -Infinity : Math.min(first.dueMs, this.#decider.patientUntilMs(now));
    const delayMs = Math.min(Math.max(this.#wakeMs - latestMs, LEAST_DELAY_MS), LOOK_EVERY_MS);
    this.#timer = this.#clock.after(delayMs, () => this.look());
  }
}
