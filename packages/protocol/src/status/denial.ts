// A refusal as a value, before it becomes a gRPC status. Says nothing about transports, and is not yet safe to send: see status.ts.
import type { ElevationRequired } from "../gen/brevet/v1/error_pb.ts";
import type { ReasonName } from "../reason/catalogue.ts";

/** Why a call was refused, and what would help. */
export interface Denial {
  readonly reason: ReasonName;
  /** gRPC status code, where it is not the catalogue's: the authority's own API says FAILED_PRECONDITION for an elevation's state. */
  readonly code?: number;
  /** What, why, what to run, where to click. `REASON: ` is put in front where it is missing; cut at 400 bytes of UTF-8. */
  readonly message: string;
  /** `ErrorInfo.metadata`: lowerCamelCase keys; see the reason's catalogue entry. Never a token, never another principal's name. */
  readonly metadata: Readonly<Record<string, string>>;
  /** RetryInfo: waiting this long may help. */
  readonly retryDelayMs?: number;
  /** Help: links that let a person act, most useful first; absolute http(s) URLs. */
  readonly help?: readonly HelpLink[];
  /** PreconditionFailure. */
  readonly preconditions?: readonly PreconditionViolation[];
  /** BadRequest. */
  readonly fieldViolations?: readonly FieldViolation[];
  /** What the caller may ask for. At most 5 entitlements are sent, the rest is counted in `more`. */
  readonly offer?: ElevationRequired;
}

/** A link of google.rpc.Help. */
export interface HelpLink {
  readonly description: string;
  readonly url: string;
}

/** A violation of google.rpc.PreconditionFailure. */
export interface PreconditionViolation {
  readonly type: string;
  readonly subject: string;
  readonly description: string;
}

/** A violation of google.rpc.BadRequest. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}
