// Conditions: CEL over `request` and `principal`, compiled once and evaluated on every call that needs one.
// No condition compiles unless our own type checker passed it; a condition permits only on exactly `true`.
import { type CelInput, type CelMap, celMap } from "@bufbuild/cel";
import { type DescEnum, type DescMessage, fromBinary } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { PrincipalFacts } from "../principal/principal.ts";
import { checkExpression } from "./checker.ts";
import { DYN, describe, type Kind, kindOfMessage, STRING, unwrap } from "./kind.ts";
import { jsonToCel, planExpression, type Result } from "./plan.ts";
import { childrenOf, type Expr, type Problem, parseExpression } from "./syntax.ts";
import { ambiguity } from "./wire.ts";

/** Longest request that a condition reads, in bytes; a longer one is an error, and denies. */
export const MAX_REQUEST_BYTES = 1 << 20;

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

/** What a condition is compiled against. */
export interface ConditionContext {
  /** The request message of each method that the condition is for; empty without descriptors, and then `request` cannot be read. */
  readonly requestTypes: ReadonlyMap<string, DescMessage>;
  /** An enum by its full name. */
  readonly enumNamed?: (typeName: string) => DescEnum | undefined;
}

/** A condition, or what is wrong with it. */
export type CompiledCondition =
  | { readonly ok: true; readonly condition: Condition }
  | { readonly ok: false; readonly problem: Problem & { readonly needsDescriptors?: boolean } };

const PRINCIPAL: Kind = {
  is: "record",
  name: "principal",
  fields: new Map<string, Kind>([
    ["name", STRING],
    ["kind", STRING],
    ["groups", { is: "list", of: STRING }],
    ["claims", { is: "map", key: STRING, value: DYN }],
  ]),
};

/** Compiles a condition for the methods of the context; it has to check against the request of each of them. */
export function compileCondition(source: string, context: ConditionContext): CompiledCondition {
  const syntax = parseExpression(source);
  if (!syntax.ok) return syntax;
  const { parsed } = syntax;
  const readsRequest = mentions(parsed.expr, "request");
  const types = new Map([...context.requestTypes.values()].map((type) => [type.typeName, type]));
  if (readsRequest && types.size === 0) {
    const problem = {
      message: "the condition reads the request, and no descriptors say what is in it",
      fix: "give descriptors: `descriptors: FILE`",
      offset: 0,
    };
    return { ok: false, problem: { ...problem, needsDescriptors: true } };
  }
  let constants: ReadonlyMap<Expr, bigint> = new Map();
  for (const type of readsRequest ? types.values() : [[...types.values()][0]]) {
    const variables = new Map<string, Kind>([["principal", PRINCIPAL]]);
    if (type !== undefined) variables.set("request", kindOfMessage(type));
    const result = checkExpression(parsed, { variables, enumNamed: context.enumNamed ?? (() => undefined) });
    if (!result.ok) return result;
    const { kind } = result.checked;
    if (unwrap(kind).is !== "bool" && kind.is !== "dyn")
      return {
        ok: false,
        problem: { message: `a condition is true or false, not ${describe(kind)}`, fix: "compare it with something", offset: 0 },
      };
    constants = result.checked.constants;
  }
  const run = planExpression(parsed.expr, constants);
  const only = types.size === 1 ? [...types.values()][0] : undefined;
  const condition: Condition = {
    source,
    readsRequest,
    evaluate(input) {
      if (!readsRequest) return outcome(run({ principal: principalOf(input.principal) }));
      const type = only ?? context.requestTypes.get(input.method ?? "");
      const request = readRequest(type, input.request);
      return typeof request === "string" ? { error: request } : outcome(run({ request, principal: principalOf(input.principal) }));
    },
  };
  return { ok: true, condition };
}

/** The message, or why there is none. */
function readRequest(type: DescMessage | undefined, bytes: Uint8Array | undefined): ReturnType<typeof reflect> | string {
  if (type === undefined) return "the request's type is not known for this method";
  if (bytes === undefined) return "there is no request to look at";
  if (bytes.length > MAX_REQUEST_BYTES)
    return `the request has ${bytes.length} bytes, more than the ${MAX_REQUEST_BYTES} that a condition reads`;
  const differs = ambiguity(type, bytes);
  if (differs !== undefined) return `the request does not read as one ${type.typeName} to everybody: ${differs}`;
  try {
    return reflect(type, fromBinary(type, bytes));
  } catch {
    return `the request does not decode as ${type.typeName}`;
  }
}

function outcome(result: Result): ConditionOutcome {
  if (!result.ok) return { error: result.error };
  if (result.value === true) return "true";
  if (result.value === false) return "false";
  return { error: "it gave neither true nor false" };
}

// Facts live as long as a caller's token; conditions on one principal run many times.
const principals = new WeakMap<PrincipalFacts, CelMap>();

function principalOf(who: PrincipalFacts): CelMap {
  let known = principals.get(who);
  if (known === undefined) {
    const fields: [string, CelInput][] = [
      ["name", who.name],
      ["kind", who.kind],
      ["groups", [...who.groups]],
      ["claims", jsonToCel(who.claims)],
    ];
    known = celMap(new Map(fields));
    principals.set(who, known);
  }
  return known;
}

function mentions(expr: Expr, variable: string): boolean {
  if (expr.exprKind.case === "identExpr") return expr.exprKind.value.name === variable;
  return childrenOf(expr).some((child) => mentions(child, variable));
}
