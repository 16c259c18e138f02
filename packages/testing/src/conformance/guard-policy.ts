// Cases about what the policy says of a method: open, authenticated, forbidden, not listed, for others, on a condition.
import type { VerdictCase } from "./guard-verdicts.ts";
import { HEALTH_CHECK, methodOf, REFLECTION, requestOf, UNLISTED_SERVICE } from "./guard-world.ts";

export const policyCases: readonly VerdictCase[] = [
  { name: "an open method runs for anybody", group: "Open", given: () => [], expects: { runs: true, window: false } },
  {
    name: "an open method runs for a caller with a bad identity, too",
    group: "Open",
    given: () => [["authorization", "nonsense"]],
    expects: { runs: true, window: false },
  },
  {
    name: "an authenticated method runs for any identity",
    group: "Known",
    given: ({ as }) => as(),
    expects: { runs: true, window: false },
  },
  {
    name: "an authenticated method does not run without one",
    group: "Known",
    given: () => [],
    expects: {
      reason: "IDENTITY_MISSING",
      says: "{method} needs `authorization: Bearer <token>`, and none came. Run: brevet explain IDENTITY_MISSING",
    },
  },
  {
    name: "a forbidden method runs for nobody",
    group: "Hidden",
    given: ({ as }) => as(),
    expects: {
      reason: "METHOD_FORBIDDEN",
      says: "the policy of conformance-test forbids {method}, or does not list it: check the name, or ask an admin. Run: brevet explain METHOD_FORBIDDEN",
    },
  },
  {
    name: "a method of a service that the policy does not list is forbidden",
    method: (kind) => `${UNLISTED_SERVICE}/${kind}`,
    given: ({ as }) => as(),
    expects: {
      reason: "METHOD_FORBIDDEN",
      says: "the policy of conformance-test forbids {method}, or does not list it: check the name, or ask an admin. Run: brevet explain METHOD_FORBIDDEN",
    },
  },
  {
    name: "that a method is forbidden is not told to strangers",
    group: "Hidden",
    given: () => [],
    expects: {
      reason: "IDENTITY_MISSING",
      says: "{method} needs `authorization: Bearer <token>`, and none came. Run: brevet explain IDENTITY_MISSING",
    },
  },
  { name: "health is open", kinds: ["Unary"], method: () => HEALTH_CHECK, given: () => [], expects: { runs: true, window: false } },
  {
    name: "reflection needs an identity",
    kinds: ["Chat"],
    method: () => REFLECTION,
    given: () => [],
    expects: {
      reason: "IDENTITY_MISSING",
      says: "{method} needs `authorization: Bearer <token>`, and none came. Run: brevet explain IDENTITY_MISSING",
    },
  },
  {
    name: "reflection runs for any identity",
    kinds: ["Chat"],
    method: () => REFLECTION,
    given: ({ as }) => as(),
    expects: { runs: true, window: false },
  },
  {
    name: "who may not ask for an entitlement is not told of it",
    group: "Others",
    given: ({ as }) => as(),
    expects: {
      reason: "NOT_ELIGIBLE",
      says: "no entitlement lets {principal} ask for {method}: an admin of conformance-test can add you. Run: brevet explain NOT_ELIGIBLE",
    },
  },
  {
    name: "a request that meets the condition runs, unknown fields and all",
    group: "Limited",
    given: ({ as, elevate }) => {
      elevate();
      return as();
    },
    message: Buffer.concat([requestOf(500), Buffer.from([0x7a, 0x01, 0x42])]),
    expects: { runs: true, window: true },
  },
  {
    name: "a request that does not meet the condition",
    group: "Limited",
    given: ({ as, elevate }) => {
      elevate();
      return as();
    },
    message: requestOf(501),
    expects: {
      reason: "CONDITION_NOT_MET",
      says: "change this request to {method}: it does not meet request.amount_cents <= 500. Run: brevet show {elevation}  or open https://brevet.test/e/{elevation}",
      metadata: { elevation: "{elevation}", entitlement: "limited", expression: "request.amount_cents <= 500" },
      help: ["/e/{elevation}"],
    },
  },
  {
    name: "a request that no approval would help is told so before anybody is asked",
    group: "Limited",
    given: ({ as }) => as(),
    message: requestOf(501),
    expects: {
      reason: "CONDITION_NOT_MET",
      says: "change this request to {method}: it does not meet request.amount_cents <= 500.",
      metadata: { entitlement: "limited", expression: "request.amount_cents <= 500" },
    },
  },
  {
    name: "a request that cannot be read meets no condition",
    group: "Limited",
    given: ({ as, elevate }) => {
      elevate();
      return as();
    },
    message: Buffer.from([0x0f]),
    expects: {
      reason: "POLICY_MISCONFIGURED",
      says: "an admin of conformance-test has to correct the rule for {method}, which cannot be enforced: the request does not read as one conformance.v1.Request to everybody: amount_cents has the form of another type. Run: brevet explain POLICY_MISCONFIGURED",
      metadata: {
        elevation: "{elevation}",
        entitlement: "limited",
        expression: "request.amount_cents <= 500",
        problem: "the request does not read as one conformance.v1.Request to everybody: amount_cents has the form of another type",
      },
      help: ["/e/{elevation}"],
    },
  },
  {
    name: "an approved condition counts beside the policy's",
    group: "Limited",
    given: ({ as, elevate }) => {
      elevate({ condition: "request.amount_cents <= 100" });
      return as();
    },
    message: requestOf(101),
    expects: {
      reason: "CONDITION_NOT_MET",
      says: "change this request to {method}: it does not meet request.amount_cents <= 100. Run: brevet show {elevation}  or open https://brevet.test/e/{elevation}",
      metadata: { elevation: "{elevation}", entitlement: "limited", expression: "request.amount_cents <= 100" },
      offers: ["limited"],
      help: ["/e/{elevation}", "/r/limited"],
    },
  },
  {
    name: "a condition on the caller needs no request",
    given: ({ as, elevate }) => {
      elevate({ condition: 'principal.name == "user:rae@acme.test"' });
      return as();
    },
    expects: {
      reason: "CONDITION_NOT_MET",
      says: 'change this request to {method}: it does not meet principal.name == "user:rae@acme.test". Run: brevet show {elevation}  or open https://brevet.test/e/{elevation}',
      metadata: { elevation: "{elevation}", entitlement: "plain", expression: 'principal.name == "user:rae@acme.test"' },
      offers: ["plain"],
      help: ["/e/{elevation}", "/r/plain"],
    },
  },
  {
    name: "an approved condition that the policy's descriptors do not know permits nothing",
    given: ({ as, elevate }) => {
      elevate({ condition: "request.no_such_field == 1" });
      return as();
    },
    expects: {
      reason: "POLICY_MISCONFIGURED",
      says: "an admin of conformance-test has to correct the rule for {method}, which cannot be enforced: conformance.v1.Request has no field no_such_field. Run: brevet explain POLICY_MISCONFIGURED",
      metadata: {
        elevation: "{elevation}",
        entitlement: "plain",
        expression: "request.no_such_field == 1",
        problem: "conformance.v1.Request has no field no_such_field",
      },
      help: ["/e/{elevation}"],
    },
  },
  {
    name: "a payload that was approved runs",
    group: "Paid",
    kinds: ["Unary"],
    given: ({ as, elevate }) => {
      elevate({ payload: requestOf(5) });
      return as();
    },
    expects: { runs: true, window: true },
  },
  {
    name: "a payload that was approved runs as a server stream, too",
    group: "Paid",
    kinds: ["Watch"],
    given: ({ as, elevate }) => {
      elevate({ payload: requestOf(5), methods: [methodOf("Paid", "Watch")] });
      return as();
    },
    expects: { runs: true, window: true },
  },
];
