// What stands in a pasted error, whoever printed it: grpc-js, grpcio, grpc-go, grpcurl, Connect's JSON, or a guard's or client's log line.
// Reads text only: asks nobody, trusts nothing in it, never throws.
import {
  codeName,
  ERROR_DOMAIN,
  GrpcCode,
  isReasonName,
  type ReasonName,
  type ReceivedStatus,
  readStatus,
  sanitise,
} from "@brevet/protocol";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { fromBinary } from "@bufbuild/protobuf";

/** Who printed it, where the text shows that. */
export type Printer = "grpc-js" | "grpcio" | "grpc-go" | "grpcurl" | "Connect";

/** What was found. */
export interface Pasted {
  readonly printer?: Printer;
  /** gRPC status code. */
  readonly code?: number;
  /** The status's message; undefined where no status stands in the text. */
  readonly message?: string;
  readonly reason?: ReasonName;
  /** `dec_…` and `elv_…`. */
  readonly decisionId?: string;
  readonly elevation?: string;
  /** ErrorInfo's metadata, where the text holds the details. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** More than any client prints; what stands behind it is not read. */
const MOST_TEXT = 256 * 1024;

interface Form {
  readonly printer: Printer;
  /** Groups: code, then message; or the message where `message` finds it elsewhere. */
  readonly status: RegExp;
  readonly message?: RegExp;
}

const forms: readonly Form[] = [
  { printer: "grpcurl", status: /\bCode:\s*([A-Za-z]+)\s*\n\s*Message:[ \t]*(.*)/ },
  { printer: "grpc-go", status: /\brpc error: code = ([A-Za-z]+(?:\(\d+\))?) desc = (.*)/ },
  { printer: "grpcio", status: /\bstatus = StatusCode\.([A-Z_]+)/, message: /\bdetails = "((?:[^"\\]|\\.)*)"/ },
  { printer: "grpc-js", status: /\b\d{1,2} ([A-Z_]{2,}): (.*)/ },
  { printer: "Connect", status: /"code"\s*:\s*"([a-z_]+)"/, message: /"message"\s*:\s*"((?:[^"\\]|\\.)*)"/ },
];

/** Reads a pasted text. */
export function readPasted(pasted: string): Pasted {
  const text = pasted.slice(0, MOST_TEXT);
  const status = statusIn(text);
  const details = detailsIn(text);
  const message = status?.message ?? details?.message;
  const reason = reasonOf(text, message) ?? details?.reason;
  const decisionId = /\bdec_[0-9A-Z]{26}\b/.exec(text)?.[0] ?? details?.metadata.decisionId;
  const elevation = details?.metadata.elevation ?? /\belv_[0-9A-Z]{26}\b/.exec(text)?.[0];
  const code = status?.code ?? details?.code;
  return {
    ...(status && { printer: status.printer }),
    ...(code !== undefined && { code }),
    ...(message !== undefined && { message: sanitise(message, 2000) }),
    ...(reason && { reason }),
    ...(decisionId !== undefined && { decisionId }),
    ...(elevation !== undefined && { elevation }),
    metadata: details?.metadata ?? metadataIn(text),
  };
}

/** The first word that is a reason, in any case. */
export function reasonIn(text: string): ReasonName | undefined {
  for (const word of text.toUpperCase().match(/[A-Z][A-Z_]{4,}/g) ?? []) {
    const name = word.replace(/^REASON_(?=.*_)/, "");
    if (isReasonName(word)) return word;
    if (isReasonName(name)) return name;
  }
  return undefined;
}

/** A status's reason stands first in its message. Elsewhere in a status it may be the name of its code, or words of a service. */
function reasonOf(text: string, message: string | undefined): ReasonName | undefined {
  if (message === undefined) return reasonIn(text);
  const [, word = ""] = /^([A-Z_]+)(?::|$)/.exec(message) ?? [];
  return isReasonName(word) ? word : infoReasonIn(text);
}

function statusIn(text: string): { printer: Printer; code: number; message: string } | undefined {
  for (const { printer, status, message } of forms) {
    const found = status.exec(text);
    const code = found?.[1] === undefined ? undefined : codeOf(found[1]);
    if (found === null || code === undefined) continue;
    const said = message === undefined ? found[2] : unquoted(message.exec(text)?.[1]);
    return { printer, code, message: (said ?? "").trim() };
  }
  return undefined;
}

/** `PermissionDenied`, `PERMISSION_DENIED` and `permission_denied` are 7. */
function codeOf(name: string): number | undefined {
  const plain = name.replaceAll("_", "").toUpperCase();
  const found = Object.entries(GrpcCode).find(([each]) => each.replaceAll("_", "") === plain);
  if (found !== undefined) return found[1];
  // Go and Connect spell it with one l.
  return plain === "CANCELED" ? GrpcCode.CANCELLED : undefined;
}

/** The text of a quoted string; escapes of Python and JSON that matter. */
function unquoted(text: string | undefined): string | undefined {
  return text?.replace(/\\(["'\\])/g, "$1").replace(/\\n/g, "\n");
}

/** Details as base64: the trailer `grpc-status-details-bin`, as logs and verbose clients print it. */
function detailsIn(text: string): (ReceivedStatus & { readonly message: string }) | undefined {
  for (const [run] of text.matchAll(/[A-Za-z0-9+/]{40,}={0,2}/g)) {
    const bytes = Buffer.from(run, "base64");
    try {
      const { code, message } = fromBinary(StatusSchema, bytes);
      const read = readStatus(code, message, bytes);
      if (read.reason !== undefined) return read;
    } catch {
      // Something else that is base64.
    }
  }
  return undefined;
}

/** ErrorInfo as JSON, as grpcurl prints it where reflection knows the type. */
function infoReasonIn(text: string): ReasonName | undefined {
  const info = infoIn(text);
  return typeof info?.reason === "string" && isReasonName(info.reason) ? info.reason : undefined;
}

function metadataIn(text: string): Record<string, string> {
  const { metadata } = infoIn(text) ?? {};
  if (typeof metadata !== "object" || metadata === null) return {};
  return Object.fromEntries(Object.entries(metadata).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

function infoIn(text: string): { readonly reason?: unknown; readonly metadata?: unknown } | undefined {
  for (const [json] of text.matchAll(/\{[^{}]*(?:\{[^{}]*\}[^{}]*)?\}/g)) {
    if (!json.includes(`"${ERROR_DOMAIN}"`)) continue;
    try {
      const info = JSON.parse(json) as { domain?: unknown; reason?: unknown; metadata?: unknown };
      if (info.domain === ERROR_DOMAIN) return info;
    } catch {
      // Not JSON after all.
    }
  }
  return undefined;
}

/** `PERMISSION_DENIED, as grpcurl prints it`. */
export function printedAs({ printer, code }: Pasted): string {
  return [code === undefined ? "" : codeName(code), printer === undefined ? "" : `as ${printer} prints it`].filter(Boolean).join(", ");
}
