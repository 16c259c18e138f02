// The compiled policy: what guards, authority and command line ask. Frozen once made, and free of any clock.
// Never says how it was written: findings are in check/, the document as written in `document`.
import type { DescMessage, DescMethod } from "@bufbuild/protobuf";
import type { ClaimExpression } from "../condition/claims.ts";
import type { Condition } from "../condition/condition.ts";
import type { Access, PolicyDocument } from "../document/document.ts";
import type { Schedule } from "../schedule/schedule.ts";

/** A policy that may be enforced: its document has no finding of error severity. */
export interface CompiledPolicy {
  readonly audience: string;
  readonly document: PolicyDocument;
  /** SHA-256 of the document's text. */
  readonly digest: Uint8Array;
  readonly issuers: readonly IssuerRule[];
  /** SPIFFE trust domains whose certificates name workloads. */
  readonly trustDomains: ReadonlySet<string>;
  /** Groups of the policy by member's name. */
  readonly memberships: ReadonlyMap<string, readonly string[]>;
  /** Groups that an issuer may assert: they may have members that the policy does not list. */
  readonly claimedGroups: ReadonlySet<string>;
  /** Selectors of those who may sync and report for the audience. */
  readonly guards: readonly string[];
  readonly whenStale: { readonly afterMs: number; readonly then: "known" | "deny"; readonly atMostMs: number };
  readonly mode: "enforce" | "observe";
  /** Admins beside the proposer who have to approve a new version. */
  readonly applyQuorum: number;
  /** The rule of `package.Service/Method`, O(1). What is not listed is forbidden, with `listed` false. */
  method(name: string): MethodRule;
  entitlement(id: string): Entitlement | undefined;
  /** Entitlements that cover a method: fewest approvals first, then narrowest (fewest methods, shortest max), then by id. */
  entitlementsFor(method: string): readonly Entitlement[];
  /** The message that a method takes; undefined without descriptors or for an unknown method. */
  requestType(method: string): DescMessage | undefined;
  /** How many messages a method takes and answers; undefined without descriptors or for an unknown method. */
  methodKind(method: string): DescMethod["methodKind"] | undefined;
  /**
   * A condition compiled for calls of one method, cached by source and request type: for the conditions that are frozen in
   * elevations. A text that does not pass the checker is an error, every time.
   */
  conditionFor(source: string, method: string): Condition | { readonly error: string };
}

/** One issuer of identity tokens. */
export interface IssuerRule {
  /** `iss`. */
  readonly issuer: string;
  /** Accepted values of `aud`. */
  readonly audiences: readonly string[];
  readonly principal: ClaimExpression;
  readonly groups?: ClaimExpression;
  /** Groups that its claims may put somebody into. */
  readonly mayAssert: ReadonlySet<string>;
  readonly initiator?: ClaimExpression;
}

/** The rule of one method. */
export interface MethodRule {
  readonly name: string;
  readonly access: Access;
  /** Whether the policy says so itself; false: forbidden because it is not listed. */
  readonly listed: boolean;
  readonly risk?: string;
  /** Each approval covers one exact request, once. */
  readonly bindPayload: boolean;
}

/** One stage of an approval. */
export interface StageRule {
  readonly approvers: readonly string[];
  readonly quorum: number;
  readonly escalate?: { readonly afterMs: number; readonly to: readonly string[] };
}

/** One entitlement, defaults filled in. */
export interface Entitlement {
  readonly id: string;
  readonly description: string;
  /** Concrete elevated methods, sorted; wildcards are expanded against the listed methods and the descriptors. */
  readonly methods: readonly string[];
  /** The same, for looking up. */
  readonly covers: ReadonlySet<string>;
  readonly requesters: readonly string[];
  /** Empty: none. */
  readonly conditionSource: string;
  readonly condition?: Condition;
  readonly present: "any" | "grant" | "bound";
  readonly defaultMs: number;
  readonly maxMs: number;
  readonly pendingMs: number;
  readonly startWithinMs: number;
  /** `maxMs`: the whole window from its first start. */
  readonly extend: { readonly maxMs: number; readonly approval: "same" | "none" | "never" };
  readonly reason: { readonly required: boolean; readonly pattern?: string };
  readonly schedule?: Schedule;
  readonly stages: readonly StageRule[];
  readonly automatic?: Condition;
  readonly breakGlass?: { readonly notify: readonly string[]; readonly reviewWithinMs: number };
  readonly streams: { readonly onExpiry: "terminate" | "drain"; readonly forMs: number };
  /** Whether one of its methods is bound to the payload. */
  readonly bindPayload: boolean;
  readonly delegates: readonly string[];
  /** How long nobody may ask again after a denial. */
  readonly cooldownMs: number;
}
