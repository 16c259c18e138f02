// Cases about elevations: each state, and each way for a window to be over, is refused under its own reason; a live one lets the call run.
import type { ReasonName } from "@brevet/protocol";
import type { ExpectedRefusal } from "./guard-answer.ts";
import type { VerdictCase } from "./guard-verdicts.ts";
import { methodOf } from "./guard-world.ts";

const REQUEST = "Run: brevet request {method} --for 15m  or open https://brevet.test/r/plain";
const SHOW = "Run: brevet show {elevation}  or open https://brevet.test/e/{elevation}";

const REQUIRED: ExpectedRefusal = {
  reason: "ELEVATION_REQUIRED",
  says: `{method} needs an approved elevation (plain, 1 approval). ${REQUEST}`,
  offers: ["plain"],
  help: ["/r/plain"],
};

/** An elevation that is over: the message says how to ask again, or where to look why. */
const ended = (reason: ReasonName, says: string, helps: "request" | "show"): ExpectedRefusal => ({
  reason,
  says: `${says} ${helps === "request" ? REQUEST : SHOW}`,
  metadata: {
    elevation: "{elevation}",
    entitlement: "plain",
    [reason === "ELEVATION_EXPIRED" ? "expiredAt" : "endedAt"]: "{time}",
  },
  offers: ["plain"],
  help: helps === "request" ? ["/r/plain", "/e/{elevation}"] : ["/e/{elevation}", "/r/plain"],
});

/** What each final state is refused with. */
const FINAL = {
  DENIED: ended("ELEVATION_DENIED", "an approver refused elevation {elevation} for {method}; their words say why.", "show"),
  WITHDRAWN: ended("ELEVATION_WITHDRAWN", "elevation {elevation} for {method} was withdrawn before a decision.", "request"),
  LAPSED: ended(
    "ELEVATION_LAPSED",
    "elevation {elevation} for {method} lapsed: nobody decided or used it in time. It was not refused.",
    "request",
  ),
  EXPIRED: ended(
    "ELEVATION_EXPIRED",
    "the window of elevation {elevation} for {method} ended at {time}; the authority's clock says {time}.",
    "request",
  ),
  ENDED: ended("ELEVATION_ENDED", "elevation {elevation} for {method} was handed back at {time}.", "request"),
  REVOKED: ended(
    "ELEVATION_REVOKED",
    "elevation {elevation} for {method} was revoked at {time}: learn by whom and why before you ask again.",
    "show",
  ),
} as const;

export const elevationCases: readonly VerdictCase[] = [
  {
    name: "without an elevation the call is refused with an offer",
    given: ({ as }) => as(),
    expects: REQUIRED,
  },
  {
    name: "under a running window the call runs, by identity alone",
    given: ({ as, elevate }) => {
      elevate();
      return as();
    },
    expects: { runs: true, window: true },
  },
  {
    name: "somebody else's elevation is nobody's",
    given: ({ as, elevate }) => {
      elevate({ principal: "user:rae@acme.test" });
      return as();
    },
    expects: REQUIRED,
  },
  {
    name: "an elevation for other methods does not cover this one",
    given: ({ as, elevate }) => {
      elevate({ methods: [methodOf("Drained", "Unary")] });
      return as();
    },
    expects: REQUIRED,
  },
  {
    name: "an elevation that waits for a decision",
    given: ({ as, elevate }) => {
      elevate({ state: "PENDING" });
      return as();
    },
    expects: {
      reason: "ELEVATION_PENDING",
      says: "elevation {elevation} for {method} is not decided yet, and lapses at {time}. Run: brevet watch {elevation}  or open https://brevet.test/e/{elevation}",
      metadata: { elevation: "{elevation}", entitlement: "plain", pendingUntil: "{time}" },
      offers: ["plain"],
      help: ["/e/{elevation}", "/r/plain"],
    },
  },
  {
    name: "an elevation that waited for a decision too long has lapsed, whether the authority said so or not",
    given: ({ as, elevate }) => {
      elevate({ state: "PENDING", waitsForMs: 0 });
      return as();
    },
    expects: FINAL.LAPSED,
  },
  {
    name: "an elevation that starts later",
    given: ({ as, elevate }) => {
      elevate({ state: "SCHEDULED", startsInMs: 60_000 });
      return as();
    },
    expects: {
      reason: "ELEVATION_SCHEDULED",
      says: "elevation {elevation} for {method} is approved and starts at {time}: call again then. Run: brevet show {elevation}  or open https://brevet.test/e/{elevation}",
      metadata: { elevation: "{elevation}", entitlement: "plain", startBy: "{time}", startTime: "{time}" },
      help: ["/e/{elevation}"],
    },
  },
  {
    name: "an elevation that was not used in time has lapsed, whether the authority said so or not",
    given: ({ as, elevate }) => {
      elevate({ state: "SCHEDULED", waitsForMs: 0 });
      return as();
    },
    expects: FINAL.LAPSED,
  },
  {
    name: "the first use starts the window, and the call runs",
    given: ({ as, elevate }) => {
      elevate({ state: "SCHEDULED" });
      return as();
    },
    expects: { runs: true, window: true },
  },
  ...(["DENIED", "WITHDRAWN", "LAPSED", "EXPIRED", "ENDED", "REVOKED"] as const).map(
    (state): VerdictCase => ({
      name: `an elevation that is ${state}`,
      given: ({ as, elevate }) => {
        elevate({ state });
        return as();
      },
      expects: FINAL[state],
    }),
  ),
  {
    name: "a window that is over has expired, whether the authority said so or not",
    given: ({ as, elevate }) => {
      elevate({ startedAgoMs: 10_000, endsInMs: 0 });
      return as();
    },
    expects: FINAL.EXPIRED,
  },
  {
    name: "a window that has not begun is scheduled",
    given: ({ as, elevate }) => {
      elevate({ startedAgoMs: -10_000 });
      return as();
    },
    expects: {
      reason: "ELEVATION_SCHEDULED",
      says: "elevation {elevation} for {method} is approved and starts at {time}: call again then. Run: brevet show {elevation}  or open https://brevet.test/e/{elevation}",
      metadata: { elevation: "{elevation}", entitlement: "plain", startTime: "{time}" },
      help: ["/e/{elevation}"],
    },
  },
  {
    name: "what ended more than 24 h ago is forgotten",
    given: ({ as, elevate }) => {
      elevate({ state: "REVOKED", endedAgoMs: 24 * 3_600_000 + 1 });
      return as();
    },
    expects: REQUIRED,
  },
  {
    name: "a live elevation counts beside a revoked one",
    given: ({ as, elevate, id }) => {
      elevate({ state: "REVOKED", id: `${id}b` });
      elevate();
      return as();
    },
    expects: { runs: true, window: true },
  },
];
