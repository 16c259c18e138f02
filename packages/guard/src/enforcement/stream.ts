// One live stream: what it rests on, when it is to be judged again, and the judgement of each of its further requests.
// Never throws from a review: a defect ends the call that it is of.
import type { GuardedCall, GuardPermit, GuardRefusal } from "../core/call.ts";
import type { Decider } from "../core/decide.ts";
import type { RunningStream, Standing } from "../core/running.ts";
import type { Due } from "./due.ts";
import type { LiveStreams, StreamCall } from "./streams.ts";

/** What a live stream is made with. */
export interface LiveStreamOptions {
  readonly decider: Pick<Decider, "again">;
  readonly streams: Pick<LiveStreams, "lift" | "place" | "leave">;
  readonly call: GuardedCall;
  readonly permit: GuardPermit;
  readonly sinceMs: number;
  readonly of: StreamCall;
}

/** See the head of this file. */
export class LiveStream implements Due, RunningStream {
  readonly call: GuardedCall;
  /** Infinity while its handler has nothing to run on yet. */
  sinceMs: number;
  permit: GuardPermit;
  /** Each further request has to be judged. */
  judges = false;
  /** The elevation that it rests on; empty: none. */
  elevation = "";
  /** Whether its messages are brought to be judged, or at least to be held against the clock: settled when it begins. */
  supervised: boolean | undefined;
  dueMs = Infinity;
  place = -1;
  readonly #options: LiveStreamOptions;

  constructor(options: LiveStreamOptions) {
    this.#options = options;
    this.call = options.call;
    this.sinceMs = options.sinceMs;
    this.permit = options.permit;
  }

  /** Judges it again by what is known now. */
  review(): void {
    try {
      this.#settle(this.#options.decider.again(this));
    } catch (error) {
      this.fault(error);
    }
  }

  /** Judges one further request. False: the call is over. @throws only on a defect. */
  judge(message: Uint8Array | undefined): boolean {
    if (message === undefined) throw new Error("a message came without its bytes");
    return this.#settle(this.#options.decider.again(this, message));
  }

  /** The call is over. */
  leave(): void {
    this.#options.streams.leave(this);
  }

  fault(error: unknown): void {
    this.leave();
    this.#options.of.fault(error);
  }

  #settle(outcome: Standing | GuardRefusal): boolean {
    const { of } = this.#options;
    if (outcome.kind === "refuse") {
      this.leave();
      of.end(outcome);
      return false;
    }
    const { permit, judges, untilMs } = outcome;
    if (permit.observed !== undefined) {
      // Said already where it was so from the start.
      if (this.permit.observed === undefined) of.observed(permit.observed);
      // Nothing is left that would end it, but for another policy.
      this.#rest(this.permit, "", Infinity);
      this.judges = false;
      return true;
    }
    this.judges = judges;
    const id = permit.elevation?.id ?? "";
    if (id === this.elevation && untilMs === this.dueMs && this.place !== -1) this.permit = permit;
    else this.#rest(permit, id, untilMs);
    return true;
  }

  #rest(permit: GuardPermit, elevation: string, untilMs: number): void {
    const { streams } = this.#options;
    streams.lift(this);
    this.permit = permit;
    this.elevation = elevation;
    this.dueMs = untilMs;
    streams.place(this);
  }
}
