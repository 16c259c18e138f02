// The shape of a catalogue entry, and the metadata keys that many entries share. Holds no entry.
import type { Reason } from "../gen/brevet/v1/reason_pb.ts";

/** Name of a reason as it stands in `google.rpc.ErrorInfo.reason`: the enum's, without `REASON_`. */
export type ReasonName = Exclude<keyof typeof Reason, "UNSPECIFIED">;

/**
 * What makes another try worth while. `never`: nothing the caller's program does by itself. `after-approval`: once an elevation is
 * ACTIVE, once. `after-renewal`: with a fresh grant, once. `after-reauthentication`: with a fresh identity, once. `backoff`: later, with
 * full jitter, inside the deadline and a budget.
 */
export type RetryClass = "never" | "after-approval" | "after-renewal" | "after-reauthentication" | "backoff";

/** All that is known of one reason before it happens. */
export interface CatalogueEntry {
  readonly reason: ReasonName;
  /** gRPC status code, unless the one who refuses says otherwise (see `Denial.code`). */
  readonly code: number;
  /** What happened, one sentence. */
  readonly what: string;
  /** Likely first. */
  readonly causes: readonly string[];
  readonly callerRemedy: string;
  readonly operatorRemedy: string;
  readonly retry: RetryClass;
  /** Keys that `ErrorInfo.metadata` may carry, lowerCamelCase. */
  readonly metadata: readonly string[];
  /** Nothing raises it yet. */
  readonly planned: boolean;
}

/** Entries of one part of the catalogue, each under its own name. */
export type Entries<R extends ReasonName> = { readonly [N in R]: CatalogueEntry & { readonly reason: N } };

/** Keys of every refusal of a call. Before the identity is valid nothing of the policy is said. */
export const CALL_KEYS = ["decisionId", "method", "serverTime", "headersSeen"] as const;
/** Keys of a refusal of an identified caller. */
export const IDENTIFIED_KEYS = [...CALL_KEYS, "principal", "audience", "policyVersion"] as const;
/** Keys of a refusal that concerns one elevation. */
export const ELEVATION_KEYS = [...IDENTIFIED_KEYS, "elevation", "entitlement", "state"] as const;
/** Keys of a refusal by the authority's own API. */
export const API_KEYS = ["method", "principal", "audience", "serverTime"] as const;
