// The document's own tests, run through the one evaluator: what guards would say.
// Never asks for, approves or records anything; the elevation of `with` is made up, and live.
import { createHash } from "node:crypto";
import { type Elevation, ElevationSchema, ElevationState, Presentation } from "@brevet/protocol/brevet/v1/elevation";
import { create, fromJson, type JsonObject, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { CompiledPolicy, Entitlement } from "../compile/compiled.ts";
import type { TestDocument } from "../document/document.ts";
import { type CallFacts, type Denied, evaluate, type Permitted } from "../evaluate/evaluate.ts";
import { kindOfName, matchesAny, type PrincipalFacts } from "../principal/principal.ts";

/** How one test went. */
export interface PolicyTestResult {
  readonly name: string;
  readonly passed: boolean;
  /** `permit`, `deny` or `deny REASON`. */
  readonly expected: string;
  /** As `expected`; empty where the test could not be run. */
  readonly actual: string;
  /** Why it could not be run, or what the decision says beside its reason. */
  readonly problem?: string;
}

/** Any instant will do: nothing that is tested depends on it. */
const NOW_MS = Date.UTC(2026, 0, 1);

/** Runs all tests of a policy's document, in its order. `mode: observe` does not count: what enforcing would say is compared. */
export function runPolicyTests(policy: CompiledPolicy): readonly PolicyTestResult[] {
  return (policy.document.tests ?? []).map((test) => runOne(policy, test));
}

function runOne(policy: CompiledPolicy, test: TestDocument): PolicyTestResult {
  const { decision, reason } = test.expect;
  const expected = reason === undefined ? decision : `${decision} ${reason}`;
  const call = callOf(policy, test);
  if (typeof call === "string") return { name: test.name, passed: false, expected, actual: "", problem: call };
  const outcome = enforced(evaluate(policy, call));
  const actual = outcome.permit ? "permit" : reason === undefined ? "deny" : `deny ${outcome.reason}`;
  const passed = actual === expected;
  const problem = outcome.permit ? undefined : (outcome.facts["problem"] ?? (passed ? undefined : outcome.reason));
  return { name: test.name, passed, expected, actual, ...(problem !== undefined && { problem }) };
}

function enforced(decision: Permitted | Denied): Permitted | Denied {
  return decision.permit && decision.observed !== undefined ? decision.observed : decision;
}

/** The call that a test describes, or why it describes none. */
function callOf(policy: CompiledPolicy, test: TestDocument): CallFacts | string {
  const { principal: name, groups, claims, method, request } = test.call;
  const kind = kindOfName(name);
  if (kind === undefined) return `${name} is no principal`;
  const principal: PrincipalFacts = {
    name,
    kind,
    claims: claims ?? {},
    groups: new Set([...(groups ?? []), ...(policy.memberships.get(name) ?? [])]),
  };
  const bytes = encode(policy, method, request);
  if (typeof bytes === "string") return bytes;
  const entitlement = test.with === undefined ? undefined : policy.entitlement(test.with);
  if (test.with !== undefined && entitlement === undefined) return `there is no entitlement ${test.with}`;
  if (entitlement !== undefined && !matchesAny(entitlement.requesters, principal))
    return `${name} may not request ${entitlement.id}, so could not have it`;
  const digest = bytes === undefined ? undefined : createHash("sha256").update(bytes).digest();
  const elevation = entitlement && live(policy, entitlement, name, digest);
  return {
    method,
    principal,
    candidates: elevation === undefined ? [] : [elevation],
    ...(elevation && entitlement?.present !== "any" && { presented: new Map([[elevation.id, "bound" as const]]) }),
    ...(bytes && { request: bytes }),
    ...(digest && { payloadDigest: digest }),
    nowMs: NOW_MS,
    errorMs: 0,
  };
}

/** The request as it would come over the wire. */
function encode(
  policy: CompiledPolicy,
  method: string,
  request: Readonly<Record<string, unknown>> | undefined,
): Uint8Array | undefined | string {
  if (request === undefined) return undefined;
  const type = policy.requestType(method);
  if (type === undefined) return `the request of ${method} is not known: give descriptors`;
  try {
    // Straight from YAML, so it is JSON.
    return toBinary(type, fromJson(type, request as JsonObject));
  } catch (error) {
    return `the request is no ${type.typeName}: ${error instanceof Error ? error.message : "it does not encode"}`;
  }
}

function live(policy: CompiledPolicy, entitlement: Entitlement, name: string, digest: Uint8Array | undefined): Elevation {
  return create(ElevationSchema, {
    id: "elv_test",
    audience: policy.audience,
    entitlement: entitlement.id,
    state: ElevationState.ACTIVE,
    requester: { name },
    methods: [...entitlement.methods],
    duration: durationFromMs(entitlement.defaultMs),
    windowStart: timestampFromMs(NOW_MS),
    windowEnd: timestampFromMs(NOW_MS + entitlement.defaultMs),
    presentation: Presentation.ANY,
    ...(entitlement.conditionSource !== "" && { condition: { text: entitlement.conditionSource } }),
    ...(digest && { payloadDigest: { value: new Uint8Array(digest) } }),
  });
}
