// What is sealed for an answer only: a request that is checked, and of which nothing is written. Never reaches the store.
import type { Seal } from "../log/draft.ts";
import type { Texts } from "./reveal.ts";

/** A seal that remembers, and the texts of a store together with what it sealed. */
export function unwritten(stored: Texts, seal: Seal): { readonly seal: Seal; readonly texts: Texts } {
  const values = new Map<string, Uint8Array>();
  return {
    seal(value) {
      const sealed = seal(value);
      values.set(Buffer.from(sealed.commitment).toString("hex"), typeof value === "string" ? Buffer.from(value) : value);
      return sealed;
    },
    texts: {
      principals: (ids) => stored.principals(ids),
      openings: async (commitments) => new Map([...(await stored.openings(commitments)), ...values]),
    },
  };
}
