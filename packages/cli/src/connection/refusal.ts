// The authority's errors as the command line's: reason first, what would help below, the right exit status.

import { catalogue, formatDuration, isReasonName, type ReasonName } from "@brevet/protocol";
import { BadRequestSchema, ErrorInfoSchema, HelpSchema } from "@brevet/protocol/google/rpc/error_details";
import { type Code, Code as ConnectCode, ConnectError } from "@connectrpc/connect";
import { CommandError, exitStatus } from "../output/status.ts";
import { causeOf } from "./identity.ts";

const IDENTITY_HINT =
  "Say who you are: --token-file FILE, BREVET_TOKEN_FILE or BREVET_TOKEN; where the authority runs with --dev, --as user:ana@example.com (BREVET_AS).";

/** Turns whatever a call threw into a {@link CommandError}. */
export function commandError(error: unknown, authority: string): CommandError {
  // What failed while the token was fetched arrives wrapped by the call that needed it.
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof CommandError) return cause;
  const failure = ConnectError.from(error);
  const info = failure.findDetails(ErrorInfoSchema).find((detail) => detail.domain === "brevet.dev");
  const reason = info !== undefined && isReasonName(info.reason) ? info.reason : undefined;
  const violations = failure.findDetails(BadRequestSchema).flatMap(({ fieldViolations }) => fieldViolations);
  const said = violations.map(({ field, description }) => `${field}: ${description}`);
  const hints = said.filter((line) => !failure.rawMessage.includes(line));
  if (reason !== undefined && (reason !== "REQUEST_INVALID" || said.length === 0)) hints.push(remedy(reason, info?.metadata ?? {}));
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

/** What helps, with what the authority's answer says about it: the names in it are those of the answer's metadata. */
function remedy(reason: ReasonName, metadata: Readonly<Record<string, string>>): string {
  // The catalogue speaks to whoever writes a program.
  if (reason === "IDENTITY_MISSING") return IDENTITY_HINT;
  const { method = "", elevation } = metadata;
  // The authority names its own method where the refusal is about none.
  const asked = method.startsWith("brevet.v1.") ? "" : method;
  return catalogue[reason].callerRemedy
    .replace(/`([a-zA-Z]+)`/g, (name, key: string) => {
      const value = metadata[key];
      return value === undefined || value === "" ? name : `${name} (${readable(key, value)})`;
    })
    .replaceAll(/\bMETHOD\b/g, () => asked || "METHOD")
    .replaceAll(/\bELEVATION\b/g, () => elevation || "ELEVATION");
}

/** Seconds as people write them. */
function readable(key: string, value: string): string {
  return key.endsWith("Seconds") && /^\d{1,12}$/.test(value) ? formatDuration(Number(value) * 1000) : value;
}

/** A connection that is cut in the middle shows as a stream that was cancelled or aborted, and then nobody gave a reason. */
function isUnreachable(code: Code, reason: string | undefined): boolean {
  const cut = code === ConnectCode.Canceled || code === ConnectCode.Aborted;
  return code === ConnectCode.Unavailable || (cut && reason === undefined);
}
