// Policy: documents read, checked and compiled, callers mapped, calls judged. Everything here is pure.
// Never does I/O, never reads a clock, and enforces nothing: guards do that with the decision.
export type { CompiledPolicy, Entitlement, IssuerRule, MethodRule, StageRule } from "./compile/compiled.ts";
export { approvalsOf } from "./compile/entitlement.ts";
export type { ClaimExpression, ClaimOutcome } from "./condition/claims.ts";
export {
  type CompiledCondition,
  type Condition,
  type ConditionContext,
  type ConditionInput,
  type ConditionOutcome,
  compileCondition,
} from "./condition/condition.ts";
export { patternMatches } from "./condition/pattern.ts";
export type { Access, EntitlementDocument, PolicyDocument, TestDocument } from "./document/document.ts";
export { durationMs, durationText } from "./document/duration.ts";
export { type CallFacts, type Decision, type Denied, evaluate, needsRequest, type Permitted, readsRequest } from "./evaluate/evaluate.ts";
export { describeOffer, offersFor } from "./evaluate/offers.ts";
export { type Explanation, explain, matchedRule, nearestMiss } from "./explain/explain.ts";
export { type Claims, type Mapped, mapClaims, mapDevelopmentClaims, mapSpiffe } from "./identity/identity.ts";
export { hasRole, isGuard, knownApprovers, type Role } from "./identity/rights.ts";
export { type Loaded, type LoadOptions, loadPolicy } from "./load/load.ts";
export { nearest } from "./nearest/nearest.ts";
export { kindOfName, matchesAny, type PrincipalFacts, type PrincipalKindName } from "./principal/principal.ts";
export { type Schedule, scheduleAllows } from "./schedule/schedule.ts";
export { type PolicyTestResult, runPolicyTests } from "./tests/run.ts";
