// Policy: documents read, checked and compiled, callers mapped, calls judged. Everything here is pure.
// Never does I/O, never reads a clock, and enforces nothing: guards do that with the decision.
export type { CompiledPolicy, Entitlement, IssuerRule, MethodRule, StageRule } from "./compile/compiled.ts";
export type { ClaimExpression, ClaimOutcome } from "./condition/claims.ts";
export type { Condition, ConditionInput, ConditionOutcome } from "./condition/condition.ts";
export type { Access, EntitlementDocument, PolicyDocument, TestDocument } from "./document/document.ts";
export type { CallFacts, Decision, Denied, Permitted } from "./evaluate/evaluate.ts";
export type { PrincipalFacts, PrincipalKindName } from "./principal/principal.ts";
export { matchesAny } from "./principal/principal.ts";
export type { Schedule } from "./schedule/schedule.ts";
