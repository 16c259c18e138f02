// Grants: the signed, short-lived tokens of ACTIVE elevations, and the keys that verify them. Signs only what the log already has
// (elevation/elevations.ts writes GrantIssued first), and never beyond the window or 15 minutes.
import type { JsonObject } from "@brevet/protocol";
import { GRANT_DETAIL_TYPE, type GrantClaims, MAX_GRANT_LIFETIME_MS, signGrant } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { GrantKeys, Signer } from "./keys.ts";

/** What was approved, opened, and the key that the grant is bound to. */
export interface GrantedTerms {
  /** RFC 7638 thumbprint of the key; empty for none. */
  readonly key: Uint8Array;
  /** CEL; "" for none. */
  readonly condition: string;
  /** SHA-256 of the one request that it covers; empty for none. */
  readonly payload: Uint8Array;
}

/** What a grant is made of. */
export interface GrantFacts extends GrantedTerms {
  /** ACTIVE. */
  readonly elevation: Elevation;
  /** `jti`. */
  readonly grant: string;
  /** The requester's name. */
  readonly principal: string;
  /** The authority's time at which the log recorded it. */
  readonly issuedMs: number;
  /** `act`, for a chain. */
  readonly act?: JsonObject;
}

/** Most bytes of method names in one grant: headers have to carry four of them. */
const MAX_ACTION_BYTES = 3000;
/** Most bytes of method names and condition together: a token has 8 KiB, and base64url takes a third more. */
const MAX_TERM_BYTES = 4800;

/** Issues grants in the name of one authority. */
export class Grants {
  readonly #issuer: string;
  readonly #keys: GrantKeys;

  /** @param options.issuer `iss`, the authority's public URL. */
  constructor(options: { readonly issuer: string; readonly keys: GrantKeys }) {
    this.#issuer = options.issuer;
    this.#keys = options.keys;
  }

  /** The key to sign with now. Throws where the log has none. */
  signer(): Promise<Signer> {
    return this.#keys.signer();
  }

  /** The public keys, a JWK set (JSON, RFC 7517). */
  jwks(): Promise<string> {
    return this.#keys.jwks();
  }

  /**
   * The token of a grant that the log has. `rev` is the elevation's last revision in the log's `epoch`: a guard at or past it must know the
   * elevation as live, and for one of another epoch the elevation is unknown.
   */
  sign(facts: GrantFacts, signer: Signer): string {
    const { elevation, grant, principal, issuedMs, key, condition, payload, act } = facts;
    const issued = Math.floor(issuedMs / 1000);
    const startMs = elevation.windowStart ? timestampMs(elevation.windowStart) : issuedMs;
    const endMs = elevation.windowEnd ? timestampMs(elevation.windowEnd) : 0;
    const claims: GrantClaims = {
      iss: this.#issuer,
      sub: principal,
      aud: elevation.audience,
      iat: issued,
      // A guard whose clock is a little behind takes it at once.
      nbf: Math.min(Math.floor(startMs / 1000), issued - 1),
      exp: grantEndMs(endMs, issuedMs) / 1000,
      window_end: Math.floor(endMs / 1000),
      jti: grant,
      elevation: elevation.id,
      epoch: signer.epoch,
      rev: `${elevation.revision}`,
      authorization_details: [
        {
          type: GRANT_DETAIL_TYPE,
          actions: actionsOf(elevation, condition),
          entitlement: elevation.entitlement,
          ...(condition === "" ? {} : { condition }),
          ...(payload.length === 0 ? {} : { payload: Buffer.from(payload).toString("base64url") }),
        },
      ],
      ...(key.length > 0 ? { cnf: { jkt: Buffer.from(key).toString("base64url") } } : {}),
      ...(act === undefined ? {} : { act }),
    };
    return signGrant(claims, signer);
  }
}

/** The end of a grant issued now: never behind the window's end or 15 minutes after its whole second of issue. In whole seconds, as tokens have it. */
export function grantEndMs(windowEndMs: number, nowMs: number): number {
  const issuedMs = Math.floor(nowMs / 1000) * 1000;
  return Math.floor(Math.min(issuedMs + MAX_GRANT_LIFETIME_MS, windowEndMs) / 1000) * 1000;
}

/** The elevation's methods, the one that gave rise to it first, as many as fit; the rest of a very wide one counts without a grant only. */
function actionsOf(elevation: Elevation, condition: string): string[] {
  const { method, methods } = elevation;
  const most = Math.min(MAX_ACTION_BYTES, MAX_TERM_BYTES - Buffer.byteLength(JSON.stringify(condition)));
  const actions: string[] = [];
  let bytes = 0;
  for (const action of methods.includes(method) ? [method, ...methods.filter((other) => other !== method)] : methods) {
    bytes += action.length + 3;
    if (bytes > most && actions.length > 0) break;
    actions.push(action);
  }
  return actions;
}
