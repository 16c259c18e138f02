// What a form of guard and an enforced call have to do with each other: the call as it came, what a form does when told, last words.
// Shapes only.
import { catalogue, type EncodedStatus, GrpcCode, type TimeEstimate } from "@brevet/protocol";
import type { GuardedCall } from "../core/call.ts";
import type { Decider } from "../core/decide.ts";
import type { DecisionLog } from "../link/decisions.ts";
import type { GuardLogger } from "../log/logger.ts";
import type { Probed } from "../probe/probe.ts";
import type { Endings } from "./endings.ts";
import type { Recorder } from "./record.ts";
import type { LiveStreams } from "./streams.ts";

/** A call as it arrives: what is decided on, and what is written down. */
export interface IncomingCall extends Omit<GuardedCall, "request"> {
  /** Whether the service may answer with more than one message. A form that cannot know says true, here and of the request. */
  readonly responseStream: boolean;
  /** Names, not values, of the metadata that came. */
  readonly headersSeen: readonly string[];
  /** W3C trace id; empty: none. */
  readonly traceId: string;
  /** Milliseconds that were left of its deadline when it arrived; undefined: none. */
  readonly deadlineMs?: number | undefined;
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
  readonly streams: LiveStreams;
  readonly endings: Pick<Endings, "used">;
  readonly now: () => TimeEstimate | undefined;
  /** The guard as a probe shows it. */
  readonly probed: () => Probed;
}

/** Said where not even a refusal can be made. */
export const LAST_RESORT: EncodedStatus = {
  code: GrpcCode.INTERNAL,
  message: `GUARD_FAULT: ${catalogue.GUARD_FAULT.what}`,
  details: new Uint8Array(0),
  pushback: "-1",
};

/** No decision, but a fault of the call, and what every gRPC library answers to it. */
export const NO_REQUEST: EncodedStatus = {
  code: GrpcCode.UNIMPLEMENTED,
  message: "no request message came",
  details: new Uint8Array(0),
  pushback: undefined,
};

/** Answered by the guard itself until there is a policy. */
export const HEALTH_CHECK = "grpc.health.v1.Health/Check";
/** `grpc.health.v1.HealthCheckResponse` with status NOT_SERVING. */
export const NOT_SERVING: Uint8Array = Uint8Array.of(0x08, 0x02);
