// Reasons that lie in the policy, and in the ability to enforce it. Data only.
import { GrpcCode } from "./code.ts";
import { CALL_KEYS, ELEVATION_KEYS, type Entries, IDENTIFIED_KEYS } from "./entry.ts";

/** PERMISSION_DENIED by the policy itself. */
export const policyReasons: Entries<"NOT_ELIGIBLE" | "METHOD_FORBIDDEN" | "CONDITION_NOT_MET" | "POLICY_MISCONFIGURED"> = {
  NOT_ELIGIBLE: {
    reason: "NOT_ELIGIBLE",
    code: GrpcCode.PERMISSION_DENIED,
    what: "No entitlement lets this principal call this method, not even with an approval.",
    causes: [
      "the caller is not in a group that may ask",
      "the token does not carry the group",
      "the call was made with another account than intended",
    ],
    callerRemedy: "Check with `brevet token inspect` who you are here; ask an admin of the audience to let you request the entitlement.",
    operatorRemedy:
      "Add the principal or one of its groups to an entitlement's `requesters`; `mayAssert` decides which groups its issuer may vouch for.",
    retry: "never",
    metadata: [...IDENTIFIED_KEYS, "entitlement", "elevation"],
    planned: false,
  },
  METHOD_FORBIDDEN: {
    reason: "METHOD_FORBIDDEN",
    code: GrpcCode.PERMISSION_DENIED,
    what: "The policy forbids the method, or does not know it.",
    causes: ["the method or its service is not listed in the policy", "the policy forbids it", "the name is misspelt"],
    callerRemedy: "Check the method's name; if it is right, ask an admin of the audience to list it.",
    operatorRemedy:
      "List the service and the method under `services`; what is not listed is forbidden. `brevet policy check --reflect ADDR` finds what is missing.",
    retry: "never",
    metadata: IDENTIFIED_KEYS,
    planned: false,
  },
  CONDITION_NOT_MET: {
    reason: "CONDITION_NOT_MET",
    code: GrpcCode.PERMISSION_DENIED,
    what: "The elevation's condition does not hold for this request.",
    causes: ["the request goes beyond what was approved", "a field that the condition reads is not set"],
    callerRemedy:
      "Change the request so that it meets the condition (`brevet show ELEVATION` shows it), or ask for an entitlement that allows more.",
    operatorRemedy: "Try the condition with `brevet policy test`, with requests like those that were refused.",
    retry: "never",
    metadata: [...ELEVATION_KEYS, "expression"],
    planned: false,
  },
  POLICY_MISCONFIGURED: {
    reason: "POLICY_MISCONFIGURED",
    code: GrpcCode.PERMISSION_DENIED,
    what: "A rule of the policy cannot be evaluated or enforced, so the call is refused.",
    causes: [
      "a condition failed on this request",
      "the policy has no descriptors for the method",
      "this form of guard cannot enforce what the rule asks",
    ],
    callerRemedy: "Give the decision id to an admin of the audience: no change of the request helps.",
    operatorRemedy:
      "`expression` and `problem` name the expression and its error; correct it, run `brevet policy check`, and apply the new version.",
    retry: "never",
    metadata: [...ELEVATION_KEYS, "expression", "problem"],
    planned: false,
  },
};

/** What stands in the way of deciding at all. */
export const availabilityReasons: Entries<
  "AUTHORITY_UNREACHABLE" | "POLICY_UNAVAILABLE" | "POLICY_STALE" | "KEYS_UNAVAILABLE" | "REQUEST_QUOTA_EXCEEDED" | "GUARD_FAULT"
> = {
  AUTHORITY_UNREACHABLE: {
    reason: "AUTHORITY_UNREACHABLE",
    code: GrpcCode.UNAVAILABLE,
    what: "The authority did not answer, and the call cannot be decided without it.",
    causes: ["the authority is down or restarting", "the network or TLS between here and the authority is broken", "its address is wrong"],
    callerRemedy: "Try again in a while. What was asked for is kept: asking again finds it.",
    operatorRemedy: "Look at the authority's `/readyz` and its log; from the guard's machine, try its address and certificate.",
    retry: "backoff",
    metadata: [...ELEVATION_KEYS, "authority"],
    planned: false,
  },
  POLICY_UNAVAILABLE: {
    reason: "POLICY_UNAVAILABLE",
    code: GrpcCode.UNAVAILABLE,
    what: "The guard has no policy yet.",
    causes: [
      "the guard has just started and not reached the authority",
      "the authority does not let this guard sync",
      "no policy is applied for the audience",
    ],
    callerRemedy: "Try again in a while.",
    operatorRemedy:
      "Wait for `guard.ready()` before serving; list the guard under `guards` in the policy; `brevet guards` shows who is connected.",
    retry: "backoff",
    metadata: [...CALL_KEYS, "audience"],
    planned: false,
  },
  POLICY_STALE: {
    reason: "POLICY_STALE",
    code: GrpcCode.UNAVAILABLE,
    what: "The guard has not heard from the authority for longer than the policy allows.",
    causes: ["the authority is down", "the network between guard and authority is cut", "the machine was suspended"],
    callerRemedy: "Try again in a while.",
    operatorRemedy:
      "Restore the link: `brevet guards` shows when each guard was last heard of. `whenStale` in the policy says how long guards go on alone.",
    retry: "backoff",
    metadata: [...CALL_KEYS, "policyVersion", "staleSince"],
    planned: false,
  },
  KEYS_UNAVAILABLE: {
    reason: "KEYS_UNAVAILABLE",
    code: GrpcCode.UNAVAILABLE,
    what: "The keys of the token's issuer could not be had, so the identity cannot be checked.",
    causes: ["the issuer is down", "its discovery document or key set cannot be reached from the authority"],
    callerRemedy: "Try again in a while; the token may be good.",
    operatorRemedy: "From the authority's machine, fetch the issuer's `/.well-known/openid-configuration` and the key set that it names.",
    retry: "backoff",
    metadata: [...CALL_KEYS, "issuer"],
    planned: false,
  },
  REQUEST_QUOTA_EXCEEDED: {
    reason: "REQUEST_QUOTA_EXCEEDED",
    code: GrpcCode.RESOURCE_EXHAUSTED,
    what: "The caller has reached a limit that protects everybody else; `limit` says which.",
    causes: [
      "the caller has 100 elevations open in one audience: a program asks in a loop, each time with another question",
      "one elevation is held 1,000 times: callers take holds and never end them",
      "too many tokens from the caller's address failed their checks at a guard, so that new ones have to wait",
      "a policy of the caller's is being checked already, or too many instances of one guard are gone and can still permit",
    ],
    callerRemedy:
      "At the authority: `brevet list` shows what is open; withdraw or end what is not needed, and ask the same question instead of new ones. At a guard: wait for the time given, and call with a good token.",
    operatorRemedy:
      "Revoke what a program left open: `brevet revoke --principal NAME`. For failed token checks, find who sends bad tokens: the guard's log names the reason of each refusal.",
    retry: "never",
    metadata: [...CALL_KEYS, "principal", "audience", "policyVersion", "limit"],
    planned: false,
  },
  GUARD_FAULT: {
    reason: "GUARD_FAULT",
    code: GrpcCode.INTERNAL,
    what: "The guard itself failed, and refused the call to be safe.",
    causes: ["a defect in Brevet", "the guard's process is out of memory"],
    callerRemedy: "Report it with the decision id. The call was not run.",
    operatorRemedy: "Find the decision id in the guard's log, which has the failure in full, and report it.",
    retry: "never",
    metadata: CALL_KEYS,
    planned: false,
  },
};
