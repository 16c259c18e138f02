// Expressions over a token's `claims`, by which the policy names callers: CEL, with every claim untyped.
// Never trusts a result: whoever uses one checks its form.

/** An expression over `claims`, checked and planned. */
export interface ClaimExpression {
  readonly source: string;
  /** Whether it reads, or could read, `claims.email`. */
  readonly readsEmail: boolean;
  /** A string, or the strings of a list; anything else is a problem that says what came out. */
  evaluate(claims: Readonly<Record<string, unknown>>): ClaimOutcome;
}

/** What an expression over claims came to. */
export type ClaimOutcome = { readonly ok: true; readonly values: readonly string[] } | { readonly ok: false; readonly problem: string };
