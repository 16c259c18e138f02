// Rights inside Brevet for one audience: roles, guards, and who could approve.
// Never counts votes.
import type { CompiledPolicy } from "../compile/compiled.ts";
import { isGroupName, matchesAny, type PrincipalFacts } from "../principal/principal.ts";

/** A right inside Brevet for one audience. */
export type Role = "admin" | "auditor";

/** Whether the policy gives the caller a role. */
export function hasRole(policy: CompiledPolicy, role: Role, who: PrincipalFacts): boolean {
  return matchesAny(policy.document.roles?.[role] ?? [], who);
}

/** Whether the caller may sync and report as a guard of the policy's audience. */
export function isGuard(policy: CompiledPolicy, who: PrincipalFacts): boolean {
  return matchesAny(policy.guards, who);
}

/**
 * The people whom selectors mean, as far as the policy itself knows them, without those excluded by name. `complete` is false where a
 * group has, or may have, members that only claims know.
 */
export function knownApprovers(
  policy: CompiledPolicy,
  selectors: readonly string[],
  exclude: ReadonlySet<string>,
): { readonly people: ReadonlySet<string>; readonly complete: boolean } {
  const people = new Set<string>();
  let complete = true;
  const groups = policy.document.groups ?? {};
  for (const selector of selectors) {
    const listed = Object.hasOwn(groups, selector) ? groups[selector] : undefined;
    if (isGroupName(selector) && (listed === undefined || policy.claimedGroups.has(selector))) complete = false;
    for (const name of listed ?? [selector]) if (name.startsWith("user:") && !exclude.has(name)) people.add(name);
  }
  return { people, complete };
}
