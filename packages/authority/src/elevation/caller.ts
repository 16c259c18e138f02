// Who calls the operations of elevations, and how they are answered. Never authenticates: identity/ does.
import type { PrincipalFacts } from "@brevet/policy";
import type { View } from "../store/store.ts";
import { type Refusal, refuse } from "./refusal.ts";
import type { Reader } from "./reveal.ts";

/** Who calls: one identity, which each audience's policy maps for itself. */
export interface Caller {
  /** What the audience's policy makes of the identity; undefined: nobody there. */
  principalFor(audience: string): PrincipalFacts | undefined;
}

/** An answer, or a refusal. Anything else (the store cannot be written, a policy is not loaded yet) is thrown. */
export type Answer<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly denial: Refusal };

/** The reader that a caller is in an audience; undefined where the policy maps the identity to nobody. */
export async function readerOf(view: Pick<View, "principalByName">, facts: PrincipalFacts | undefined): Promise<Reader | undefined> {
  return facts && { id: (await view.principalByName(facts.name))?.id ?? "", facts };
}

/** An elevation that does not exist, or not for this caller: both look alike. */
export function notFound(id: string): { readonly ok: false; readonly denial: Refusal } {
  const shown = id.slice(0, 64);
  return refuse("NOT_FOUND", `there is no elevation ${shown} that you may see; check the id, and which authority you ask as whom`, {
    metadata: { elevation: shown },
  });
}
