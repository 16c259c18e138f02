// Reasons of the authority's own API: asking, voting, changing policy. Guards send none of them. Data only.
import { GrpcCode } from "./code.ts";
import { API_KEYS, type Entries } from "./entry.ts";

const VOTE_KEYS = [...API_KEYS, "elevation", "entitlement", "state"] as const;
const ASK_KEYS = [...API_KEYS, "entitlement", "policyVersion"] as const;

/** Who may vote and change, and when. */
export const votingReasons: Entries<
  "NOT_AN_APPROVER" | "SELF_APPROVAL" | "ROLE_REQUIRED" | "ALREADY_VOTED" | "ALREADY_DECIDED" | "REVISION_CHANGED" | "NOT_FOUND"
> = {
  NOT_AN_APPROVER: {
    reason: "NOT_AN_APPROVER",
    code: GrpcCode.PERMISSION_DENIED,
    what: "The caller is not among those who may vote on this now.",
    causes: [
      "the caller is a program: only people vote, and review",
      "the caller is an approver of another stage",
      "the token does not carry the approvers' group",
      "a policy change took the right away",
    ],
    callerRemedy: "`brevet show ELEVATION` names the open stage and who may vote in it; ask one of them.",
    operatorRemedy:
      "Add the person or a group to `approval.stages[].approvers`, and check `mayAssert` of their issuer; then apply the new version.",
    retry: "never",
    metadata: [...VOTE_KEYS, "stage"],
    planned: false,
  },
  SELF_APPROVAL: {
    reason: "SELF_APPROVAL",
    code: GrpcCode.PERMISSION_DENIED,
    what: "Nobody decides on what they asked for themselves, or on a pipeline that they started.",
    causes: [
      "requester and voter are the same person",
      "the voter started the workload that asked",
      "an admin approves their own policy proposal",
    ],
    callerRemedy: "Ask another approver; `brevet show ELEVATION` says who may vote.",
    operatorRemedy: "Name at least one approver more than the quorum, so that each of them can ask too.",
    retry: "never",
    metadata: VOTE_KEYS,
    planned: false,
  },
  ROLE_REQUIRED: {
    reason: "ROLE_REQUIRED",
    code: GrpcCode.PERMISSION_DENIED,
    what: "The caller lacks the role that this needs.",
    causes: ["the policy gives the role to others", "the token does not carry the role's group", "the guard is not listed in the policy"],
    callerRemedy: "Ask someone who has the role in `role` for this audience.",
    operatorRemedy: "Roles stand under `roles` in the audience's policy, and guards under `guards`; nobody has one by default.",
    retry: "never",
    metadata: [...VOTE_KEYS, "role"],
    planned: false,
  },
  ALREADY_VOTED: {
    reason: "ALREADY_VOTED",
    code: GrpcCode.FAILED_PRECONDITION,
    what: "The caller has voted on this elevation already.",
    causes: ["the vote was cast before, perhaps from another window", "one person votes in two stages: a person counts once"],
    callerRemedy: "Nothing to do: `brevet show ELEVATION` shows your vote. To undo an approval, `brevet revoke ELEVATION`.",
    operatorRemedy: "If the quorum cannot be met by distinct people, add approvers to the stage.",
    retry: "never",
    metadata: VOTE_KEYS,
    planned: false,
  },
  ALREADY_DECIDED: {
    reason: "ALREADY_DECIDED",
    code: GrpcCode.FAILED_PRECONDITION,
    what: "The elevation is not open to this any more.",
    causes: ["somebody else was first", "it lapsed, ended or was revoked in the meantime"],
    callerRemedy: "`brevet show ELEVATION` shows what it is now, and who made it so.",
    operatorRemedy: "Nothing is wrong: of two that act at once, one wins and the other is told so.",
    retry: "never",
    metadata: VOTE_KEYS,
    planned: false,
  },
  REVISION_CHANGED: {
    reason: "REVISION_CHANGED",
    code: GrpcCode.ABORTED,
    what: "What the caller acted on has changed since they saw it.",
    causes: ["the terms were narrowed, or another vote came in", "another policy version became current"],
    callerRemedy: "Look again with `brevet show ELEVATION`, and decide on what is there now.",
    operatorRemedy: "Nothing is wrong: a decision never falls on something that nobody looked at.",
    retry: "never",
    metadata: [...VOTE_KEYS, "revision", "seenRevision", "policyVersion"],
    planned: false,
  },
  NOT_FOUND: {
    reason: "NOT_FOUND",
    code: GrpcCode.NOT_FOUND,
    what: "There is no such thing, or it is not for this caller's eyes.",
    causes: ["the id is misspelt, or of another authority", "it is somebody else's, and the caller may not decide on it"],
    callerRemedy:
      "Check the id, the authority (`BREVET_AUTHORITY`) and who you are (`brevet token inspect` shows it); `brevet list` shows what you may read.",
    operatorRemedy: "Whoever should read everything of an audience needs the role auditor or admin in its policy.",
    retry: "never",
    metadata: [...API_KEYS, "elevation"],
    planned: false,
  },
};

/** What is wrong with what was asked for. */
export const requestReasons: Entries<
  | "OUTSIDE_SCHEDULE"
  | "QUORUM_UNREACHABLE"
  | "NO_APPROVER"
  | "DURATION_TOO_LONG"
  | "REASON_REQUIRED"
  | "REASON_MALFORMED"
  | "PAYLOAD_REQUIRED"
  | "POLICY_INVALID"
  | "REQUEST_INVALID"
> = {
  OUTSIDE_SCHEDULE: {
    reason: "OUTSIDE_SCHEDULE",
    code: GrpcCode.FAILED_PRECONDITION,
    what: "The entitlement's schedule does not allow it now.",
    causes: ["it is outside the hours or days of the schedule", "the schedule is in another time zone than expected"],
    callerRemedy: "Ask again at `opensAt`; in an emergency, use a break-glass entitlement: `brevet request METHOD --break-glass`.",
    operatorRemedy: "Check `schedule` of the entitlement: days, hours and time zone.",
    retry: "never",
    metadata: [...ASK_KEYS, "opensAt"],
    planned: false,
  },
  QUORUM_UNREACHABLE: {
    reason: "QUORUM_UNREACHABLE",
    code: GrpcCode.FAILED_PRECONDITION,
    what: "Fewer people could approve this than the quorum needs, so it is refused at once.",
    causes: ["the requester is one of too few approvers", "approvers left the group"],
    callerRemedy: "Tell an admin of the audience: no waiting helps.",
    operatorRemedy: "Add approvers to the stage or lower its `quorum`, run `brevet policy check`, and apply the new version.",
    retry: "never",
    metadata: [...ASK_KEYS, "quorum", "eligibleApprovers", "stage"],
    planned: false,
  },
  NO_APPROVER: {
    reason: "NO_APPROVER",
    code: GrpcCode.FAILED_PRECONDITION,
    what: "Nobody could approve this.",
    causes: ["the only approver is the requester", "the approvers' list names nobody, which means nobody"],
    callerRemedy: "Tell an admin of the audience: no waiting helps.",
    operatorRemedy: "Name approvers in `approval.stages`, run `brevet policy check`, and apply the new version.",
    retry: "never",
    metadata: [...ASK_KEYS, "stage"],
    planned: false,
  },
  DURATION_TOO_LONG: {
    reason: "DURATION_TOO_LONG",
    code: GrpcCode.INVALID_ARGUMENT,
    what: "That is longer than the entitlement, or the request, allows.",
    causes: [
      "`--for` is over the entitlement's longest duration",
      "an approver tried to widen instead of narrow",
      "an extension goes beyond the longest window",
    ],
    callerRemedy: "Ask for at most `maxSeconds`: `brevet request METHOD --for …`.",
    operatorRemedy: "If the work needs longer, raise `duration.max` or `extend.max` of the entitlement and apply the new version.",
    retry: "never",
    metadata: [...ASK_KEYS, "elevation", "maxSeconds"],
    planned: false,
  },
  REASON_REQUIRED: {
    reason: "REASON_REQUIRED",
    code: GrpcCode.INVALID_ARGUMENT,
    what: "The entitlement wants a reason, and none was given.",
    causes: ["`--reason` was left out", "the client library has no `reason` option set"],
    callerRemedy: "Say why: `brevet request METHOD --reason …`.",
    operatorRemedy: "`reason.required` of the entitlement decides whether one is needed.",
    retry: "never",
    metadata: [...ASK_KEYS, "pattern"],
    planned: false,
  },
  REASON_MALFORMED: {
    reason: "REASON_MALFORMED",
    code: GrpcCode.INVALID_ARGUMENT,
    what: "The reason does not have the form that the entitlement wants.",
    causes: ["the ticket number is missing or spelt in another way", "the reason is longer than 1,000 characters"],
    callerRemedy: "Give a reason that matches `pattern`: `brevet request METHOD --reason …`.",
    operatorRemedy: "`reason.pattern` of the entitlement (RE2) decides; say in its description what is expected.",
    retry: "never",
    metadata: [...ASK_KEYS, "pattern"],
    planned: false,
  },
  PAYLOAD_REQUIRED: {
    reason: "PAYLOAD_REQUIRED",
    code: GrpcCode.INVALID_ARGUMENT,
    what: "Each approval of this method covers one exact request, so the request is needed.",
    causes: ["the elevation was asked for without the request", "the request and its digest do not belong together"],
    callerRemedy:
      "Ask with the request: let the client library ask, or run `brevet request METHOD --payload FILE` with the message in wire form.",
    operatorRemedy: "`bind: payload` of the method in the policy demands this.",
    retry: "never",
    metadata: ASK_KEYS,
    planned: false,
  },
  POLICY_INVALID: {
    reason: "POLICY_INVALID",
    code: GrpcCode.INVALID_ARGUMENT,
    what: "The policy document does not pass its check; nothing was changed.",
    causes: ["a finding of severity error"],
    callerRemedy: "Run `brevet policy check FILE`: each finding gives the place and the fix.",
    operatorRemedy: "Run the same check where policy is reviewed, so that it fails there first.",
    retry: "never",
    metadata: [...API_KEYS, "findings", "problem"],
    planned: false,
  },
  REQUEST_INVALID: {
    reason: "REQUEST_INVALID",
    code: GrpcCode.INVALID_ARGUMENT,
    what: "A field of the request is missing or wrong.",
    causes: ["a required field is empty", "an id was used before with other terms", "client and authority are of different versions"],
    callerRemedy: "`field` and `problem` say which field and why; correct it.",
    operatorRemedy: "If a Brevet tool made the request, update it to the authority's version.",
    retry: "never",
    metadata: [...API_KEYS, "field", "problem"],
    planned: false,
  },
};
