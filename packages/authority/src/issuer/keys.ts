// The keys that sign grants: which one is in use, and the public halves of those that verify. The log says which keys there are.
// Never makes a key and never keeps one but in memory: log/keys.ts does.
import type { KeyObject } from "node:crypto";
import { KeyPurpose } from "@brevet/protocol/brevet/v1/log";
import { isInUse, privateKeyOf } from "../log/keys.ts";
import type { Store } from "../store/store.ts";

/** A key that signs. */
export interface Signer {
  readonly kid: string;
  readonly privateKey: KeyObject;
}

/** The grant keys of a store. */
export class GrantKeys {
  readonly #store: Store;
  readonly #loaded = new Map<string, KeyObject>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** The newest key in use whose private half is here. @throws Error if there is none. */
  async signer(): Promise<Signer> {
    for (const key of (await this.#store.keys()).toReversed()) {
      if (!isInUse(key, KeyPurpose.GRANT)) continue;
      const privateKey = this.#loaded.get(key.kid) ?? (await privateKeyOf(this.#store, key.kid));
      if (privateKey === undefined) continue;
      this.#loaded.set(key.kid, privateKey);
      return { kid: key.kid, privateKey };
    }
    throw new Error("the store has no key that signs grants");
  }

  /** JWK set (RFC 7517) of the grant keys that are not retired. */
  async jwks(): Promise<string> {
    const keys = (await this.#store.keys()).filter((key) => isInUse(key, KeyPurpose.GRANT));
    return JSON.stringify({ keys: keys.map((key): unknown => JSON.parse(key.publicJwk)) });
  }
}
