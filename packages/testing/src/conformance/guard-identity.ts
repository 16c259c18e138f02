// Cases about who calls: every way in which an identity is missing or wrong has a reason of its own, and is told nothing of the policy.
import type { ReasonName } from "@brevet/protocol";
import type { ExpectedRefusal } from "./guard-answer.ts";
import { tampered } from "./guard-facts.ts";
import type { VerdictCase } from "./guard-verdicts.ts";
import type { Headers } from "./guard-wire.ts";

const bearer = (token: string): Headers => [["authorization", `Bearer ${token}`]];

/** Not understood: the message points to the catalogue. */
const explained = (reason: ReasonName, says: string, metadata: Readonly<Record<string, string>> = {}): ExpectedRefusal => ({
  reason,
  says: `${says} Run: brevet explain ${reason}`,
  metadata,
});

const malformed = (problem: string): ExpectedRefusal =>
  explained("IDENTITY_MALFORMED", `The authorization metadata is not one well-formed \`Bearer\` token. (${problem})`, { problem });

export const identityCases: readonly VerdictCase[] = [
  {
    name: "a call without an identity is told so, and nothing of the policy",
    given: () => [["x-other", "1"]],
    expects: explained("IDENTITY_MISSING", "{method} needs `authorization: Bearer <token>`, and none came."),
  },
  {
    name: "an empty authorization is no identity",
    given: () => [["authorization", ""]],
    expects: malformed("authorization is not one Bearer token"),
  },
  {
    name: "another scheme than Bearer is malformed",
    given: () => [["authorization", "Basic c2FtOnNlY3JldA=="]],
    expects: malformed("authorization is not one Bearer token"),
  },
  {
    name: "a token that is none is malformed",
    given: () => bearer("an-opaque-token"),
    expects: malformed("the token has 1 parts where a signed one has 3"),
  },
  {
    name: "a token of 9 KiB is malformed, whatever is in it",
    given: ({ as }) => as({ claims: { padding: "x".repeat(9 * 1024) } }),
    expects: malformed("the token is longer than 8192 bytes"),
  },
  {
    name: "two authorization headers are malformed, also where both are good",
    given: ({ as }) => [...as(), ...as()],
    expects: malformed("authorization was sent more than once"),
  },
  {
    name: "two tokens in one authorization are malformed",
    given: ({ facts, who }) => bearer(`${facts.token(who)},${facts.token(who)}`),
    expects: malformed("authorization is not one Bearer token"),
  },
  {
    name: "a token without an end is malformed",
    given: ({ as }) => as({ claims: { exp: undefined } }),
    expects: malformed("the claim exp is not a time"),
  },
  {
    name: "a token that names a key to check it with is malformed",
    given: ({ as, facts }) => as({ header: { jwk: JSON.parse(facts.stranger.publicJwk) as object }, key: facts.stranger.privateKey }),
    expects: malformed("the header carries jwk"),
  },
  {
    name: "a principal that is none is malformed",
    given: ({ facts }) => bearer(facts.token("sam")),
    expects: malformed("the principal's name is not well formed"),
  },
  {
    name: "an unsigned token is refused for its algorithm",
    given: ({ as }) => as({ header: { alg: "none" } }),
    expects: explained("IDENTITY_ALGORITHM_REJECTED", "The token is signed with an algorithm that is not accepted for its issuer.", {
      algorithm: "none",
    }),
  },
  {
    name: "a token with a shared secret is refused for its algorithm",
    given: ({ as }) => as({ header: { alg: "HS256" } }),
    expects: explained("IDENTITY_ALGORITHM_REJECTED", "The token is signed with an algorithm that is not accepted for its issuer.", {
      algorithm: "HS256",
    }),
  },
  {
    name: "a grant in authorization is refused for its type",
    given: ({ as }) => as({ header: { typ: "brevet-grant+jwt" } }),
    expects: explained("IDENTITY_TYPE_REJECTED", "The token says that it is something else than an identity token.", {
      type: "brevet-grant+jwt",
    }),
  },
  {
    name: "a key that the issuer does not publish is unknown",
    given: ({ as, facts }) => as({ header: { kid: "another" }, key: facts.stranger.privateKey }),
    expects: explained("IDENTITY_KEY_UNKNOWN", "The token names a key that its issuer does not publish.", {
      issuer: "https://people.test/dev",
    }),
  },
  {
    name: "a token that was altered has a wrong signature",
    given: ({ facts, who }) => bearer(tampered(facts.token(who))),
    expects: explained("IDENTITY_SIGNATURE_INVALID", "The token's signature is not that of the key that it names.", {
      issuer: "https://people.test/dev",
    }),
  },
  {
    name: "a token that another signed in the issuer's name has a wrong signature",
    given: ({ as, facts }) => as({ key: facts.stranger.privateKey }),
    expects: explained("IDENTITY_SIGNATURE_INVALID", "The token's signature is not that of the key that it names.", {
      issuer: "https://people.test/dev",
    }),
  },
  {
    name: "an issuer that the policy does not trust is unknown",
    given: ({ as }) => as({ claims: { iss: "https://elsewhere.test" } }),
    expects: explained("IDENTITY_ISSUER_UNKNOWN", "The service's policy does not trust the issuer of this token.", {
      issuer: "https://elsewhere.test",
    }),
  },
  {
    name: "a token for another audience is refused",
    given: ({ as }) => as({ claims: { aud: "another-service" } }),
    expects: {
      reason: "IDENTITY_AUDIENCE_MISMATCH",
      says: "the identity token is not for conformance-test: sign in for that audience. Run: brevet token inspect -",
      metadata: { expectedAudience: "conformance-test" },
    },
  },
  {
    name: "a token that is good for the authority as well is good for no service",
    given: ({ as }) => as({ claims: { aud: ["conformance-test", "brevet"] } }),
    expects: {
      reason: "IDENTITY_AUDIENCE_MISMATCH",
      says: "the identity token is not for conformance-test: sign in for that audience. Run: brevet token inspect -",
      metadata: { expectedAudience: "conformance-test" },
    },
  },
  {
    name: "a token is expired 30 s after its end",
    given: ({ as, facts }) => as({ claims: { exp: facts.nowSeconds - 30 } }),
    expects: {
      reason: "IDENTITY_EXPIRED",
      says: "the identity token ended at {time}; the authority's clock says {time}. Sign in again, or renew it.",
      metadata: { expiredAt: "{time}", skewMs: "{ms}" },
    },
  },
  {
    name: "a token is good until 30 s after its end",
    group: "Known",
    given: ({ as, facts }) => as({ claims: { exp: facts.nowSeconds - 29 } }),
    expects: { runs: true, window: false },
  },
  {
    name: "a token is not yet valid more than 30 s before its start",
    given: ({ as, facts }) => as({ claims: { nbf: facts.nowSeconds + 31 } }),
    expects: explained(
      "IDENTITY_NOT_YET_VALID",
      "the identity token is valid from {time}; the authority's clock says {time}. Correct the issuer's clock, or wait.",
      { skewMs: "{ms}", validFrom: "{time}" },
    ),
  },
  {
    name: "a token is good from 30 s before its start",
    group: "Known",
    given: ({ as, facts }) => as({ claims: { nbf: facts.nowSeconds + 30 } }),
    expects: { runs: true, window: false },
  },
];
