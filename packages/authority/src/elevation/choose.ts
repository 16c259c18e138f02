// Which entitlement a request is about. Never says more of the policy than the caller may request.
import { type CompiledPolicy, type Entitlement, matchesAny, type PrincipalFacts } from "@brevet/policy";
import type { ElevationServiceRequestRequest } from "@brevet/protocol/brevet/v1/elevation";
import { invalid, refuse } from "./refusal.ts";
import type { Checked } from "./terms.ts";

/** The entitlement that a request is about, so that what happened with it before can be read; undefined where it will be refused. */
export function entitlementAsked(message: ElevationServiceRequestRequest, policy: CompiledPolicy, who: PrincipalFacts): string | undefined {
  const chosen = chooseEntitlement(message, policy, who);
  return chosen.ok ? chosen.value.id : undefined;
}

/** The entitlement that is named, or else the first that covers the method and that the caller may request. */
export function chooseEntitlement(
  message: ElevationServiceRequestRequest,
  policy: CompiledPolicy,
  who: PrincipalFacts,
): Checked<Entitlement> {
  const { method, audience } = message;
  const rule = policy.method(method);
  const metadata = { method, audience, principal: who.name };
  switch (rule.access) {
    case "forbidden": {
      const why = rule.listed ? "the policy forbids it" : "the policy does not list it";
      return refuse("METHOD_FORBIDDEN", `nobody may call ${method} in ${audience}: ${why}`, { metadata });
    }
    case "open":
      return invalid("method", `${method} needs no elevation in ${audience}: anyone may call it. Call it without asking`);
    case "authenticated":
      return invalid("method", `${method} needs no elevation in ${audience}: anyone with an identity may call it. Call it without asking`);
    case "elevated":
      break;
  }
  const allowed = policy.entitlementsFor(method).filter((entitlement) => matchesAny(entitlement.requesters, who));
  if (message.entitlement !== "") return namedEntitlement(message, policy, who, metadata);
  const fits = allowed.find((entitlement) => (entitlement.breakGlass !== undefined) === message.breakGlass);
  if (fits) return { ok: true, value: fits };
  const kind = message.breakGlass ? "a break-glass elevation" : "an elevation";
  const other =
    allowed.length > 0
      ? message.breakGlass
        ? "; without --break-glass (break_glass) you may"
        : "; you may only break the glass: --break-glass (break_glass)"
      : "";
  return refuse("NOT_ELIGIBLE", `${who.name} may not ask for ${kind} for ${method} in ${audience}${other}`, { metadata });
}

function namedEntitlement(
  message: ElevationServiceRequestRequest,
  policy: CompiledPolicy,
  who: PrincipalFacts,
  metadata: Record<string, string>,
): Checked<Entitlement> {
  const named = policy.entitlement(message.entitlement);
  // One that the caller may not request and one that does not exist look alike.
  if (named === undefined || !matchesAny(named.requesters, who)) {
    const why = `${who.name} may not ask for the entitlement ${message.entitlement} in ${message.audience}`;
    return refuse("NOT_ELIGIBLE", why, { metadata: { ...metadata, entitlement: message.entitlement } });
  }
  if (!named.covers.has(message.method)) return invalid("entitlement", `${named.id} does not cover ${message.method}`);
  if (named.breakGlass && !message.breakGlass)
    return invalid("break_glass", `${named.id} is break-glass: say so to use it (--break-glass)`);
  if (!named.breakGlass && message.breakGlass) return invalid("break_glass", `${named.id} is not break-glass`);
  return { ok: true, value: named };
}
