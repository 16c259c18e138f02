// Reasons that concern an elevation: none yet, not decided, or over. Data only.
import { GrpcCode } from "./code.ts";
import { ELEVATION_KEYS, type Entries } from "./entry.ts";

const code = GrpcCode.PERMISSION_DENIED;

/** PERMISSION_DENIED at a guard; the authority's own API answers FAILED_PRECONDITION. */
export const elevationReasons: Entries<
  | "ELEVATION_REQUIRED"
  | "ELEVATION_PENDING"
  | "ELEVATION_SCHEDULED"
  | "ELEVATION_DENIED"
  | "ELEVATION_WITHDRAWN"
  | "ELEVATION_LAPSED"
  | "ELEVATION_EXPIRED"
  | "ELEVATION_ENDED"
  | "ELEVATION_REVOKED"
  | "APPROVAL_WAIT_TIMEOUT"
> = {
  ELEVATION_REQUIRED: {
    reason: "ELEVATION_REQUIRED",
    code,
    what: "The method needs an approved elevation, and the caller has none.",
    causes: [
      "nobody has asked for one yet",
      "the elevation that the caller has is for another method, audience or principal",
      "the last one ended more than 24 hours ago",
    ],
    callerRemedy: "Ask for it: `brevet request METHOD --for 15m --reason …`, wait for the approval, and repeat the call unchanged.",
    operatorRemedy: "Nothing is wrong. If nobody should need an approval here, set the method's access to `authenticated` in the policy.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "present"],
    planned: false,
  },
  ELEVATION_PENDING: {
    reason: "ELEVATION_PENDING",
    code,
    what: "An elevation was asked for and is not decided yet.",
    causes: ["the approvers have not looked at it", "a further stage or vote is missing"],
    callerRemedy: "Wait: `brevet watch ELEVATION` shows each change and who may decide. It lapses at `pendingUntil`.",
    operatorRemedy: "Approvers: `brevet show ELEVATION`, then `brevet approve ELEVATION` or `brevet deny ELEVATION --comment …`.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "pendingUntil"],
    planned: false,
  },
  ELEVATION_SCHEDULED: {
    reason: "ELEVATION_SCHEDULED",
    code,
    what: "The elevation is approved, but its window has not started.",
    causes: ["it was asked for with a later start", "its start could not be told to the authority yet"],
    callerRemedy: "Call again at `startTime`, or, if no time was set, start it with `brevet start ELEVATION`.",
    operatorRemedy:
      "If the start was due, check with `brevet guards` that the guard reaches the authority: the first use has to be told to it.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "startTime", "startBy"],
    planned: false,
  },
  ELEVATION_DENIED: {
    reason: "ELEVATION_DENIED",
    code,
    what: "An approver refused the elevation.",
    causes: ["an approver voted against it", "the reason given did not convince"],
    callerRemedy: "Read the approver's words with `brevet show ELEVATION`; ask again with a better reason once the cool-down is over.",
    operatorRemedy: "Nothing is wrong. `brevet show ELEVATION` shows who refused it, and why.",
    retry: "never",
    metadata: [...ELEVATION_KEYS, "endedAt", "coolDownUntil"],
    planned: false,
  },
  ELEVATION_WITHDRAWN: {
    reason: "ELEVATION_WITHDRAWN",
    code,
    what: "The requester took the request back before it was decided.",
    causes: ["`brevet withdraw` was run, or the program that asked was stopped"],
    callerRemedy: "Ask anew with `brevet request METHOD` if it is needed after all.",
    operatorRemedy: "Nothing is wrong.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "endedAt"],
    planned: false,
  },
  ELEVATION_LAPSED: {
    reason: "ELEVATION_LAPSED",
    code,
    what: "Nobody decided the elevation, or nobody used it, in time. It was not refused.",
    causes: ["no approver was there within the pending time", "it was approved, and the first use came too late"],
    callerRemedy: "Ask anew with `brevet request METHOD`, and tell an approver; `brevet show ELEVATION` shows who may decide.",
    operatorRemedy:
      "If this happens often, lengthen `pending` or `startWithin`, add approvers, or let the stage escalate; then apply the new version.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "endedAt", "lapseCause"],
    planned: false,
  },
  ELEVATION_EXPIRED: {
    reason: "ELEVATION_EXPIRED",
    code,
    what: "The elevation's window is over.",
    causes: ["the work took longer than the window", "the window was used up by an earlier piece of work"],
    callerRemedy: "Ask for a new one with `brevet request METHOD --for …`; next time `brevet extend ELEVATION` before the end.",
    operatorRemedy: "If windows are too short for the work, raise `duration` or `extend` of the entitlement and apply the new version.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "expiredAt", "skewMs"],
    planned: false,
  },
  ELEVATION_ENDED: {
    reason: "ELEVATION_ENDED",
    code,
    what: "The elevation was handed back before its end.",
    causes: ["`brevet end` was run", "the last program that held it let go"],
    callerRemedy: "Ask for a new one with `brevet request METHOD`.",
    operatorRemedy: "Nothing is wrong. Programs that share an elevation should each take their own hold by asking for it.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "endedAt"],
    planned: false,
  },
  ELEVATION_REVOKED: {
    reason: "ELEVATION_REVOKED",
    code,
    what: "The elevation was taken away.",
    causes: [
      "an approver or an admin revoked it",
      "a policy change took the right away",
      "the authority was restored from a backup, which revokes everything active",
    ],
    callerRemedy: "Stop, and ask who revoked it and why: `brevet show ELEVATION`. Ask for a new one only when that is settled.",
    operatorRemedy: "`brevet show ELEVATION` and `brevet audit list` show who revoked it, or which policy version did.",
    retry: "never",
    metadata: [...ELEVATION_KEYS, "endedAt", "revokeCause"],
    planned: false,
  },
  APPROVAL_WAIT_TIMEOUT: {
    reason: "APPROVAL_WAIT_TIMEOUT",
    code: GrpcCode.DEADLINE_EXCEEDED,
    what: "The wait for the approval ended first. The elevation stays open.",
    causes: ["the approvers need longer than the client waits", "the call's deadline is shorter than an approval takes"],
    callerRemedy:
      "`brevet watch ELEVATION`, and repeat the call after the approval; or wait longer, with a later deadline and a longer `wait`.",
    operatorRemedy: "Make deadlines as long as the approvals that they need, or let pipelines ask beforehand with `brevet request --wait`.",
    retry: "after-approval",
    metadata: [...ELEVATION_KEYS, "waitedMs", "pendingUntil"],
    planned: false,
  },
};
