// What an evaluation may cost. The library has no limit of its own, and lists in requests have any length, so the tree is
// rewritten before it is planned: each turn of a loop, and each operation on a text or list, counts against a budget.
// Never changes what an expression means.
import { type CelFunc, CelScalar, celError, celFunc, isCelList, isCelMap } from "@bufbuild/cel";
import type { Expr } from "./syntax.ts";

/**
 * Units that one evaluation may use: one for each node in each turn of a loop, each element, each 16 characters or bytes looked at, and
 * each character that a pattern is matched on. All of it takes about 20 ms.
 */
export const BUDGET = 50_000;

const STEP = "@step";
const SIZED = "@sized";
// Cost grows with the first operand; `in` with its second.
const GROWS: ReadonlySet<string> = new Set(["contains", "startsWith", "endsWith", "matches", "size", "_+_", "_==_", "_!=_"]);

/** Counts what one evaluation uses. Evaluations are synchronous and do not nest, so one is enough for all. */
export class Meter {
  #used = 0;

  /** Before each evaluation. */
  reset(): void {
    this.#used = 0;
  }

  /** Whether the budget was overdrawn: then the outcome is an error, whatever `||` made of it. */
  get overdrawn(): boolean {
    return this.#used > BUDGET;
  }

  /** The functions that {@link metered} puts into trees. */
  readonly functions: CelFunc[] = [
    celFunc(STEP, [CelScalar.BOOL, CelScalar.INT], CelScalar.BOOL, (goOn, weight) => {
      this.#use(Number(weight));
      return goOn;
    }),
    celFunc(SIZED, [CelScalar.DYN, CelScalar.INT], CelScalar.DYN, (value, perUnit) => {
      if (typeof value === "string" || value instanceof Uint8Array) this.#use(value.length / Number(perUnit));
      else if (isCelList(value) || isCelMap(value)) this.#use(value.size);
      return value;
    }),
  ];

  #use(units: number): void {
    this.#used += units;
    if (this.#used > BUDGET) throw celError(`it costs more than ${BUDGET} steps`);
  }
}

/** The same expression, counting what it uses; enum values become their numbers. */
export function metered(expr: Expr, constants: ReadonlyMap<Expr, bigint>): Expr {
  const constant = constants.get(expr);
  if (constant !== undefined) return int(expr, constant);
  const again = (part: Expr) => metered(part, constants);
  const node = expr.exprKind;
  switch (node.case) {
    case "selectExpr":
      if (node.value.operand === undefined) return expr;
      return { ...expr, exprKind: { case: node.case, value: { ...node.value, operand: again(node.value.operand) } } };
    case "listExpr":
      return { ...expr, exprKind: { case: node.case, value: { ...node.value, elements: node.value.elements.map(again) } } };
    case "callExpr":
      return meteredCall(expr, node.value, again);
    case "comprehensionExpr": {
      const { iterRange, accuInit, loopCondition, loopStep, result } = node.value;
      if (!iterRange || !accuInit || !loopCondition || !loopStep || !result) return expr;
      const step = again(loopStep);
      const condition = call(expr, STEP, [again(loopCondition), int(expr, BigInt(countNodes(step)))]);
      const value = { ...node.value, iterRange: again(iterRange), loopCondition: condition, loopStep: step, result: again(result) };
      return { ...expr, exprKind: { case: node.case, value } };
    }
    default:
      return expr;
  }
}

type Call = Extract<Expr["exprKind"], { case: "callExpr" }>["value"];

function meteredCall(expr: Expr, node: Call, again: (part: Expr) => Expr): Expr {
  const perUnit = node.function === "matches" ? 1n : 16n;
  const sized = (part: Expr) => (isPlain(part) ? part : call(part, SIZED, [part, int(part, perUnit)]));
  const grows = GROWS.has(node.function);
  const args = node.args.map((arg, index) => {
    const grown = node.function === "@in" ? index === 1 : grows && (index === 0 || node.function === "_+_") && node.target === undefined;
    return grown ? sized(again(arg)) : again(arg);
  });
  const value: Call = { ...node, args };
  if (node.target !== undefined) value.target = grows ? sized(again(node.target)) : again(node.target);
  return { ...expr, exprKind: { case: "callExpr", value } };
}

/** Written out in the expression, and so short. */
function isPlain(expr: Expr): boolean {
  return expr.exprKind.case === "constExpr" || (expr.exprKind.case === "listExpr" && expr.exprKind.value.elements.every(isPlain));
}

function call(at: Expr, name: string, args: Expr[]): Expr {
  return {
    $typeName: "cel.expr.Expr",
    id: at.id,
    exprKind: { case: "callExpr", value: { $typeName: "cel.expr.Expr.Call", function: name, args } },
  };
}

function int(at: Expr, value: bigint): Expr {
  const constant = { $typeName: "cel.expr.Constant" as const, constantKind: { case: "int64Value" as const, value } };
  return { $typeName: "cel.expr.Expr", id: at.id, exprKind: { case: "constExpr", value: constant } };
}

function countNodes(expr: Expr): number {
  const node = expr.exprKind;
  if (node.case === "selectExpr") return 1 + (node.value.operand === undefined ? 0 : countNodes(node.value.operand));
  if (node.case === "callExpr")
    return [node.value.target, ...node.value.args].reduce((sum, part) => sum + (part === undefined ? 0 : countNodes(part)), 1);
  if (node.case === "listExpr") return node.value.elements.reduce((sum, part) => sum + countNodes(part), 1);
  return 1;
}
