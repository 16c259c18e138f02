// CEL source to syntax tree, within limits that are held before the parser runs.
// Never judges meaning: checker.ts does.
import { parse } from "@bufbuild/cel";

/** A node of the syntax tree. */
export type Expr = ReturnType<typeof parse>["expr"];
/** A parsed expression with the places of its nodes. */
export type Parsed = ReturnType<typeof parse>;

/** What is wrong with an expression, and where in its text. */
export interface Problem {
  readonly message: string;
  readonly fix: string;
  /** Characters from the start of the expression. */
  readonly offset: number;
}

/** Longest expression, in characters. */
export const MAX_EXPRESSION_CHARS = 2000;
/** Deepest nesting of brackets, and of signs in a row. */
export const MAX_NESTING = 64;
/** Deepest syntax tree: long sums and chains of conditionals nest without a bracket. */
const MAX_TREE_DEPTH = 200;

/** Parses within the limits. */
export function parseExpression(source: string): { ok: true; parsed: Parsed } | { ok: false; problem: Problem } {
  const refuse = (message: string, fix: string, offset = 0) => ({ ok: false, problem: { message, fix, offset } }) as const;
  if (source.trim() === "") return refuse("the expression is empty", "leave the key out, or write a condition");
  if (source.length > MAX_EXPRESSION_CHARS)
    return refuse(
      `the expression has ${source.length} characters, more than ${MAX_EXPRESSION_CHARS}`,
      "split the entitlement, or shorten it",
    );
  const deep = tooDeepAt(source);
  if (deep !== undefined) return refuse(`the expression is nested more than ${MAX_NESTING} deep`, "take brackets out", deep);
  let parsed: Parsed;
  try {
    parsed = parse(source);
  } catch (error) {
    return refuse(`not CEL: ${parserText(error)}`, "see the supported syntax in docs/policy.md", parserOffset(error));
  }
  if (depthExceeds(parsed.expr, MAX_TREE_DEPTH))
    return refuse(`the expression has more than ${MAX_TREE_DEPTH} operations inside each other`, "shorten it, or use `in [...]`");
  return { ok: true, parsed };
}

/** Where a node begins. */
export function offsetOf(parsed: Parsed, expr: Expr): number {
  return parsed.sourceInfo?.positions[expr.id.toString()] ?? 0;
}

/** The name of the macro that a node came from. */
export function macroOf(parsed: Parsed, expr: Expr): string | undefined {
  const call = parsed.sourceInfo?.macroCalls[expr.id.toString()]?.exprKind;
  return call?.case === "callExpr" ? call.value.function : undefined;
}

/** The nodes directly under a node. */
export function childrenOf(expr: Expr): readonly Expr[] {
  const kind = expr.exprKind;
  switch (kind.case) {
    case "selectExpr":
      return kind.value.operand === undefined ? [] : [kind.value.operand];
    case "callExpr":
      return kind.value.target === undefined ? kind.value.args : [kind.value.target, ...kind.value.args];
    case "listExpr":
      return kind.value.elements;
    case "structExpr":
      return kind.value.entries.flatMap((entry) => [
        ...(entry.keyKind.case === "mapKey" ? [entry.keyKind.value] : []),
        ...(entry.value === undefined ? [] : [entry.value]),
      ]);
    case "comprehensionExpr":
      return [kind.value.iterRange, kind.value.accuInit, kind.value.loopCondition, kind.value.loopStep, kind.value.result].filter(
        (part) => part !== undefined,
      );
    default:
      return [];
  }
}

function depthExceeds(root: Expr, limit: number): boolean {
  let level: readonly Expr[] = [root];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limit) return true;
    level = level.flatMap((expr) => childrenOf(expr));
  }
  return false;
}

/** Where brackets or signs first nest too deep; strings and comments do not count. */
function tooDeepAt(source: string): number | undefined {
  let brackets = 0;
  let signs = 0;
  for (let i = 0; i < source.length; i++) {
    const char = source.charAt(i);
    if (char === '"' || char === "'") {
      i = endOfString(source, i);
      signs = 0;
    } else if (char === "/" && source[i + 1] === "/") {
      const end = source.indexOf("\n", i);
      i = end === -1 ? source.length : end;
    } else if ("([{".includes(char)) {
      if (++brackets > MAX_NESTING) return i;
    } else if (")]}".includes(char)) brackets--;
    if (char === "!" || char === "-") {
      if (++signs > MAX_NESTING) return i;
    } else if (char.trim() !== "") signs = 0;
  }
  return undefined;
}

/** Index of the last character of the string literal that opens at `start`. */
function endOfString(source: string, start: number): number {
  const quote = source.charAt(start);
  const raw = /(^|[^A-Za-z0-9_])[bB]?[rR][bB]?$/.test(source.slice(Math.max(0, start - 3), start));
  const close = source.startsWith(quote.repeat(3), start) ? quote.repeat(3) : quote;
  let i = start + close.length;
  while (i < source.length && !source.startsWith(close, i)) i += !raw && source[i] === "\\" ? 2 : 1;
  return Math.min(i + close.length - 1, source.length - 1);
}

function parserText(error: unknown): string {
  if (error instanceof RangeError) return "nested too deep";
  return error instanceof Error ? (error.message.split("\n")[0] ?? "").slice(0, 300) : "it does not parse";
}

/** The parser's errors carry `location.start.offset`. */
function parserOffset(error: unknown): number {
  if (typeof error !== "object" || error === null || !("location" in error)) return 0;
  const { location } = error;
  if (typeof location !== "object" || location === null || !("start" in location)) return 0;
  const { start } = location;
  if (typeof start !== "object" || start === null || !("offset" in start)) return 0;
  return typeof start.offset === "number" ? start.offset : 0;
}
