// The authority's errors as the command line's: reason first, what would help below, the right exit status.

import { catalogue, isReasonName } from "@brevet/protocol";
import { BadRequestSchema, ErrorInfoSchema, HelpSchema } from "@brevet/protocol/google/rpc/error_details";
import { type Code, Code as ConnectCode, ConnectError } from "@connectrpc/connect";
import { CommandError, exitStatus } from "../output/status.ts";
import { causeOf } from "./identity.ts";

/** Turns whatever a call threw into a {@link CommandError}. */
export function commandError(error: unknown, authority: string): CommandError {
  // What failed while the token was fetched arrives wrapped by the call that needed it.
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof CommandError) return cause;
  const failure = ConnectError.from(error);
  const info = failure.findDetails(ErrorInfoSchema).find((detail) => detail.domain === "brevet.dev");
  const reason = info !== undefined && isReasonName(info.reason) ? info.reason : undefined;
  const hints: string[] = [];
  for (const detail of failure.findDetails(BadRequestSchema)) {
    for (const violation of detail.fieldViolations) hints.push(`${violation.field}: ${violation.description}`);
  }
  if (reason !== undefined) hints.push(catalogue[reason].callerRemedy);
  for (const detail of failure.findDetails(HelpSchema)) for (const link of detail.links) hints.push(`${link.description}: ${link.url}`);
  const facts = { code: ConnectCode[failure.code], ...(info === undefined ? {} : { metadata: info.metadata }) };
  const unreachable = isUnreachable(failure.code, reason);
  if (reason === undefined && unreachable) {
    return new CommandError(exitStatus.unreachable, `AUTHORITY_UNREACHABLE: ${authority} did not answer (${causeOf(error)}).`, {
      reason: "AUTHORITY_UNREACHABLE",
      hints: [
        "Is it running? Start one with: brevet serve --dev --policy FILE",
        "Elsewhere? Say where with --authority URL or BREVET_AUTHORITY.",
      ],
      facts,
    });
  }
  const status = unreachable ? exitStatus.unreachable : exitStatus.no;
  const text = reason !== undefined && !failure.rawMessage.startsWith(reason) ? `${reason}: ${failure.rawMessage}` : failure.rawMessage;
  return new CommandError(status, text, { ...(reason === undefined ? {} : { reason }), hints, facts });
}

/** A connection that is cut in the middle shows as a stream that was cancelled or aborted, and then nobody gave a reason. */
function isUnreachable(code: Code, reason: string | undefined): boolean {
  const cut = code === ConnectCode.Canceled || code === ConnectCode.Aborted;
  return code === ConnectCode.Unavailable || (cut && reason === undefined);
}
