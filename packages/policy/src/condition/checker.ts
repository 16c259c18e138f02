// The type checker that every condition passes before it is planned. What it does not know is an error: the CEL library
// has no checker, and a wrong field inside `||` would permit. Covers the part of CEL that docs/policy.md lists, nothing else.
// Never evaluates.
import type { DescEnum } from "@bufbuild/protobuf";
import { nearest } from "../nearest/nearest.ts";
import { checkCall } from "./call.ts";
import { BOOL, BYTES, comparable, DOUBLE, DYN, describe, INT, type Kind, kindOfField, NULL, STRING, UINT, unwrap } from "./kind.ts";
import { type Expr, macroOf, offsetOf, type Parsed, type Problem } from "./syntax.ts";

/** What a condition may name. */
export interface Names {
  /** Variables by name. */
  readonly variables: ReadonlyMap<string, Kind>;
  /** An enum by its full name. */
  readonly enumNamed: (typeName: string) => DescEnum | undefined;
}

/** What the checker found out. */
export interface Checked {
  readonly kind: Kind;
  /** Enum values that the expression names, by node. */
  readonly constants: ReadonlyMap<Expr, bigint>;
}

/** Thrown inside the checker, caught at its door. */
export class Refused extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.message);
    this.problem = problem;
  }
}

const MACROS = new Set(["exists", "all", "exists_one", "existsOne"]);

/** The type of an expression, or the first thing that is wrong with it. */
export function checkExpression(parsed: Parsed, names: Names): { ok: true; checked: Checked } | { ok: false; problem: Problem } {
  const checker = new Checker(parsed, names);
  try {
    return { ok: true, checked: { kind: checker.kindOf(parsed.expr, names.variables), constants: checker.constants } };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, problem: error.problem };
    throw error;
  }
}

/** One walk over one expression. */
export class Checker {
  readonly constants = new Map<Expr, bigint>();
  readonly #parsed: Parsed;
  readonly #names: Names;

  constructor(parsed: Parsed, names: Names) {
    this.#parsed = parsed;
    this.#names = names;
  }

  /** Ends the check with a problem at a node. */
  refuse(expr: Expr, message: string, fix: string): never {
    throw new Refused({ message, fix, offset: offsetOf(this.#parsed, expr) });
  }

  kindOf(expr: Expr, scope: ReadonlyMap<string, Kind>): Kind {
    const kind = this.#kindOf(expr, scope);
    if (kind.is === "unreadable") this.refuse(expr, `a condition cannot read this: ${kind.why}`, "take it out of the condition");
    return kind;
  }

  #kindOf(expr: Expr, scope: ReadonlyMap<string, Kind>): Kind {
    const node = expr.exprKind;
    switch (node.case) {
      case "identExpr":
        return scope.get(node.value.name) ?? this.#unknownVariable(expr, node.value.name, scope);
      case "constExpr":
        return this.#constant(expr, node.value.constantKind.case);
      case "selectExpr":
        return this.#select(expr, node.value.operand, node.value.field, node.value.testOnly, scope);
      case "callExpr":
        return checkCall(this, expr, node.value, scope);
      case "listExpr":
        return { is: "list", of: this.#common(node.value.elements, scope) };
      case "comprehensionExpr":
        return this.#comprehension(expr, node.value, scope);
      case "structExpr":
        return this.refuse(expr, "messages and maps cannot be made in a condition", "compare field by field");
      default:
        return this.refuse(expr, "not an expression", "see docs/policy.md");
    }
  }

  #unknownVariable(expr: Expr, name: string, scope: ReadonlyMap<string, Kind>): never {
    const known = [...scope.keys()].filter((each) => !each.startsWith("@"));
    const guess = nearest(name.split(".")[0] ?? "", known);
    const fix = guess === undefined ? `known are ${known.join(", ")}, and enum values as package.Enum.VALUE` : `did you mean ${guess}?`;
    return this.refuse(expr, `unknown name ${name}`, fix);
  }

  #constant(expr: Expr, kind: string | undefined): Kind {
    switch (kind) {
      case "boolValue":
        return BOOL;
      case "int64Value":
        return INT;
      case "uint64Value":
        return UINT;
      case "doubleValue":
        return DOUBLE;
      case "stringValue":
        return STRING;
      case "bytesValue":
        return BYTES;
      case "nullValue":
        return NULL;
      default:
        return this.refuse(expr, "unknown kind of literal", "see docs/policy.md");
    }
  }

  #select(expr: Expr, operand: Expr | undefined, field: string, testOnly: boolean, scope: ReadonlyMap<string, Kind>): Kind {
    if (operand === undefined) return this.refuse(expr, "a field of nothing", "see docs/policy.md");
    const value = this.#enumValue(expr, scope);
    if (value !== undefined) return value;
    const kind = this.#fieldOf(expr, this.kindOf(operand, scope), field);
    return testOnly ? BOOL : kind;
  }

  #fieldOf(expr: Expr, owner: Kind, field: string): Kind {
    switch (owner.is) {
      case "dyn":
        return DYN;
      case "map":
        if (owner.key.is === "string") return owner.value;
        return this.refuse(expr, `a ${describe(owner)} has no field ${field}`, "look it up as `[key]`");
      case "record": {
        const kind = owner.fields.get(field);
        if (kind !== undefined) return kind;
        return this.#unknownField(expr, owner.name, field, [...owner.fields.keys()]);
      }
      case "message": {
        const found = owner.desc.fields.find((each) => each.name === field);
        if (found !== undefined) return kindOfField(found);
        const json = owner.desc.fields.find((each) => each.jsonName === field);
        if (json !== undefined)
          return this.refuse(expr, `${owner.desc.typeName} has no field ${field}`, `write ${json.name}, as in the .proto file`);
        return this.#unknownField(
          expr,
          owner.desc.typeName,
          field,
          owner.desc.fields.map((each) => each.name),
        );
      }
      default:
        return this.refuse(expr, `${describe(owner)} has no fields, so no ${field}`, "compare the value itself");
    }
  }

  #unknownField(expr: Expr, owner: string, field: string, known: readonly string[]): never {
    const guess = nearest(field, known);
    const fix = guess === undefined ? `it has ${known.join(", ") || "no fields"}` : `did you mean ${guess}?`;
    return this.refuse(expr, `${owner} has no field ${field}`, fix);
  }

  /** `package.Enum.VALUE`, when its first part is no variable. */
  #enumValue(expr: Expr, scope: ReadonlyMap<string, Kind>): Kind | undefined {
    const path = pathOf(expr);
    if (path === undefined || scope.has(path[0] ?? "")) return undefined;
    const desc = this.#names.enumNamed(path.slice(0, -1).join("."));
    if (desc === undefined) return this.#unknownVariable(rootOf(expr), path.join("."), scope);
    const name = path.at(-1) ?? "";
    const value = desc.values.find((each) => each.name === name);
    if (value === undefined) return this.#unknownValue(expr, desc, name);
    this.constants.set(expr, BigInt(value.number));
    return { is: "enum", desc };
  }

  #unknownValue(expr: Expr, desc: DescEnum, name: string): never {
    const names = desc.values.map((each) => each.name);
    const guess = nearest(name, names);
    return this.refuse(
      expr,
      `${desc.typeName} has no value ${name}`,
      guess === undefined ? `it has ${names.join(", ")}` : `did you mean ${guess}?`,
    );
  }

  /** The element type of a list literal. */
  #common(elements: readonly Expr[], scope: ReadonlyMap<string, Kind>): Kind {
    let common: Kind = DYN;
    for (const [index, element] of elements.entries()) {
      const kind = this.kindOf(element, scope);
      if (kind.is === "message" || kind.is === "record" || kind.is === "map")
        this.refuse(element, `${describe(kind)} cannot stand in a list`, "list plain values");
      if (index === 0 || common.is === "dyn") common = kind;
      else if (!comparable(common, kind))
        this.refuse(element, `${describe(kind)} in a list of ${describe(common)}`, "give all elements one type");
    }
    return common;
  }

  #comprehension(
    expr: Expr,
    node: Extract<Expr["exprKind"], { case: "comprehensionExpr" }>["value"],
    scope: ReadonlyMap<string, Kind>,
  ): Kind {
    const macro = macroOf(this.#parsed, expr);
    if (macro === undefined || !MACROS.has(macro))
      return this.refuse(expr, `${macro ?? "this macro"} is not supported`, "use exists, all or exists_one");
    const { iterVar, iterRange, accuVar, accuInit, loopCondition, loopStep, result } = node;
    if (iterRange === undefined || accuInit === undefined || loopCondition === undefined || loopStep === undefined || result === undefined)
      return this.refuse(expr, `${macro} is incomplete`, `write ${macro}(x, condition on x)`);
    if (scope.has(iterVar) && !iterVar.startsWith("@"))
      return this.refuse(expr, `${iterVar} has a meaning already`, "name the loop's variable differently");
    const element = this.#elementOf(expr, macro, this.kindOf(iterRange, scope));
    const inner = new Map([...scope, [iterVar, element], [accuVar, this.kindOf(accuInit, scope)]]);
    this.expect(loopCondition, BOOL, inner, macro);
    this.kindOf(loopStep, inner);
    return this.kindOf(result, inner);
  }

  #elementOf(expr: Expr, macro: string, range: Kind): Kind {
    switch (range.is) {
      case "list":
        return range.of;
      case "map":
        return range.key;
      case "dyn":
        return DYN;
      default:
        return this.refuse(expr, `${macro} over ${describe(range)}`, "it needs a list or a map");
    }
  }

  /** The type of a node that must be `wanted`; dyn passes, and is checked when it is evaluated. */
  expect(expr: Expr, wanted: Kind, scope: ReadonlyMap<string, Kind>, by: string): Kind {
    const kind = this.kindOf(expr, scope);
    const is = unwrap(kind).is;
    if (is !== wanted.is && is !== "dyn")
      this.refuse(expr, `${by} needs ${describe(wanted)}, not ${describe(kind)}`, `give it a ${describe(wanted)}`);
    return kind;
  }
}

/** The names of a chain `a.b.c`; undefined if it is anything else. */
function pathOf(expr: Expr): readonly string[] | undefined {
  const names: string[] = [];
  let node: Expr | undefined = expr;
  while (node?.exprKind.case === "selectExpr" && !node.exprKind.value.testOnly) {
    names.unshift(node.exprKind.value.field);
    node = node.exprKind.value.operand;
  }
  if (node?.exprKind.case !== "identExpr") return undefined;
  return [node.exprKind.value.name, ...names];
}

/** The node that a chain `a.b.c` begins with. */
function rootOf(expr: Expr): Expr {
  const node = expr.exprKind;
  return node.case === "selectExpr" && node.value.operand !== undefined ? rootOf(node.value.operand) : expr;
}
