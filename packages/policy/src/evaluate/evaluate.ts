// The one evaluator: may this call be made now? Answers guard, command line and console from the same rules, in the fixed order.
// Never reads a clock, a token or the network: whoever asks has verified identity and grants, and knows the time.

import type { ReasonName } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import type { Entitlement } from "../compile/compiled.ts";
import type { PrincipalFacts } from "../principal/principal.ts";

/** One call, and what is known at the moment that it is judged. */
export interface CallFacts {
  /** `package.Service/Method`. */
  readonly method: string;
  /** The authenticated caller; absent: the call has no valid identity. */
  readonly principal?: PrincipalFacts;
  /** Elevations of the caller, known or presented, ended ones of the last 24 h included. Order does not matter. */
  readonly candidates: readonly Elevation[];
  /** Ids of elevations for which the call brought a verified grant, and whether its key was proven. */
  readonly presented?: ReadonlyMap<string, "grant" | "bound">;
  /** The request message as it came over the wire; needed where {@link needsRequest} says so. */
  readonly request?: Uint8Array;
  /** SHA-256 of the request, for methods that are bound to the payload. */
  readonly payloadDigest?: Uint8Array;
  /** The authority's time as estimated, milliseconds since 1970. */
  readonly nowMs: number;
  /** The error of that estimate: ends are judged at `nowMs + errorMs`, starts at `nowMs - errorMs`. */
  readonly errorMs: number;
  /** A time that the authority has surely reached, such as that of its newest message: starts are not judged earlier. */
  readonly reachedMs?: number;
}

/** The call may be made. */
export interface Permitted {
  readonly permit: true;
  /** The elevation that it rests on; the one with the latest end where several would do. Absent where none is needed. */
  readonly elevation?: Elevation;
  /** The window's end; absent while it has not started. */
  readonly endsMs?: number;
  /** The elevation is SCHEDULED: the authority starts it before the handler runs. */
  readonly needsStart?: boolean;
  /** The method is bound to the payload: the authority consumes the approval before the handler runs. */
  readonly consume?: boolean;
  /** With `mode: observe`: the refusal that enforcing would have made. */
  readonly observed?: Denied;
}

/** The call is refused. */
export interface Denied {
  readonly permit: false;
  readonly reason: ReasonName;
  /** The elevation that got furthest. */
  readonly elevation?: Elevation;
  /** ErrorInfo metadata that the reason needs: `elevation`, `entitlement`, `expiredAt`, `expression`, `problem` … */
  readonly facts: Readonly<Record<string, string>>;
  /** What the caller may ask for to get further. */
  readonly offers: readonly Entitlement[];
}

/** What the evaluator says. */
export type Decision = Permitted | Denied;
