// The keys that sign grants: which one is in use, and the public halves of those that verify. The log says which keys there are.
// Never makes a key and never keeps one but in memory: log/keys.ts does.
import type { KeyObject } from "node:crypto";
import { type Clock, MAX_GRANT_LIFETIME_MS } from "@brevet/protocol";
import { KeyPurpose } from "@brevet/protocol/brevet/v1/log";
import { isInUse, privateKeyOf } from "../log/keys.ts";
import type { Store, StoredKey } from "../store/store.ts";

/** A key that signs. */
export interface Signer {
  readonly kid: string;
  readonly privateKey: KeyObject;
  /** The log's, when the key was asked for: a grant that is signed across a restore counts for nothing. */
  readonly epoch: string;
}

/** The grant keys of a store. */
export class GrantKeys {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #loaded = new Map<string, KeyObject>();

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** The newest key in use whose private half is here. @throws Error if there is none. */
  async signer(): Promise<Signer> {
    const { epoch } = await this.#store.head();
    for (const key of (await this.#store.keys()).toReversed()) {
      if (!isInUse(key, KeyPurpose.GRANT)) continue;
      const privateKey = this.#loaded.get(key.kid) ?? (await privateKeyOf(this.#store, key.kid));
      if (privateKey === undefined) continue;
      this.#loaded.set(key.kid, privateKey);
      return { kid: key.kid, privateKey, epoch };
    }
    throw new Error("the store has no key that signs grants");
  }

  /**
   * JWK set (RFC 7517) of the grant keys that verify: those in use, and for 15 minutes those that were retired, not revoked, so that what
   * they signed stays good until its end.
   */
  async jwks(): Promise<string> {
    const nowMs = this.#clock.wallMs();
    const keys = (await this.#store.keys()).filter((key) => isInUse(key, KeyPurpose.GRANT) || verifiesStill(key, nowMs));
    return JSON.stringify({ keys: keys.map((key): unknown => JSON.parse(key.publicJwk)) });
  }
}

function verifiesStill({ purpose, revoked, retiredMs }: StoredKey, nowMs: number): boolean {
  return purpose === KeyPurpose.GRANT && !revoked && retiredMs !== undefined && nowMs < retiredMs + MAX_GRANT_LIFETIME_MS;
}
