// One call as a guard sees it, whatever the transport, and what the core answers about it. Shapes only.
import type { Entitlement, PrincipalFacts } from "@brevet/policy";
import type { ReasonName } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import type { Shown } from "./grants.ts";

/** One call. */
export interface GuardedCall {
  /** `package.Service/Method`. */
  readonly method: string;
  /** Whether the caller may send more than one message: such a request cannot be read as a whole. */
  readonly requestStream: boolean;
  /** Values of the `authorization` metadata. */
  readonly authorization: readonly string[];
  /** Values of the `brevet-grant` metadata; each may be several, joined by commas. */
  readonly grants: readonly string[];
  /** The connection's verified client certificate; asked for only where the policy accepts one. */
  readonly certificate?: () => ClientCertificate | undefined;
  /** The caller's connection, for limits: `address#port`; the address alone where there is no port, and empty on a Unix socket. */
  readonly peer: string;
  /** The request as it came over the wire; given once the core has asked for it. */
  readonly request?: Uint8Array;
}

/** What counts of a client certificate that the TLS handshake verified. */
export interface ClientCertificate {
  /** URI entries of its subject alternative name. */
  readonly uris: readonly string[];
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** The call may go on. */
export interface GuardPermit {
  readonly kind: "permit";
  /** Absent for open methods. */
  readonly principal?: PrincipalFacts;
  /** The elevation that it rests on; absent where none is needed. */
  readonly elevation?: Elevation;
  /** The window's end on the authority's clock, milliseconds since 1970. */
  readonly endsMs?: number;
  /** What the call's grants amounted to at its start; absent where it brought none. */
  readonly shown?: Shown;
  /** With `mode: observe`: the refusal that enforcing would have made. */
  readonly observed?: GuardRefusal;
}

/** The call is refused. */
export interface GuardRefusal {
  readonly kind: "refuse";
  readonly reason: ReasonName;
  /** ErrorInfo metadata that the reason needs. */
  readonly facts: Readonly<Record<string, string>>;
  /** Absent: the call has no valid identity, and is told nothing of the policy. */
  readonly principal?: PrincipalFacts;
  readonly elevation?: Elevation;
  /** What the caller may ask for. */
  readonly offers: readonly Entitlement[];
  /** Waiting this long may help. */
  readonly retryDelayMs?: number;
}

/** The request has to be seen first: judge again with `request` set. */
export interface RequestWanted {
  readonly kind: "request";
  readonly principal: PrincipalFacts;
}

/** What the core answers. */
export type GuardDecision = GuardPermit | GuardRefusal | RequestWanted;

const NO_OFFERS: readonly Entitlement[] = [];

/** A refusal without offers. */
export function refuse(reason: ReasonName, facts: Readonly<Record<string, string>> = {}, principal?: PrincipalFacts): GuardRefusal {
  return { kind: "refuse", reason, facts, offers: NO_OFFERS, ...(principal === undefined ? {} : { principal }) };
}

/** An instant as metadata carries it; "unknown" for what no calendar has. */
export function isoTime(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? "unknown" : date.toISOString();
}
