// Who may read a decision. Everybody their own, and what they themselves reported of one that is about nobody; approvers what they could
// have approved; admins and auditors all of their audience. Pure but for the look at the elevation.
import { type CompiledPolicy, hasRole, matchesAny, type PrincipalFacts } from "@brevet/policy";
import type { DecisionRecord } from "@brevet/protocol/brevet/v1/policy";

/** Whether the reader may know all of an audience's policy and decisions. */
export function mayReadAll(policy: CompiledPolicy | undefined, who: PrincipalFacts | undefined): boolean {
  return policy !== undefined && who !== undefined && (hasRole(policy, "admin", who) || hasRole(policy, "auditor", who));
}

/** Whether a record exists for a reader. `who`: what the record's audience makes of the reader. */
export function mayReadRecord(
  { principal, method, elevation }: Pick<DecisionRecord, "principal" | "method" | "elevation">,
  who: PrincipalFacts | undefined,
  policy: CompiledPolicy | undefined,
): boolean {
  if (who === undefined) return false;
  if (principal !== "" && principal === who.name) return true;
  if (mayReadAll(policy, who)) return true;
  // Permits of methods that need no approval, and calls of nobody, are no approver's business.
  return (
    principal !== "" && policy !== undefined && approvesFor(policy, method, who) && (elevation !== "" || needsApproval(policy, method))
  );
}

/** Whether the reader could vote on some entitlement that covers the method. */
function approvesFor(policy: CompiledPolicy, method: string, who: PrincipalFacts): boolean {
  return policy
    .entitlementsFor(method)
    .some(({ stages }) => stages.some(({ approvers, escalate }) => matchesAny([...approvers, ...(escalate?.to ?? [])], who)));
}

function needsApproval(policy: CompiledPolicy, method: string): boolean {
  return policy.method(method).access === "elevated";
}
