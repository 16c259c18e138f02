// The catalogue of reasons: what guard, client, authority, command line and docs all read about a refusal.
// Owns the words and the classes; never decides anything, and never changes while it runs.
import { requestReasons, votingReasons } from "./authority.ts";
import { elevationReasons } from "./elevation.ts";
import type { CatalogueEntry, ReasonName } from "./entry.ts";
import { grantReasons } from "./grant.ts";
import { identityReasons } from "./identity.ts";
import { availabilityReasons, policyReasons } from "./policy.ts";

export type { CatalogueEntry, ReasonName, RetryClass } from "./entry.ts";

/** Every reason, by name. */
export const catalogue: { readonly [R in ReasonName]: CatalogueEntry } = {
  ...identityReasons,
  ...elevationReasons,
  ...grantReasons,
  ...policyReasons,
  ...availabilityReasons,
  ...votingReasons,
  ...requestReasons,
};

/** Whether `text` names a reason of the catalogue. */
export function isReasonName(text: string): text is ReasonName {
  return Object.hasOwn(catalogue, text);
}
