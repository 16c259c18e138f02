// The policy under which a write decides: the one that the store has as current, compiled. Never compiles: guards/policies.ts does.
import type { CompiledPolicy } from "@brevet/policy";
import type { View } from "../store/store.ts";

/** A policy and its number. */
export interface VersionedPolicy {
  readonly policy: CompiledPolicy;
  readonly version: bigint;
}

/** The compiled policies, kept current by whoever follows the log. */
export interface CurrentPolicies {
  current(audience: string): VersionedPolicy | undefined;
  /** Audiences that have a policy. */
  audiences(): readonly string[];
}

/** Answers with an audience's policy inside a write. */
export type PolicyOf = (audience: string) => Promise<VersionedPolicy | undefined>;

/** A newer version is stored than is compiled: run the command again in a moment. */
export class PolicyBehind extends Error {
  constructor(audience: string, stored: bigint) {
    super(`version ${stored} of the policy of ${audience} is not loaded yet`);
    this.name = "PolicyBehind";
  }
}

/** The current policy of an audience, if it is the stored one. @throws PolicyBehind if it is not. */
export async function currentPolicy(
  view: Pick<View, "policy">,
  policies: CurrentPolicies,
  audience: string,
): Promise<VersionedPolicy | undefined> {
  const stored = audience === "" ? undefined : await view.policy(audience);
  if (stored === undefined) return undefined;
  const compiled = policies.current(audience);
  if (compiled?.version !== stored.version) throw new PolicyBehind(audience, stored.version);
  return compiled;
}
