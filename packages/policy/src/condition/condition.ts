// Conditions: CEL over `request` and `principal`, compiled once and evaluated on every call that needs one.
// No condition compiles unless our own type checker passed it; a condition permits only on exactly `true`.
import type { PrincipalFacts } from "../principal/principal.ts";

/** What a condition is evaluated on. */
export interface ConditionInput {
  /** The called method, `package.Service/Method`; needed where the condition was compiled for several request types. */
  readonly method?: string;
  /** The request message as it came over the wire. */
  readonly request?: Uint8Array;
  readonly principal: PrincipalFacts;
}

/** How an evaluation went. An error denies. */
export type ConditionOutcome = "true" | "false" | { readonly error: string };

/** A checked and planned condition. */
export interface Condition {
  readonly source: string;
  /** Whether it looks at the request at all; if not, no request has to be given. */
  readonly readsRequest: boolean;
  evaluate(input: ConditionInput): ConditionOutcome;
}
