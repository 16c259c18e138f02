// Types of operators and functions in conditions: the whole list of what may be called.
// Never evaluates; what is not here is refused.
import type { Checker } from "./checker.ts";
import {
  BOOL,
  comparable,
  DOUBLE,
  DURATION,
  DYN,
  describe,
  INT,
  isNumber,
  type Kind,
  ordered,
  STRING,
  TIMESTAMP,
  UINT,
  unwrap,
} from "./kind.ts";
import { patternCompiles } from "./pattern.ts";
import type { Expr } from "./syntax.ts";

type Call = Extract<Expr["exprKind"], { case: "callExpr" }>["value"];
type Scope = ReadonlyMap<string, Kind>;

const SYMBOLS: ReadonlyMap<string, string> = new Map([
  ["_&&_", "&&"],
  ["_||_", "||"],
  ["!_", "!"],
  ["_?_:_", "?:"],
  ["@in", "in"],
  ["_[_]", "[]"],
  ["-_", "-"],
  ...["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"].map((symbol) => [`_${symbol}_`, symbol] as const),
]);
const STRING_METHODS = new Set(["contains", "startsWith", "endsWith", "matches"]);
const CONVERSIONS: ReadonlyMap<string, Kind> = new Map([
  ["int", INT],
  ["uint", UINT],
  ["double", DOUBLE],
  ["string", STRING],
]);
const FROM_TEXT: ReadonlyMap<string, Kind> = new Map([
  ["duration", DURATION],
  ["timestamp", TIMESTAMP],
]);

/** The type of a call's result. */
export function checkCall(checker: Checker, expr: Expr, call: Call, scope: Scope): Kind {
  const { function: name, args, target } = call;
  const symbol = SYMBOLS.get(name);
  if (target === undefined && symbol !== undefined) return checkOperator(checker, expr, symbol, args, scope);
  if (target === undefined && name === "@not_strictly_false") {
    for (const arg of args) checker.expect(arg, BOOL, scope, "the loop");
    return BOOL;
  }
  if (name === "size") {
    const [only, ...more] = target === undefined ? args : [target, ...args];
    if (only === undefined || more.length > 0) return checker.refuse(expr, "size takes one value", "write size(x) or x.size()");
    const kind = unwrap(checker.kindOf(only, scope));
    if (!["string", "bytes", "list", "map", "dyn"].includes(kind.is))
      checker.refuse(only, `${describe(kind)} has no size`, "size is for strings, bytes, lists and maps");
    return INT;
  }
  if (target !== undefined && STRING_METHODS.has(name)) return checkStringMethod(checker, expr, name, target, args, scope);
  if (target === undefined && args.length === 1 && args[0] !== undefined) {
    const conversion = CONVERSIONS.get(name);
    if (conversion !== undefined) return checkConversion(checker, conversion, args[0], scope);
    const built = FROM_TEXT.get(name);
    if (built !== undefined) return checkLiteral(checker, name, built, args[0]);
  }
  if (name === "has") return checker.refuse(expr, "has takes a field", "write has(request.field)");
  return checker.refuse(expr, `there is no function ${name} here`, "see the list of functions in docs/policy.md");
}

function checkOperator(checker: Checker, expr: Expr, symbol: string, args: readonly Expr[], scope: Scope): Kind {
  const [first, second, third] = args;
  if (first === undefined) return checker.refuse(expr, `${symbol} needs a value`, "see docs/policy.md");
  switch (symbol) {
    case "&&":
    case "||":
    case "!":
      for (const arg of args) checker.expect(arg, BOOL, scope, symbol);
      return BOOL;
    case "?:":
      if (second === undefined || third === undefined) break;
      checker.expect(first, BOOL, scope, "?:");
      return checkBranches(checker, expr, checker.kindOf(second, scope), checker.kindOf(third, scope));
    case "[]":
      if (second === undefined) break;
      return checkIndex(checker, second, checker.kindOf(first, scope), checker.kindOf(second, scope));
    case "in":
      if (second === undefined) break;
      return checkIn(checker, expr, first, checker.kindOf(first, scope), checker.kindOf(second, scope));
    case "==":
    case "!=":
      if (second === undefined) break;
      return checkEqual(checker, expr, symbol, [first, checker.kindOf(first, scope)], [second, checker.kindOf(second, scope)]);
    case "<":
    case "<=":
    case ">":
    case ">=": {
      if (second === undefined) break;
      const [left, right] = [checker.kindOf(first, scope), checker.kindOf(second, scope)];
      if (!ordered(left, right)) checker.refuse(expr, `${describe(left)} ${symbol} ${describe(right)} has no meaning`, fixFor(left, right));
      return BOOL;
    }
    case "-":
      if (second === undefined) {
        const kind = unwrap(checker.kindOf(first, scope));
        if (kind.is !== "int" && kind.is !== "double" && kind.is !== "dyn") checker.refuse(expr, `- of ${describe(kind)}`, "use a number");
        return kind;
      }
      return checkArithmetic(checker, expr, symbol, checker.kindOf(first, scope), checker.kindOf(second, scope));
    case "+":
    case "*":
    case "/":
    case "%":
      if (second === undefined) break;
      return checkArithmetic(checker, expr, symbol, checker.kindOf(first, scope), checker.kindOf(second, scope));
    default:
      break;
  }
  return checker.refuse(expr, `${symbol} lacks a value`, "see docs/policy.md");
}

function checkBranches(checker: Checker, expr: Expr, yes: Kind, no: Kind): Kind {
  if (yes.is === "dyn" || no.is === "dyn") return yes.is === no.is ? DYN : yes.is === "dyn" ? no : yes;
  if (yes.is !== no.is || (yes.is !== "message" && !comparable(yes, no)))
    checker.refuse(expr, `?: gives ${describe(yes)} or ${describe(no)}`, "give both branches one type");
  if (yes.is === "message" && no.is === "message" && yes.desc.typeName !== no.desc.typeName)
    checker.refuse(expr, `?: gives ${describe(yes)} or ${describe(no)}`, "give both branches one type");
  return yes;
}

function checkIndex(checker: Checker, index: Expr, owner: Kind, key: Kind): Kind {
  if (owner.is === "dyn" && (key.is === "string" || key.is === "int" || key.is === "dyn")) return DYN;
  if (owner.is === "list" && (key.is === "int" || key.is === "dyn")) return owner.of;
  if (owner.is === "map" && (key.is === owner.key.is || key.is === "dyn")) return owner.value;
  return checker.refuse(
    index,
    `${describe(owner)} cannot be looked up by ${describe(key)}`,
    "use a list's position, or a map's key of its own type",
  );
}

function checkIn(checker: Checker, expr: Expr, item: Expr, left: Kind, right: Kind): Kind {
  if (right.is === "dyn" && left.is !== "message" && left.is !== "record") return BOOL;
  if (right.is === "list" && (comparable(left, right.of) || isValueOf(item, right.of) || isValueOf(item, left))) return BOOL;
  if (right.is === "list" && left.is === "enum" && right.of.is === "int")
    return checker.refuse(expr, `${describe(left)} in a list of numbers`, "name the enum's values");
  if (right.is === "map" && (left.is === right.key.is || left.is === "dyn")) return BOOL;
  return checker.refuse(
    expr,
    `${describe(left)} in ${describe(right)} has no meaning`,
    fixFor(left, right.is === "list" ? right.of : right),
  );
}

function checkEqual(checker: Checker, expr: Expr, symbol: string, left: readonly [Expr, Kind], right: readonly [Expr, Kind]): Kind {
  if (comparable(left[1], right[1]) || isValueOf(left[0], right[1]) || isValueOf(right[0], left[1])) return BOOL;
  return checker.refuse(expr, `${describe(left[1])} and ${describe(right[1])} do not compare with ${symbol}`, fixFor(left[1], right[1]));
}

/** Whether a node is a number that the enum defines. */
function isValueOf(expr: Expr, kind: Kind): boolean {
  if (kind.is !== "enum" || expr.exprKind.case !== "constExpr") return false;
  const constant = expr.exprKind.value.constantKind;
  return constant.case === "int64Value" && kind.desc.values.some((value) => BigInt(value.number) === constant.value);
}

function checkArithmetic(checker: Checker, expr: Expr, symbol: string, left: Kind, right: Kind): Kind {
  const [a, b] = [unwrap(left), unwrap(right)];
  const ok = (kind: Kind) => isNumber(kind) || (symbol === "+" && kind.is === "string") || kind.is === "dyn";
  if (symbol === "%" && (a.is === "double" || b.is === "double")) return checker.refuse(expr, "% of double", "use whole numbers");
  if (ok(a) && ok(b) && (a.is === b.is || a.is === "dyn" || b.is === "dyn")) return a.is === "dyn" ? b : a;
  if ((symbol === "+" || symbol === "-") && b.is === "duration" && (a.is === "timestamp" || a.is === "duration")) return a;
  return checker.refuse(expr, `${describe(left)} ${symbol} ${describe(right)} has no meaning`, fixFor(left, right));
}

function checkStringMethod(checker: Checker, expr: Expr, name: string, target: Expr, args: readonly Expr[], scope: Scope): Kind {
  checker.expect(target, STRING, scope, name);
  const [arg] = args;
  if (arg === undefined || args.length !== 1) return checker.refuse(expr, `${name} takes one string`, `write x.${name}("…")`);
  checker.expect(arg, STRING, scope, name);
  if (name === "matches") checkPattern(checker, arg);
  return BOOL;
}

/** A pattern is compiled on each call: it has to be known, short and good when it is written. */
function checkPattern(checker: Checker, arg: Expr): void {
  const text = textOf(arg);
  if (text === undefined) return checker.refuse(arg, "matches needs its pattern written out", 'write x.matches("…")');
  if (!patternCompiles(text))
    checker.refuse(arg, `not an RE2 pattern: ${text}`, "see github.com/google/re2/wiki/Syntax; no look-around, no back-references");
}

function checkConversion(checker: Checker, to: Kind, arg: Expr, scope: Scope): Kind {
  const kind = unwrap(checker.kindOf(arg, scope));
  // Not from text: the library reads int("") as 0, and double("x") as NaN.
  const toText = to.is === "string" && (kind.is === "dyn" || kind.is === "string" || kind.is === "bool");
  const fine = isNumber(kind) || toText || (kind.is === "enum" && to.is === "int");
  if (!fine) checker.refuse(arg, `${describe(kind)} does not convert to ${describe(to)}`, "only numbers do, and enums to int");
  return to;
}

function checkLiteral(checker: Checker, name: string, kind: Kind, arg: Expr): Kind {
  const text = textOf(arg);
  const good =
    text !== undefined &&
    (name === "duration"
      ? /^-?(\d+(\.\d+)?(h|m|s|ms))+$/.test(text)
      : /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text));
  const example = name === "duration" ? 'duration("90m")' : 'timestamp("2026-01-31T08:00:00Z")';
  return good ? kind : checker.refuse(arg, `${name} needs its text written out and well formed`, `write ${example}`);
}

function textOf(expr: Expr): string | undefined {
  if (expr.exprKind.case !== "constExpr") return undefined;
  const constant = expr.exprKind.value.constantKind;
  return constant.case === "stringValue" ? constant.value : undefined;
}

function fixFor(left: Kind, right: Kind): string {
  const [a, b] = [unwrap(left), unwrap(right)];
  if (a.is === "enum" || b.is === "enum") return "name the value as package.Enum.VALUE";
  if (a.is === "message" || b.is === "message" || a.is === "map" || b.is === "map") return "compare its fields, or use has()";
  if (a.is === "int" && b.is === "string") return "leave the quotes away";
  if (a.is === "uint" && b.is === "int") return "write the number with a u, as in 5u";
  if (isNumber(a) && isNumber(b)) return "convert one with int(), uint() or double()";
  return "give both sides one type";
}
