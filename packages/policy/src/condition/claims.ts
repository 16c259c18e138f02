// Expressions over a token's `claims`, by which the policy names callers: CEL, with every claim untyped.
// Never trusts a result: whoever uses one checks its form.
import { isCelList } from "@bufbuild/cel";
import { checkExpression } from "./checker.ts";
import { DYN, describe, type Kind, STRING } from "./kind.ts";
import { jsonToCel, planExpression } from "./plan.ts";
import { childrenOf, type Expr, type Problem, parseExpression } from "./syntax.ts";

/** An expression over `claims`, checked and planned. */
export interface ClaimExpression {
  readonly source: string;
  /** Whether it reads, or could read, `claims.email`. */
  readonly readsEmail: boolean;
  /** What every result begins with, as far as the expression fixes it; one per branch of `?:`. Empty: the claims decide. */
  readonly prefixes: readonly string[];
  /** A string, or the strings of a list; anything else is a problem that says what came out. */
  evaluate(claims: Readonly<Record<string, unknown>>): ClaimOutcome;
}

/** What an expression over claims came to. */
export type ClaimOutcome = { readonly ok: true; readonly values: readonly string[] } | { readonly ok: false; readonly problem: string };

const NAMES = {
  variables: new Map<string, Kind>([["claims", { is: "map", key: STRING, value: DYN }]]),
  enumNamed: () => undefined,
};

/** Compiles an expression that gives one string, or a list of them. */
export function compileClaims(
  source: string,
  gives: "string" | "list",
): { ok: true; expression: ClaimExpression } | { ok: false; problem: Problem } {
  const syntax = parseExpression(source);
  if (!syntax.ok) return syntax;
  const { expr } = syntax.parsed;
  const result = checkExpression(syntax.parsed, NAMES);
  if (!result.ok) return result;
  const { kind, constants } = result.checked;
  const fits = kind.is === "dyn" || (gives === "string" ? kind.is === "string" : kind.is === "list");
  if (!fits)
    return {
      ok: false,
      problem: {
        message: `it gives ${describe(kind)}, not a ${gives === "list" ? "list of strings" : "string"}`,
        fix: "see docs/policy.md",
        offset: 0,
      },
    };
  const run = planExpression(expr, constants);
  const expression: ClaimExpression = {
    source,
    readsEmail: readsEmail(expr),
    prefixes: prefixesOf(expr),
    evaluate(claims) {
      const outcome = run({ claims: jsonToCel(claims) });
      if (!outcome.ok) return { ok: false, problem: outcome.error };
      return strings(outcome.value);
    },
  };
  return { ok: true, expression };
}

function strings(value: unknown): ClaimOutcome {
  if (typeof value === "string") return { ok: true, values: [value] };
  if (!isCelList(value)) return { ok: false, problem: "it gave neither a string nor a list of strings" };
  const values: string[] = [];
  for (const each of value) {
    if (typeof each !== "string") return { ok: false, problem: "it gave a list with something else than strings" };
    values.push(each);
  }
  return { ok: true, values };
}

/** `claims.email`, `claims["email"]`, or a look-up by a name that is not written out. */
function readsEmail(expr: Expr): boolean {
  const node = expr.exprKind;
  if (node.case === "selectExpr" && isClaims(node.value.operand)) return node.value.field === "email";
  if (node.case === "callExpr" && node.value.function === "_[_]" && isClaims(node.value.args[0])) {
    const key = textOf(node.value.args[1]);
    return key === undefined || key === "email";
  }
  return childrenOf(expr).some((child) => readsEmail(child));
}

function isClaims(expr: Expr | undefined): boolean {
  return expr?.exprKind.case === "identExpr" && expr.exprKind.value.name === "claims";
}

function textOf(expr: Expr | undefined): string | undefined {
  if (expr?.exprKind.case !== "constExpr") return undefined;
  const constant = expr.exprKind.value.constantKind;
  return constant.case === "stringValue" ? constant.value : undefined;
}

function prefixesOf(expr: Expr): readonly string[] {
  const text = textOf(expr);
  if (text !== undefined) return [text];
  if (expr.exprKind.case !== "callExpr") return [""];
  const { function: name, args } = expr.exprKind.value;
  if (name === "_+_" && args[0] !== undefined) return prefixesOf(args[0]);
  if (name === "_?_:_") return args.slice(1).flatMap((arg) => prefixesOf(arg));
  return [""];
}
