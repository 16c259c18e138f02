// Which deployment a request is about that does not say so. Never guesses between several.
import { isMethodName } from "@brevet/protocol";
import type { ElevationServiceRequestRequest } from "@brevet/protocol/brevet/v1/elevation";
import type { Caller } from "./caller.ts";
import type { CurrentPolicies } from "./policies.ts";
import { invalid, refuse } from "./refusal.ts";
import type { Checked } from "./terms.ts";

/** The audience that is named, or else the only one that knows the caller and whose policy lists the method. */
export function audienceAsked(
  { audience, method }: Pick<ElevationServiceRequestRequest, "audience" | "method">,
  caller: Caller,
  policies: CurrentPolicies,
): Checked<string> {
  if (audience !== "") return { ok: true, value: audience };
  if (!isMethodName(method)) return invalid("method", "must be package.Service/Method, at most 200 bytes");
  // One that does not know the caller is not told of.
  const known = policies.audiences().filter((each) => caller.principalFor(each) !== undefined);
  if (known.length === 0)
    return refuse("NOT_ELIGIBLE", "you may not ask for anything here: no audience knows you", { metadata: { method } });
  const listing = known.filter((each) => policies.current(each)?.policy.method(method).listed === true).toSorted();
  const [only] = listing;
  if (only === undefined) {
    const message = `no audience that knows you lists ${method}; check its name, or say the audience`;
    return refuse("NOT_ELIGIBLE", message, { metadata: { method } });
  }
  if (listing.length === 1) return { ok: true, value: only };
  return invalid("audience", `several list ${method}; say which of ${listing.join(", ")} you mean`);
}
