// What went wrong with the authority, in words that name the fix. Never repeats a credential.

import { catalogue, ERROR_DOMAIN, isReasonName, type ReasonName } from "@brevet/protocol";
import { ErrorInfoSchema } from "@brevet/protocol/google/rpc/error_details";
import { Code, ConnectError } from "@connectrpc/connect";

const OWN_IDENTITY = "see that the guard's token file, or whatever else gives it its identity, is there and can be read";

/** A failed call of the authority. */
export interface Failure {
  readonly cause: string;
  readonly fix: string;
  /** Where the authority gave one. */
  readonly reason?: ReasonName;
  readonly code: Code;
}

/** Reads an error of a call of the authority. */
export function failureOf(error: unknown, authority: string): Failure {
  const failed = ConnectError.from(error);
  const info = failed.findDetails(ErrorInfoSchema).find(({ domain }) => domain === ERROR_DOMAIN);
  const reason = info !== undefined && isReasonName(info.reason) ? info.reason : undefined;
  // The fix follows in the same sentence.
  const cause = failed.rawMessage.slice(0, 500).replace(/\.$/, "");
  const { code } = failed;
  const fix = code === Code.Unauthenticated && failed.cause !== undefined ? OWN_IDENTITY : fixOf(code, reason, authority);
  return { cause, fix, code, ...(reason === undefined ? {} : { reason }) };
}

/** What a call ends with that was never sent: its identity source threw. One that asks the authority itself may find it away. */
export function identityFailure(error: unknown): ConnectError {
  const cause = error instanceof Error ? error.message : String(error);
  const isAway = error instanceof Error && "reason" in error && error.reason === "AUTHORITY_UNREACHABLE";
  const code = isAway ? Code.Unavailable : Code.Unauthenticated;
  return new ConnectError(`the guard's own identity could not be had: ${cause}`, code, undefined, undefined, error);
}

/** Whether nothing was answered: the connection could not be made, or broke. */
export function isBroken(code: Code): boolean {
  return code === Code.Unavailable || code === Code.Canceled || code === Code.Aborted;
}

function fixOf(code: Code, reason: ReasonName | undefined, authority: string): string {
  if (reason === "ROLE_REQUIRED") return "list this guard's principal under `guards` in the policy of its audience, and apply it";
  if (reason !== undefined) return catalogue[reason].operatorRemedy;
  if (code === Code.Unauthenticated) return "give the guard an identity token whose audience is the authority's";
  if (isBroken(code)) return `start the authority, or correct its address (${authority}) or the TLS settings`;
  if (code === Code.Unimplemented) return `${authority} answers, but is no Brevet authority: correct the address`;
  return "look at the authority's log at this time";
}
