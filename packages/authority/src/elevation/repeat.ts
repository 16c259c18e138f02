// Repeats of a changing call with the same idempotency id: whether the repeat asks for the same as the first time.
// Never decides anew. What was not written at the first time (a refusal, an answer without change) is judged again.

import type { ElevationServiceRequestRequest } from "@brevet/protocol/brevet/v1/elevation";
import { VoteKind } from "@brevet/protocol/brevet/v1/elevation";
import type { LogEntry } from "@brevet/protocol/brevet/v1/log";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { keyThumbprint } from "./request.ts";
import type { Command, Question } from "./rule.ts";
import { sameBytes } from "./terms.ts";

/**
 * Whether the entry that a command with this id wrote first comes from the same command.
 * @param payloadDigest What the elevation is bound to; undefined once erased, and then not compared.
 */
export function isRepeat(
  command: Exclude<Command, { kind: "request" }>,
  id: string,
  entry: LogEntry,
  payloadDigest: Uint8Array | undefined,
): boolean {
  const { event } = entry;
  if (entry.elevation !== id) return false;
  switch (command.kind) {
    case "approve": {
      if (event.case !== "voteCast" || event.value.kind !== VoteKind.APPROVE) return false;
      const { narrowedDuration, payloadCommitment } = event.value;
      const asked = command.message.duration;
      const narrowedAlike = narrowedDuration === undefined || (asked !== undefined && durationMs(asked) === durationMs(narrowedDuration));
      return narrowedAlike && isSamePayload(command.message.payloadDigest, payloadCommitment, payloadDigest);
    }
    case "deny":
      return event.case === "voteCast" && event.value.kind === VoteKind.DENY;
    case "withdraw":
      return event.case === "elevationWithdrawn";
    case "start":
      if (event.case === "payloadUsed") return isSamePayload(command.message.payloadDigest, event.value.payloadCommitment, payloadDigest);
      return event.case === "elevationStarted";
    case "extend":
      return event.case === "extensionRequested";
    case "end":
      return event.case === "holdReleased" && event.value.all === command.message.all;
    case "revoke":
      return event.case === "elevationRevoked";
    case "review":
      return event.case === "elevationReviewed";
    case "grant":
      return event.case === "grantIssued";
    case "policy":
    case "tick":
    default:
      return false;
  }
}

function isSamePayload(digest: Uint8Array, commitment: Uint8Array, opened: Uint8Array | undefined): boolean {
  if (digest.length === 0 || commitment.length === 0) return digest.length === commitment.length;
  return opened === undefined || sameBytes(digest, opened);
}

/** Whether a request asks for what this elevation was opened for. What the repeat leaves to the policy is not compared. */
export function isSameRequest(
  message: ElevationServiceRequestRequest,
  { state: { audience }, asked, reason, run, payloadDigest }: Question,
): boolean {
  const key = keyThumbprint(message.keyJwk);
  return (
    message.audience === audience &&
    (message.entitlement === "" || message.entitlement === asked.entitlement) &&
    (message.method === asked.method || asked.methods.includes(message.method)) &&
    (message.duration === undefined || (asked.duration !== undefined && durationMs(message.duration) === durationMs(asked.duration))) &&
    (reason === undefined || message.reason === reason) &&
    (message.startTime && timestampMs(message.startTime)) === (asked.startTime && timestampMs(asked.startTime)) &&
    (run === undefined || message.run === run) &&
    message.breakGlass === asked.breakGlass &&
    (payloadDigest === undefined || sameBytes(message.payloadDigest, payloadDigest)) &&
    key.ok &&
    sameBytes(key.value, asked.keyThumbprint)
  );
}
