// Live streams without any network: a clock that tests move, what the guard knows, and calls whose form is the test itself.
import { type EncodedStatus, readStatus } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { TestClock } from "@brevet/testing";
import { EnforcedCall } from "../enforcement/call.ts";
import { Endings } from "../enforcement/endings.ts";
import type { CallPort, IncomingCall } from "../enforcement/port.ts";
import { type DecisionEvent, Recorder } from "../enforcement/record.ts";
import { LiveStreams } from "../enforcement/streams.ts";
import { DecisionLog } from "../link/decisions.ts";
import { AUDIENCE, type ElevationFields, METHODS, POLICY, requestOf, type TestKeys } from "./facts.ts";
import { Known } from "./known.ts";
import type { MethodName } from "./service.ts";

/** The tests' policy, with changes to its text. */
export function policyWith(...changes: readonly (readonly [string, string])[]): string {
  return changes.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`the policy has no ${from}`);
    return text.replace(from, () => to);
  }, POLICY);
}

/** The entitlement of the streams lets them drain. */
export const DRAINS = ["  streams:\n", "  streams:\n    streams: { onExpiry: drain, for: 30s }\n"] as const;
/** It has a condition on each request. */
export const FIVE_AT_MOST = ["  streams:\n", "  streams:\n    condition: request.amount_cents <= 5\n"] as const;

const STREAMS = ["test.v1.Ledger/Watch", "test.v1.Ledger/Import", "test.v1.Ledger/Chat"];

/** See the head of this file. Times of elevations are milliseconds from now. */
export class LiveWorld {
  readonly clock = new TestClock();
  /** For what is only told; moves with the other. */
  readonly bell = new TestClock();
  readonly endings: Endings;
  readonly known: Known;
  readonly streams: LiveStreams;
  readonly decisions: DecisionLog;
  readonly lines: Record<string, unknown>[] = [];
  readonly told: DecisionEvent[] = [];
  readonly authorization: string;
  readonly recorder: Recorder;
  #ids = 0;

  private constructor(known: (clock: TestClock) => Known, authorization: (known: Known) => string) {
    this.known = known(this.clock);
    this.authorization = authorization(this.known);
    this.known.errorMs = 0;
    const newId = (prefix: string): string => `${prefix}_${(this.#ids += 1)}`;
    const write = (fields: object, message: string): void => void this.lines.push({ ...fields, message });
    const logger = { info: write, warn: write, error: write };
    this.decisions = new DecisionLog({ audience: AUDIENCE, newId });
    const onDecision = (event: DecisionEvent): void => void this.told.push(event);
    this.recorder = new Recorder({ audience: AUDIENCE, newId, logger, decisions: this.decisions, onDecision });
    this.streams = new LiveStreams({ decider: this.known.decider, clock: this.clock, logger });
    this.endings = new Endings({
      clock: this.bell,
      logger,
      audience: AUDIENCE,
      now: () => this.known.decider.now(),
      knowledge: () => this.known.knowledge,
      streams: (elevation) => this.streams.under(elevation),
    });
    this.known.knowledge.watch(this.streams);
  }

  /** One in which Sam's token was seen before: what is decided is decided at once. */
  static async make(keys: TestKeys, policy: string = POLICY): Promise<LiveWorld> {
    const first = new Known(keys, policy);
    const authorization = await first.as(undefined, { exp: 4e9 });
    const world = new LiveWorld(
      (clock) => new Known(keys, policy, clock),
      () => authorization,
    );
    await world.known.decide("GetEntry", { authorization: [authorization] });
    return world;
  }

  /** Another one, with the same policy and person. */
  static async again({ known, authorization }: LiveWorld): Promise<LiveWorld> {
    const world = new LiveWorld(
      (clock) => {
        const fresh = new Known(known.keys, POLICY, clock);
        const { policy } = known.knowledge;
        if (policy !== undefined) fresh.knowledge.setPolicy(policy);
        return fresh;
      },
      () => authorization,
    );
    await world.known.decide("GetEntry", { authorization: [authorization] });
    return world;
  }

  get nowMs(): number {
    return this.known.nowMs;
  }

  /** The authority is heard of all the while. */
  advance(ms: number): void {
    for (let left = ms; left > 0; left -= 10_000) {
      this.clock.advance(Math.min(left, 10_000));
      this.bell.advance(Math.min(left, 10_000));
      this.known.heard();
    }
  }

  /** Sam's ACTIVE elevation for streams, or what it becomes. */
  elevate(fields: ElevationFields = {}): Elevation {
    return this.known.elevate({ entitlement: "streams", methods: STREAMS, ...fields });
  }

  /** Begins a call; `prepare` gets its form before anything is decided. */
  open(method: MethodName = "Chat", call: Partial<IncomingCall> = {}, prepare: (call: TestCall) => void = () => {}): TestCall {
    const [requestStream, responseStream] = METHODS[method];
    const incoming: IncomingCall = {
      method: `test.v1.Ledger/${method}`,
      requestStream,
      responseStream,
      authorization: [this.authorization],
      grants: [],
      peer: "10.0.0.1",
      headersSeen: ["authorization"],
      traceId: "",
      ...call,
    };
    return new TestCall(this, incoming, prepare);
  }

  /** Reasons of the refusals in the log, in order. */
  get refused(): readonly unknown[] {
    return this.lines.filter(({ message }) => message === "refused").map(({ reason }) => reason);
  }
}

/** A call whose form is the test. */
export class TestCall implements CallPort {
  readonly enforced: EnforcedCall;
  /** What was handed on, in order: requests by their amount, responses, half-close. */
  readonly passed: (number | string)[] = [];
  permitted = false;
  reading = false;
  status: EncodedStatus | undefined;
  endedAtMs: number | undefined;
  readonly #world: LiveWorld;

  constructor(world: LiveWorld, incoming: IncomingCall, prepare: (call: TestCall) => void) {
    this.#world = world;
    const { streams, endings, recorder, decisions, known } = world;
    const write = (fields: object, message: string): void => void world.lines.push({ ...fields, message });
    const logger = { info: write, warn: write, error: write };
    const now = () => known.decider.now();
    const probed = () => ({
      audience: AUDIENCE,
      form: "test",
      instance: "gud_1",
      software: "",
      knowledge: known.knowledge,
      now: now(),
      wallMs: 0,
    });
    this.enforced = new EnforcedCall(
      { decider: known.decider, recorder, decisions, logger, streams, endings, now, probed },
      incoming,
      this,
    );
    prepare(this);
    this.enforced.begin();
  }

  readAhead(): boolean {
    this.reading = true;
    return true;
  }

  permit(): void {
    this.permitted = true;
  }

  answer(): boolean {
    return false;
  }

  refuse(status: EncodedStatus): void {
    this.status = status;
    this.endedAtMs = this.#world.nowMs;
  }

  /** A request comes; true if it was handed on at once. */
  send(amount = 1): boolean {
    const before = this.passed.length;
    this.enforced.request(requestOf(amount), () => this.passed.push(amount));
    return this.passed.length > before;
  }

  /** A response comes; true if it was handed on at once. */
  answerWith(text = "response"): boolean {
    const before = this.passed.length;
    this.enforced.response(() => this.passed.push(text));
    return this.passed.length > before;
  }

  halfClose(): void {
    this.enforced.halfClose(() => this.passed.push("half-close"));
  }

  /** Of its refusal; "live" while it has none. */
  get outcome(): string {
    const { status } = this;
    return status === undefined ? "live" : (readStatus(status.code, status.message, status.details).reason ?? status.message);
  }
}
