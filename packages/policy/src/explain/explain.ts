// Why a call is refused and what is the least that would permit it, from the same evaluator that decides. Pure.
// Never names an entitlement that the caller may not request, unless the reader may know the whole policy.
import { catalogue, type ReasonName } from "@brevet/protocol";
import type { CompiledPolicy, Entitlement } from "../compile/compiled.ts";
import { approvalsOf } from "../compile/entitlement.ts";
import { type CallFacts, type Decision, type Denied, evaluate } from "../evaluate/evaluate.ts";

/** A decision with its reasons. */
export interface Explanation {
  /** As enforced, also where the policy only observes. */
  readonly decision: Decision;
  /** See {@link matchedRule}. */
  readonly matchedRule: string;
  /** See {@link nearestMiss}; "" for a permit. */
  readonly nearestMiss: string;
}

/** What a nearest miss is told from: a refusal, as the evaluator made it or as it is recorded. */
export interface Missed extends Pick<Denied, "facts"> {
  readonly reason: ReasonName;
  /** `package.Service/Method`. */
  readonly method: string;
  /** What the caller may ask for; the first would do with the least. */
  readonly offers: readonly Entitlement[];
}

/** Judges a call, and says by which rule and what was missing. `wholePolicy`: the reader may know all of it. */
export function explain(policy: CompiledPolicy, call: CallFacts, { wholePolicy = false }: { wholePolicy?: boolean } = {}): Explanation {
  const judged = evaluate(policy, call);
  const decision = judged.permit && judged.observed !== undefined ? judged.observed : judged;
  const miss = decision.permit ? "" : nearestMiss(policy, { ...decision, method: call.method }, { wholePolicy });
  return { decision, matchedRule: matchedRule(policy, call.method), nearestMiss: miss };
}

/** The line of the document that says what a method needs, as a path; "" where none does, which forbids it. */
export function matchedRule(policy: CompiledPolicy, method: string): string {
  const [service = "", name = ""] = method.split("/");
  const { services = {} } = policy.document;
  const document = Object.hasOwn(services, service) ? services[service] : undefined;
  const { access } = policy.method(method);
  if (document?.methods !== undefined && Object.hasOwn(document.methods, name)) return `services.${service}.methods.${name} (${access})`;
  if (document !== undefined) return `services.${service}.default (${access})`;
  return policy.method(method).listed ? `${service}, without a line in the document (${access})` : "";
}

/** One sentence: what would have permitted the call with the least. */
export function nearestMiss(policy: CompiledPolicy, missed: Missed, { wholePolicy = false }: { wholePolicy?: boolean } = {}): string {
  const { reason, facts, offers, method } = missed;
  const elevation = facts["elevation"] ?? "the elevation";
  const [first] = offers;
  switch (reason) {
    case "ELEVATION_PENDING":
      return `would be permitted once ${elevation} is approved`;
    case "ELEVATION_SCHEDULED":
      return facts["startTime"] === undefined
        ? `would be permitted once ${elevation} is started`
        : `would be permitted from ${facts["startTime"]} on, when ${elevation} starts`;
    case "CONDITION_NOT_MET":
      return facts["expression"] === undefined
        ? "would be permitted with a request that meets the condition"
        : `would be permitted with a request that meets: ${facts["expression"]}`;
    case "GRANT_PAYLOAD_MISMATCH":
      return "would be permitted with the very request that was approved, once";
    case "POLICY_MISCONFIGURED":
      return "would be decided once the rule can be evaluated";
    case "METHOD_FORBIDDEN":
      return `nothing would permit ${method}: the policy forbids it`;
    case "NOT_ELIGIBLE":
      return wholePolicy ? forSomebodyElse(policy, method) : "no entitlement lets this caller ask for it";
    default:
      if (facts["present"] !== undefined) return `would be permitted with the grant of ${elevation} in brevet-grant`;
      if (reason.startsWith("GRANT_")) return `would be permitted with a good grant of a live elevation that covers ${method}`;
      if (reason.startsWith("IDENTITY_")) return `would be judged further with a valid identity token for ${policy.audience}`;
      if (first !== undefined && reason.startsWith("ELEVATION_")) return `would be permitted with ${withEntitlement(first)}`;
      if (reason.startsWith("ELEVATION_")) return "would be permitted with another elevation, approved anew";
      return catalogue[reason].retry === "backoff" ? "would be judged again once the guard is up to date" : "";
  }
}

/** `entitlement refund-operator, 1 approval by group:payments-oncall`. */
export function withEntitlement(entitlement: Entitlement): string {
  if (entitlement.breakGlass !== undefined) return `entitlement ${entitlement.id}, break-glass, reviewed afterwards`;
  const approvals = approvalsOf(entitlement);
  const automatic = entitlement.automatic === undefined ? "" : "; automatic where its rule holds";
  if (approvals === 0) return `entitlement ${entitlement.id}, without an approval`;
  const by = entitlement.stages.map(({ quorum, approvers }) => `${quorum} approval${quorum === 1 ? "" : "s"} by ${approvers.join(" or ")}`);
  return `entitlement ${entitlement.id}, ${by.join(", then ")}${automatic}`;
}

function forSomebodyElse(policy: CompiledPolicy, method: string): string {
  const [first] = policy.entitlementsFor(method);
  if (first === undefined) return `no entitlement covers ${method}`;
  return `${withEntitlement(first)} would permit it, for ${first.requesters.join(" or ")}; the caller is none of them`;
}
