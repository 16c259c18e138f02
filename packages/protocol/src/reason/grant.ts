// Reasons that concern the grant that was presented. Data only.
import { GrpcCode } from "./code.ts";
import { ELEVATION_KEYS, type Entries, IDENTIFIED_KEYS } from "./entry.ts";

const code = GrpcCode.PERMISSION_DENIED;

/** PERMISSION_DENIED: the identity is good, the grant is not. */
export const grantReasons: Entries<
  | "GRANT_MALFORMED"
  | "GRANT_ALGORITHM_REJECTED"
  | "GRANT_TYPE_REJECTED"
  | "GRANT_KEY_UNKNOWN"
  | "GRANT_SIGNATURE_INVALID"
  | "GRANT_ISSUER_UNKNOWN"
  | "GRANT_AUDIENCE_MISMATCH"
  | "GRANT_EXPIRED"
  | "GRANT_NOT_YET_VALID"
  | "GRANT_PRINCIPAL_MISMATCH"
  | "GRANT_SCOPE_MISMATCH"
  | "GRANT_PAYLOAD_MISMATCH"
  | "GRANT_PROOF_INVALID"
> = {
  GRANT_MALFORMED: {
    reason: "GRANT_MALFORMED",
    code,
    what: "The grant is not a signed token in its one accepted form.",
    causes: [
      "it was cut, wrapped, quoted or re-encoded on the way",
      "something else was sent in its place",
      "it would last longer than 15 minutes",
    ],
    callerRemedy: "Send the output of `brevet grant ELEVATION` unchanged as `brevet-grant`; `brevet token inspect -` says what is wrong.",
    operatorRemedy: "Check that no proxy folds or rewrites the `brevet-grant` metadata.",
    retry: "never",
    metadata: [...IDENTIFIED_KEYS, "problem"],
    planned: false,
  },
  GRANT_ALGORITHM_REJECTED: {
    reason: "GRANT_ALGORITHM_REJECTED",
    code,
    what: "The grant is not signed with EdDSA, the only algorithm for grants.",
    causes: ["another token was sent as a grant", "the grant is forged"],
    callerRemedy: "Get a grant with `brevet grant ELEVATION`.",
    operatorRemedy: "No authority issues such a grant: find out where the caller has it from.",
    retry: "never",
    metadata: [...IDENTIFIED_KEYS, "algorithm"],
    planned: false,
  },
  GRANT_TYPE_REJECTED: {
    reason: "GRANT_TYPE_REJECTED",
    code,
    what: "The token in `brevet-grant` does not call itself a grant.",
    causes: ["an identity token was sent as `brevet-grant`"],
    callerRemedy: "Send the identity in `authorization` and the grant, from `brevet grant ELEVATION`, in `brevet-grant`.",
    operatorRemedy: "Correct the client's configuration; `brevet token inspect -` shows the token's `typ`.",
    retry: "never",
    metadata: [...IDENTIFIED_KEYS, "type"],
    planned: false,
  },
  GRANT_KEY_UNKNOWN: {
    reason: "GRANT_KEY_UNKNOWN",
    code,
    what: "The grant names a signing key that this guard does not know.",
    causes: ["the key was retired or revoked", "the guard has not received a new key yet", "the grant is from another authority"],
    callerRemedy: "Get a fresh grant with `brevet grant ELEVATION` and repeat the call.",
    operatorRemedy: "`brevet guards` shows how far the guard is behind; compare with the authority's `/.well-known/jwks.json`.",
    retry: "after-renewal",
    metadata: IDENTIFIED_KEYS,
    planned: false,
  },
  GRANT_SIGNATURE_INVALID: {
    reason: "GRANT_SIGNATURE_INVALID",
    code,
    what: "The grant's signature is not that of the key that it names.",
    causes: ["the grant was altered or cut on the way", "the grant is forged"],
    callerRemedy: "Get a fresh grant with `brevet grant ELEVATION` and send it unchanged.",
    operatorRemedy: "Many of these from one peer are an attack: look at the guard's log for the decision ids.",
    retry: "never",
    metadata: IDENTIFIED_KEYS,
    planned: false,
  },
  GRANT_ISSUER_UNKNOWN: {
    reason: "GRANT_ISSUER_UNKNOWN",
    code,
    what: "The grant was issued by another authority.",
    causes: ["the client talks to the authority of another environment", "the authority's issuer URL was changed"],
    callerRemedy: "Ask the authority that this service belongs to; check `BREVET_AUTHORITY`.",
    operatorRemedy: "Keep the authority's issuer URL stable; guards learn it when they connect.",
    retry: "never",
    metadata: [...IDENTIFIED_KEYS, "expectedIssuer"],
    planned: false,
  },
  GRANT_AUDIENCE_MISMATCH: {
    reason: "GRANT_AUDIENCE_MISMATCH",
    code,
    what: "The grant is for another audience.",
    causes: ["the call went to another deployment", "the service passed on the grant of its own caller"],
    callerRemedy: "Use a grant for the audience in `expectedAudience`. Grants are never passed on: each hop asks for its own.",
    operatorRemedy: "Check that client and guard name the same audience.",
    retry: "never",
    metadata: [...IDENTIFIED_KEYS, "expectedAudience"],
    planned: false,
  },
  GRANT_EXPIRED: {
    reason: "GRANT_EXPIRED",
    code,
    what: "The grant is past its end; its elevation may still be active.",
    causes: ["the grant was not renewed: it lasts 15 minutes at most", "the call waited too long on the way"],
    callerRemedy: "Get a fresh one with `brevet grant ELEVATION`; the client library renews it by itself.",
    operatorRemedy: "If clocks are in doubt, compare `expiredAt` with `serverTime`; `brevet guards` shows each guard's clock.",
    retry: "after-renewal",
    metadata: [...ELEVATION_KEYS, "expiredAt", "skewMs"],
    planned: false,
  },
  GRANT_NOT_YET_VALID: {
    reason: "GRANT_NOT_YET_VALID",
    code,
    what: "The grant is not valid yet.",
    causes: ["the guard's idea of the authority's time is too uncertain", "the window has not started"],
    callerRemedy: "Try again at `validFrom`.",
    operatorRemedy: "`brevet guards` shows the guard's clock offset and its error; look at the link between guard and authority.",
    retry: "after-renewal",
    metadata: [...ELEVATION_KEYS, "validFrom", "skewMs"],
    planned: false,
  },
  GRANT_PRINCIPAL_MISMATCH: {
    reason: "GRANT_PRINCIPAL_MISMATCH",
    code,
    what: "The grant is not this caller's, or belongs to no elevation that is known here.",
    causes: ["the grant of another principal was used", "identity and grant come from different accounts", "the elevation is gone"],
    callerRemedy:
      "Call with the identity that asked for the elevation (`brevet token inspect` shows whose a token is), or ask for your own.",
    operatorRemedy:
      "A grant in the wrong hands may have leaked: `brevet audit list` shows who it was issued to; revoke its elevation if in doubt.",
    retry: "never",
    metadata: IDENTIFIED_KEYS,
    planned: false,
  },
  GRANT_SCOPE_MISMATCH: {
    reason: "GRANT_SCOPE_MISMATCH",
    code,
    what: "The grant does not cover this method.",
    causes: ["the elevation was approved for other methods", "a method was added to the policy after the approval"],
    callerRemedy: "Ask for an elevation for this method: `brevet request METHOD`.",
    operatorRemedy: "If both methods belong together, list both in one entitlement and apply the new version.",
    retry: "after-approval",
    metadata: ELEVATION_KEYS,
    planned: false,
  },
  GRANT_PAYLOAD_MISMATCH: {
    reason: "GRANT_PAYLOAD_MISMATCH",
    code,
    what: "The approval covers one exact request: this is another one, or it was used already.",
    causes: ["the request was changed after the approval", "the request was encoded anew, with other bytes", "the one use was made"],
    callerRemedy:
      "Ask for an approval of exactly this request: let the client library ask, or run `brevet request METHOD --payload FILE` with the message in wire form.",
    operatorRemedy: "`brevet show ELEVATION` shows the approved request's digest and when it was used.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "used"],
    planned: false,
  },
  GRANT_PROOF_INVALID: {
    reason: "GRANT_PROOF_INVALID",
    code,
    what: "The caller did not prove that it holds the key that the grant is bound to.",
    causes: [
      "the call was made without the client certificate that the elevation was asked with",
      "the grant was copied to another machine",
    ],
    callerRemedy: "Call over the connection that presents that certificate, or ask for a new elevation with the key you have.",
    operatorRemedy: "Let TLS reach the guard: behind a proxy that ends TLS a bound grant cannot be checked.",
    retry: "never",
    metadata: [...ELEVATION_KEYS, "present"],
    planned: false,
  },
};
