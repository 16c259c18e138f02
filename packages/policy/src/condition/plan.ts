// From a checked expression to a function: rewritten to count its cost, planned once, with errors as values.
// Never throws while evaluating.
import { type CelInput, celEnv, isCelError, plan } from "@bufbuild/cel";
import { Meter, metered } from "./meter.ts";
import type { Expr } from "./syntax.ts";

const meter = new Meter();
// No registry of the user's types: names in expressions mean our variables, never a package that happens to be called alike.
const env = celEnv({ funcs: meter.functions });

/** What came out: a value of CEL, or the text of an error. */
export type Result = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: string };

/** Plans a checked expression. The variables are those that it was checked with. */
export function planExpression(
  expr: Expr,
  constants: ReadonlyMap<Expr, bigint>,
): (variables: Readonly<Record<string, CelInput>>) => Result {
  const run = plan(env, metered(expr, constants));
  return (variables) => {
    meter.reset();
    const value = run(variables);
    if (meter.overdrawn) return { ok: false, error: "it costs too many steps on this request" };
    // Errors come back as values, and they are truthy.
    return isCelError(value) ? { ok: false, error: value.message } : { ok: true, value };
  };
}

/** Deepest nesting of claims; a token of 8 KiB could hold thousands of brackets, and exhaust the stack. */
const MAX_JSON_DEPTH = 32;

/** A JSON value as CEL takes it; what is no JSON, or nested too deep, becomes null. */
export function jsonToCel(value: unknown, depth = 0): CelInput {
  switch (typeof value) {
    case "string":
    case "number":
    case "boolean":
      return value;
    case "object":
      if (value === null || depth >= MAX_JSON_DEPTH) return null;
      if (Array.isArray(value)) return value.map((element: unknown) => jsonToCel(element, depth + 1));
      return new Map(Object.entries(value).map(([key, each]) => [key, jsonToCel(each, depth + 1)]));
    default:
      return null;
  }
}
