// Principals as the policy sees them: the form of a name, the facts about a caller, and whether selectors mean one.
// Never decides what a principal may do, and never reads a token.
import { MAX_PRINCIPAL_BYTES } from "@brevet/protocol";

/** What kind of caller a name stands for; its prefix. */
export type PrincipalKindName = "user" | "workload" | "ci";

/** What is known of an authenticated caller in one audience. */
export interface PrincipalFacts {
  /** `user:…`, `workload:…` or `ci:…`, at most 256 bytes. */
  readonly name: string;
  /** The name's prefix. */
  readonly kind: PrincipalKindName;
  /** `group:…`: those of the claims that the issuer may assert, and those of the policy that list the name. */
  readonly groups: ReadonlySet<string>;
  /** Claims of the token; empty for a client certificate. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** The person on whose behalf a workload runs; counts as the requester where votes are counted. */
  readonly initiator?: string;
}

// No white space, no control or format characters (bidi), no lone surrogates.
const NAME = /^(user|workload|ci):[^\s\p{C}]+$/u;
const GROUP = /^group:[^\s\p{C}]+$/u;

/** The kind of a well-formed principal name of at most 256 bytes; undefined for anything else. */
export function kindOfName(name: string): PrincipalKindName | undefined {
  if (name.length > MAX_PRINCIPAL_BYTES || Buffer.byteLength(name) > MAX_PRINCIPAL_BYTES) return undefined;
  const prefix = NAME.exec(name)?.[1];
  return prefix === "user" || prefix === "workload" || prefix === "ci" ? prefix : undefined;
}

/** Whether `text` is `group:…` of at most 256 bytes. */
export function isGroupName(text: string): boolean {
  return text.length <= MAX_PRINCIPAL_BYTES && Buffer.byteLength(text) <= MAX_PRINCIPAL_BYTES && GROUP.test(text);
}

/** Whether one of the selectors, names of principals or groups, means the caller. An empty list means nobody. */
export function matchesAny(selectors: readonly string[], who: PrincipalFacts): boolean {
  for (const selector of selectors) if (selector === who.name || who.groups.has(selector)) return true;
  return false;
}
