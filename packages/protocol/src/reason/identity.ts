// Reasons that concern who calls: no identity, or not a valid one. Data only.
import { GrpcCode } from "./code.ts";
import { CALL_KEYS, type Entries } from "./entry.ts";

const code = GrpcCode.UNAUTHENTICATED;

/** UNAUTHENTICATED. */
export const identityReasons: Entries<
  | "IDENTITY_MISSING"
  | "IDENTITY_MALFORMED"
  | "IDENTITY_ALGORITHM_REJECTED"
  | "IDENTITY_TYPE_REJECTED"
  | "IDENTITY_KEY_UNKNOWN"
  | "IDENTITY_SIGNATURE_INVALID"
  | "IDENTITY_ISSUER_UNKNOWN"
  | "IDENTITY_AUDIENCE_MISMATCH"
  | "IDENTITY_EXPIRED"
  | "IDENTITY_NOT_YET_VALID"
  | "STEP_UP_REQUIRED"
> = {
  IDENTITY_MISSING: {
    reason: "IDENTITY_MISSING",
    code,
    what: "The call carried neither a bearer token nor an accepted client certificate.",
    causes: [
      "the client sends no credentials",
      "a proxy on the way takes the authorization metadata off",
      "the client certificate was not presented, or is not from a trusted domain",
    ],
    callerRemedy: "Send `authorization: Bearer <token>` with a token for the service's audience; your sign-in issues one.",
    operatorRemedy: "Compare the names of the headers that the client sent with `headersSeen`; let every proxy pass `authorization` on.",
    retry: "after-reauthentication",
    metadata: CALL_KEYS,
    planned: false,
  },
  IDENTITY_MALFORMED: {
    reason: "IDENTITY_MALFORMED",
    code,
    what: "The authorization metadata is not one well-formed `Bearer` token.",
    causes: [
      "the word Bearer is missing, or the token was cut, quoted or wrapped",
      "authorization was sent twice",
      "an opaque access token was sent where a signed one (JWS) is needed",
    ],
    callerRemedy:
      "Send exactly one `authorization: Bearer <token>`, the token as it was issued. `brevet token inspect -` says what is wrong with it.",
    operatorRemedy:
      "Check that no proxy adds a second authorization header, and that the issuer hands out signed tokens for this audience.",
    retry: "never",
    metadata: [...CALL_KEYS, "problem"],
    planned: false,
  },
  IDENTITY_ALGORITHM_REJECTED: {
    reason: "IDENTITY_ALGORITHM_REJECTED",
    code,
    what: "The token is signed with an algorithm that is not accepted for its issuer.",
    causes: ["the issuer was set to another algorithm", "the token is unsigned, or signed with a shared secret", "the token is forged"],
    callerRemedy: "Get a token from the issuer that the service trusts; `brevet token inspect -` shows the algorithm of the one you have.",
    operatorRemedy: "Let the issuer sign with RS256, PS256, ES256 or EdDSA. Shared-secret algorithms and `none` are never accepted.",
    retry: "never",
    metadata: [...CALL_KEYS, "algorithm"],
    planned: false,
  },
  IDENTITY_TYPE_REJECTED: {
    reason: "IDENTITY_TYPE_REJECTED",
    code,
    what: "The token says that it is something else than an identity token.",
    causes: ["a grant was sent as authorization", "a refresh or logout token was sent", "the issuer marks its tokens in an unusual way"],
    callerRemedy: "Send the identity token in `authorization` and the grant in `brevet-grant`, not the other way round.",
    operatorRemedy: "Look at the `typ` of the token with `brevet token inspect -`; set the issuer to hand out `JWT` or `at+jwt`.",
    retry: "never",
    metadata: [...CALL_KEYS, "type"],
    planned: false,
  },
  IDENTITY_KEY_UNKNOWN: {
    reason: "IDENTITY_KEY_UNKNOWN",
    code,
    what: "The token names a key that its issuer does not publish.",
    causes: [
      "the issuer changed its keys, and the token is from before",
      "the guard's copy of the issuer's keys is older than the token",
      "the token is from another instance of the issuer",
    ],
    callerRemedy: "Sign in again and repeat the call with the new token.",
    operatorRemedy: "Check that the authority reaches the issuer's key set, and with `brevet guards` that the guard is up to date.",
    retry: "after-reauthentication",
    metadata: [...CALL_KEYS, "issuer"],
    planned: false,
  },
  IDENTITY_SIGNATURE_INVALID: {
    reason: "IDENTITY_SIGNATURE_INVALID",
    code,
    what: "The token's signature is not that of the key that it names.",
    causes: ["the token was altered or cut on the way", "two instances of the issuer use the same key id", "the token is forged"],
    callerRemedy: "Get a new token and send it unchanged; `brevet token inspect -` repeats the check.",
    operatorRemedy:
      "Compare the issuer's published keys with the token's key id; look for many of these from one peer, which would be an attack.",
    retry: "never",
    metadata: [...CALL_KEYS, "issuer"],
    planned: false,
  },
  IDENTITY_ISSUER_UNKNOWN: {
    reason: "IDENTITY_ISSUER_UNKNOWN",
    code,
    what: "The service's policy does not trust the issuer of this token.",
    causes: [
      "the token is from another environment's issuer",
      "the issuer's URL differs, by a final slash for instance",
      "the issuer is not in the policy",
    ],
    callerRemedy: "Get a token from the issuer that the service trusts; `brevet token inspect` shows who issued yours.",
    operatorRemedy:
      "List the issuer under `identity.issuers` of the policy exactly as in the token's `iss`, check with `brevet policy check` and apply.",
    retry: "never",
    metadata: [...CALL_KEYS, "issuer"],
    planned: false,
  },
  IDENTITY_AUDIENCE_MISMATCH: {
    reason: "IDENTITY_AUDIENCE_MISMATCH",
    code,
    what: "The token was made for another audience.",
    causes: [
      "a token for the authority was sent to a service, or the reverse",
      "the token is for another deployment",
      "the client asked its issuer for the wrong audience",
    ],
    callerRemedy: "Ask the issuer for a token whose audience is the one in `expectedAudience`.",
    operatorRemedy:
      "Check `identity.issuers[].audiences` in the policy. A service's token is never good at the authority, nor the authority's at a service.",
    retry: "never",
    metadata: [...CALL_KEYS, "expectedAudience"],
    planned: false,
  },
  IDENTITY_EXPIRED: {
    reason: "IDENTITY_EXPIRED",
    code,
    what: "The identity token is past its end.",
    causes: ["the token was not renewed in time", "a token file is not refreshed", "the clock of the issuer or of the guard is wrong"],
    callerRemedy: "Sign in again, or renew the token, and repeat the call.",
    operatorRemedy: "Compare `expiredAt` with `serverTime`; if they are close, check the clocks: `brevet guards` shows each guard's.",
    retry: "after-reauthentication",
    metadata: [...CALL_KEYS, "expiredAt", "skewMs"],
    planned: false,
  },
  IDENTITY_NOT_YET_VALID: {
    reason: "IDENTITY_NOT_YET_VALID",
    code,
    what: "The identity token is not valid yet.",
    causes: ["the issuer's clock is ahead of the guard's", "the guard's clock is behind", "the token was made for later use"],
    callerRemedy: "Wait until `validFrom` and try again, or get a new token.",
    operatorRemedy: "Set the clocks: `skewMs` says by how much they differ. 30 s of leeway are already given to foreign tokens.",
    retry: "after-reauthentication",
    metadata: [...CALL_KEYS, "validFrom", "skewMs"],
    planned: false,
  },
  STEP_UP_REQUIRED: {
    reason: "STEP_UP_REQUIRED",
    code,
    what: "A fresher or stronger sign-in is needed for this.",
    causes: ["the last sign-in is too long ago", "the sign-in was without a second factor"],
    callerRemedy: "Sign in again where the token comes from, with the second factor if asked for one, and send the new token.",
    operatorRemedy: "Check what the policy demands of a sign-in, and that the issuer puts `auth_time`, `acr` and `amr` into its tokens.",
    retry: "after-reauthentication",
    metadata: [...CALL_KEYS, "maxAgeSeconds", "requiredAcr"],
    planned: true,
  },
};
