// What a caller may ask for: the entitlements behind a refusal, and how they are described to a client.
// Never names an entitlement that the caller may not request.
import { type EntitlementOffer, EntitlementOfferSchema } from "@brevet/protocol/brevet/v1/error";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { CompiledPolicy, Entitlement } from "../compile/compiled.ts";
import { approvalsOf } from "../compile/entitlement.ts";
import { knownApprovers } from "../identity/rights.ts";
import { matchesAny, type PrincipalFacts } from "../principal/principal.ts";

const NONE: readonly Entitlement[] = [];

/** The entitlements for a method that a caller may request: fewest approvals first, then narrowest, break-glass last. */
export function offersFor(policy: CompiledPolicy, method: string, who: PrincipalFacts): readonly Entitlement[] {
  if (policy.method(method).access !== "elevated") return NONE;
  return policy.entitlementsFor(method).filter((entitlement) => matchesAny(entitlement.requesters, who));
}

/**
 * An entitlement as a client sees it. `approvals` is 0 where the automatic rule holds for this caller without looking at the request.
 * `eligible_approvers` counts the people who could vote in some stage, never the caller or who started it; absent where some are
 * known only by a group claim.
 */
export function describeOffer(policy: CompiledPolicy, entitlement: Entitlement, who: PrincipalFacts): EntitlementOffer {
  const automatic = entitlement.automatic?.readsRequest === false && entitlement.automatic.evaluate({ principal: who }) === "true";
  const selectors = entitlement.stages.flatMap((stage) => [...stage.approvers, ...(stage.escalate?.to ?? [])]);
  const { people, complete } = knownApprovers(policy, selectors, new Set([who.name, who.initiator ?? who.name]));
  return create(EntitlementOfferSchema, {
    entitlement: entitlement.id,
    defaultDuration: durationFromMs(entitlement.defaultMs),
    maxDuration: durationFromMs(entitlement.maxMs),
    reasonRequired: entitlement.reason.required,
    reasonPattern: entitlement.reason.pattern ?? "",
    approvals: automatic ? 0 : approvalsOf(entitlement),
    payloadBound: entitlement.bindPayload,
    breakGlass: entitlement.breakGlass !== undefined,
    ...(complete && { eligibleApprovers: people.size }),
  });
}
