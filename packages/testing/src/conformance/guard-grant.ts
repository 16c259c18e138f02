// Cases about grants: one that is good proves its elevation, one that is not says what is wrong with it, and is told to its owner only.
import type { ReasonName } from "@brevet/protocol";
import type { ExpectedRefusal } from "./guard-answer.ts";
import { type Facts, tampered } from "./guard-facts.ts";
import type { Given, VerdictCase } from "./guard-verdicts.ts";

const OLD_EPOCH = "epo_0";

/** With a grant of the caller's own elevation of a method that wants one shown. */
const shown = (name: string, grant: (facts: Facts, elevation: ReturnType<Given["elevate"]>) => string, expects: VerdictCase["expects"]) =>
  ({
    name,
    group: "Shown",
    given: ({ as, elevate, facts }) => [...as(), ["brevet-grant", grant(facts, elevate())]],
    expects,
  }) satisfies VerdictCase;

/** The elevation is there, and only its grant is not good: the message points to the catalogue. */
const refused = (reason: ReasonName, says: string, metadata: Readonly<Record<string, string>> = {}): ExpectedRefusal => ({
  reason,
  says: `${says} Run: brevet explain ${reason}`,
  metadata: { elevation: "{elevation}", entitlement: "shown", present: "grant", ...metadata },
  offers: ["shown"],
  help: ["/r/shown", "/e/{elevation}"],
});

export const grantCases: readonly VerdictCase[] = [
  shown("a good grant is proof", (facts, elevation) => facts.grant(elevation), { runs: true, window: true }),
  {
    name: "where a grant has to be shown, identity is not enough",
    group: "Shown",
    given: ({ as, elevate }) => {
      elevate();
      return as();
    },
    expects: {
      reason: "ELEVATION_REQUIRED",
      says: "{method} wants the grant of elevation {elevation} in brevet-grant, and none came. Run: brevet grant {elevation}  or open https://brevet.test/e/{elevation}",
      metadata: { elevation: "{elevation}", entitlement: "shown", present: "grant" },
      offers: ["shown"],
      help: ["/e/{elevation}", "/r/shown"],
    },
  },
  {
    name: "a grant without an identity is nothing",
    group: "Shown",
    given: ({ elevate, facts }) => [["brevet-grant", facts.grant(elevate())]],
    expects: {
      reason: "IDENTITY_MISSING",
      says: "{method} needs `authorization: Bearer <token>`, and none came. Run: brevet explain IDENTITY_MISSING",
    },
  },
  shown(
    "a grant that is none is malformed",
    () => "not-a-grant",
    refused(
      "GRANT_MALFORMED",
      "The grant is not a signed token in its one accepted form. (the token has 1 parts where a signed one has 3)",
      { problem: "the token has 1 parts where a signed one has 3" },
    ),
  ),
  shown(
    "a grant for longer than 15 minutes is malformed",
    (facts, elevation) => facts.grant(elevation, { claims: { iat: 0 } }),
    refused("GRANT_MALFORMED", "The grant is not a signed token in its one accepted form. (the grant would last longer than 15 minutes)", {
      problem: "the grant would last longer than 15 minutes",
    }),
  ),
  shown(
    "a grant with another algorithm",
    (facts, elevation) => facts.grant(elevation, { header: { alg: "ES256" } }),
    refused("GRANT_ALGORITHM_REJECTED", "The grant is not signed with EdDSA, the only algorithm for grants."),
  ),
  {
    name: "an identity token in brevet-grant",
    group: "Shown",
    given: ({ as, elevate, facts, who }) => {
      elevate();
      return [...as(), ["brevet-grant", facts.token(who)]];
    },
    expects: refused("GRANT_TYPE_REJECTED", "The token in `brevet-grant` does not call itself a grant."),
  },
  shown(
    "a grant by a key that the authority does not have",
    (facts, elevation) => facts.grant(elevation, { header: { kid: facts.stranger.kid }, key: facts.stranger.privateKey }),
    refused("GRANT_KEY_UNKNOWN", "The grant names a signing key that this guard does not know."),
  ),
  shown(
    "a grant that was altered",
    (facts, elevation) => tampered(facts.grant(elevation)),
    refused("GRANT_SIGNATURE_INVALID", "The grant's signature is not that of the key that it names."),
  ),
  shown(
    "a grant of another authority",
    (facts, elevation) => facts.grant(elevation, { claims: { iss: "https://other.test" } }),
    refused("GRANT_ISSUER_UNKNOWN", "The grant was issued by another authority.", { expectedIssuer: "https://brevet.test" }),
  ),
  shown(
    "a grant for another audience",
    (facts, elevation) => facts.grant(elevation, { claims: { aud: "another" } }),
    refused("GRANT_AUDIENCE_MISMATCH", "The grant is for another audience.", { expectedAudience: "conformance-test" }),
  ),
  shown(
    "a grant of somebody else",
    (facts, elevation) => facts.grant(elevation, { claims: { sub: "user:rae@acme.test" } }),
    refused("GRANT_PRINCIPAL_MISMATCH", "The grant is not this caller's, or belongs to no elevation that is known here."),
  ),
  shown(
    "a grant of an elevation that does not exist looks like somebody else's",
    (facts, elevation) => facts.grant(elevation, { claims: { elevation: "elv_none" } }),
    refused("GRANT_PRINCIPAL_MISMATCH", "The grant is not this caller's, or belongs to no elevation that is known here."),
  ),
  shown(
    "a grant from before a restore of the log",
    (facts, elevation) => facts.grant(elevation, { claims: { epoch: OLD_EPOCH } }),
    refused("GRANT_PRINCIPAL_MISMATCH", "The grant is not this caller's, or belongs to no elevation that is known here."),
  ),
  shown(
    "a grant of a chain counts for nobody",
    (facts, elevation) => facts.grant(elevation, { claims: { act: { sub: "workload:x" } } }),
    refused("GRANT_PRINCIPAL_MISMATCH", "The grant is not this caller's, or belongs to no elevation that is known here."),
  ),
  shown(
    "a grant that is past its end",
    (facts, elevation) =>
      facts.grant(elevation, { claims: { iat: facts.nowSeconds - 60, nbf: facts.nowSeconds - 60, exp: facts.nowSeconds } }),
    {
      reason: "GRANT_EXPIRED",
      says: "the grant ended at {time}; the authority's clock says {time}. Its elevation may go on: get a fresh grant. Run: brevet grant {elevation}  or open https://brevet.test/e/{elevation}",
      metadata: { elevation: "{elevation}", entitlement: "shown", expiredAt: "{time}", present: "grant", skewMs: "{ms}" },
      offers: ["shown"],
      help: ["/e/{elevation}", "/r/shown"],
    },
  ),
  shown(
    "a grant that begins later",
    (facts, elevation) => facts.grant(elevation, { claims: { nbf: facts.nowSeconds + 1 } }),
    refused("GRANT_NOT_YET_VALID", "The grant is not valid yet.", { validFrom: "{time}" }),
  ),
  shown(
    "a grant that was issued in the future",
    (facts, elevation) => facts.grant(elevation, { claims: { iat: facts.nowSeconds + 2 } }),
    refused("GRANT_NOT_YET_VALID", "The grant is not valid yet.", { validFrom: "{time}" }),
  ),
  {
    name: "a grant for other methods does not cover this one",
    given: ({ as, facts, authority, who, id }) => {
      const elevation = authority.elevate({ id, principal: who, group: "Shown" });
      return [...as(), ["brevet-grant", facts.grant(elevation)]];
    },
    expects: {
      reason: "GRANT_SCOPE_MISMATCH",
      says: "the grant does not cover {method}. Run: brevet request {method} --for 15m  or open https://brevet.test/r/plain",
      metadata: { elevation: "{elevation}" },
      offers: ["plain"],
      help: ["/r/plain", "/e/{elevation}"],
    },
  },
  shown(
    "a grant that is bound to a key that nobody proves",
    (facts, elevation) => facts.grant(elevation, { claims: { cnf: { jkt: "x".repeat(43) } } }),
    refused("GRANT_PROOF_INVALID", "The caller did not prove that it holds the key that the grant is bound to."),
  ),
  {
    name: "where a key has to be proven, a plain grant is not enough",
    group: "Keyed",
    given: ({ as, elevate, facts }) => [...as(), ["brevet-grant", facts.grant(elevate())]],
    expects: {
      reason: "GRANT_PROOF_INVALID",
      says: "The caller did not prove that it holds the key that the grant is bound to. Run: brevet explain GRANT_PROOF_INVALID",
      metadata: { elevation: "{elevation}", entitlement: "keyed", present: "bound" },
      offers: [],
      help: ["/e/{elevation}"],
    },
  },
  {
    name: "a good grant counts beside bad ones, in one header or in several",
    group: "Shown",
    given: ({ as, elevate, facts }) => {
      const grant = facts.grant(elevate());
      return [...as(), ["brevet-grant", `junk, ${tampered(grant)}`], ["brevet-grant", grant]];
    },
    expects: { runs: true, window: true },
  },
  {
    name: "of five grants the fifth is not looked at",
    group: "Shown",
    given: ({ as, elevate, facts }) => {
      const grant = facts.grant(elevate());
      return [...as(), ...Array.from({ length: 4 }, () => ["brevet-grant", "junk"] as const), ["brevet-grant", grant]];
    },
    expects: refused(
      "GRANT_MALFORMED",
      "The grant is not a signed token in its one accepted form. (the token has 1 parts where a signed one has 3)",
      { problem: "the token has 1 parts where a signed one has 3" },
    ),
  },
  {
    name: "the fourth of four grants counts",
    group: "Shown",
    given: ({ as, elevate, facts }) => [...as(), ["brevet-grant", `junk,junk,junk,${facts.grant(elevate())}`]],
    expects: { runs: true, window: true },
  },
  {
    name: "a grant that was made after what the guard knows proves its elevation",
    group: "Shown",
    given: ({ as, authority, facts, id, who }) => {
      const later = authority.make({ id, principal: who, group: "Shown" });
      return [...as(), ["brevet-grant", facts.grant(later, { claims: { rev: "1000000" } })]];
    },
    expects: { runs: true, window: true },
  },
  {
    name: "the grant of a revoked elevation is worth nothing, whatever revision it names",
    group: "Shown",
    given: ({ as, elevate, facts }) => {
      const grant = facts.grant(elevate(), { claims: { rev: "1000000" } });
      elevate({ state: "REVOKED" });
      return [...as(), ["brevet-grant", grant]];
    },
    expects: {
      reason: "ELEVATION_REVOKED",
      says: "elevation {elevation} for {method} was revoked at {time}: learn by whom and why before you ask again. Run: brevet show {elevation}  or open https://brevet.test/e/{elevation}",
      metadata: { elevation: "{elevation}", endedAt: "{time}", entitlement: "shown" },
      offers: ["shown"],
      help: ["/e/{elevation}", "/r/shown"],
    },
  },
  {
    name: "an approval of another request",
    group: "Paid",
    given: ({ as, elevate }) => {
      elevate({ payload: Buffer.from("another request") });
      return as();
    },
    expects: {
      reason: "GRANT_PAYLOAD_MISMATCH",
      says: "the approval covers one exact request to {method}: this is another, or it was used. Run: brevet request {method} --for 15m --payload FILE  or open https://brevet.test/r/paid",
      metadata: { elevation: "{elevation}", entitlement: "paid", used: "false" },
      offers: ["paid"],
      help: ["/r/paid", "/e/{elevation}"],
    },
  },
];
