// What every rule of an elevation's life is given, and how it answers. The rules themselves: request.ts, vote.ts, window.ts, close.ts,
// narrow.ts. Never reads a clock, a store or randomness.
import type { CompiledPolicy, Entitlement, PrincipalFacts } from "@brevet/policy";
import type {
  Elevation,
  ElevationServiceApproveRequest,
  ElevationServiceDenyRequest,
  ElevationServiceEndRequest,
  ElevationServiceExtendRequest,
  ElevationServiceRequestRequest,
  ElevationServiceReviewRequest,
  ElevationServiceRevokeRequest,
  ElevationServiceStartRequest,
  ElevationServiceWithdrawRequest,
} from "@brevet/protocol/brevet/v1/elevation";
import type { ElevationRequested } from "@brevet/protocol/brevet/v1/log";
import type { Event, Seal } from "../log/draft.ts";
import type { Refusal } from "./refusal.ts";

/** Who acts: the log's id and what the audience's policy knows. */
export interface Actor {
  readonly id: string;
  readonly facts: PrincipalFacts;
}

/** What a rule may know besides the command and the elevation. */
export interface Context {
  /** The authority's time, milliseconds since 1970. */
  readonly nowMs: number;
  /** The log's revision before the command. */
  readonly revision: bigint;
  readonly seal: Seal;
  /** The current policy of the elevation's audience; undefined where it has none. */
  readonly policy: CompiledPolicy | undefined;
  readonly policyVersion: bigint;
  /** Undefined for the authority itself. */
  readonly actor: Actor | undefined;
  /** Whether a call is parked on a watch for this elevation. */
  readonly callerWaiting: boolean;
  /** The name of a principal that the elevation mentions; undefined once erased. */
  readonly nameOf: (id: string) => string | undefined;
  /**
   * Revision of the last entry that changed what voters vote on: the request, a narrowing, an extension asked for. 0: not known, and
   * then `seen_revision` is compared with the elevation's own.
   */
  readonly termsRevision: bigint;
  /** From ElevationRequested: the longest window with extensions; 0 for none. */
  readonly extendMaxMs: number;
  /** SHA-256 of the one request that the elevation covers; undefined once erased, or where it covers no exact request. */
  readonly payloadDigest: Uint8Array | undefined;
}

/** A question that is still open: what was asked, and what became of it. */
export interface Question {
  readonly state: Elevation;
  readonly asked: ElevationRequested;
  /** What is sealed in it, opened: "" or empty for none, undefined once erased. */
  readonly reason: string | undefined;
  readonly run: string | undefined;
  readonly payloadDigest: Uint8Array | undefined;
}

/** What happened before with the same principal, audience and entitlement; see request.ts, entitlementAsked. */
export interface Background {
  /** Id of the person on whose behalf the caller runs, "" for none. */
  readonly initiator: string;
  /** With this entitlement, as far as they might be the same question. */
  readonly open: readonly Question[];
  /** All that the requester has open in the audience, with any entitlement. */
  readonly live: readonly Elevation[];
  /** Those that ended as DENIED. */
  readonly denied: readonly Elevation[];
  /** Break-glass ones without review. */
  readonly unreviewed: readonly Elevation[];
}

/** What somebody, time or the policy wants of an elevation. */
export type Command =
  | { readonly kind: "request"; readonly id: string; readonly message: ElevationServiceRequestRequest; readonly background: Background }
  | { readonly kind: "approve"; readonly message: ElevationServiceApproveRequest }
  | { readonly kind: "deny"; readonly message: ElevationServiceDenyRequest }
  | { readonly kind: "withdraw"; readonly message: ElevationServiceWithdrawRequest }
  | { readonly kind: "start"; readonly message: ElevationServiceStartRequest }
  | { readonly kind: "extend"; readonly message: ElevationServiceExtendRequest }
  | { readonly kind: "end"; readonly message: ElevationServiceEndRequest }
  | { readonly kind: "revoke"; readonly message: ElevationServiceRevokeRequest }
  | { readonly kind: "review"; readonly message: ElevationServiceReviewRequest }
  | { readonly kind: "grant"; readonly grant: GrantTerms }
  | { readonly kind: "policy"; readonly previous: CompiledPolicy | undefined }
  | { readonly kind: "tick" };

/** A grant to be issued. */
export interface GrantTerms {
  /** `jti`. */
  readonly id: string;
  readonly kid: string;
  /** RFC 7638 thumbprint of the key that it is bound to; empty for none. */
  readonly key: Uint8Array;
}

/** What a rule says: events to append, none if everything is as wanted; or why not. */
export type Verdict =
  | { readonly ok: true; readonly events: readonly Event[]; readonly found?: Elevation }
  | { readonly ok: false; readonly denial: Refusal };

/** A rule on an elevation as it is at `context.nowMs`, with a known actor and the audience's policy. */
export interface Ruling extends Context {
  readonly actor: Actor;
  readonly policy: CompiledPolicy;
  /** The elevation's entitlement in the current policy; undefined once removed. */
  readonly entitlement: Entitlement | undefined;
}

/** Nothing to do. */
export const nothing: Verdict = { ok: true, events: [] };

/** Events that follow. */
export function happens(...events: Event[]): Verdict {
  return { ok: true, events };
}
