// Where the guard's and the caller's half of a refusal differ, in sentences that name the likely cause. Pure.
import { codeName, formatDuration, readStatus } from "@brevet/protocol";
import type { CallerReport } from "@brevet/protocol/brevet/v1/elevation";
import type { DecisionRecord } from "@brevet/protocol/brevet/v1/policy";
import { ReasonSchema } from "@brevet/protocol/brevet/v1/reason";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { fromBinary } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";

/** Clocks that are nearer than this differ by the way of the call, or not worth a word. */
const CLOCKS_MS = 2000;
const DEADLINE_MS = 1000;
/** Sent by the library below a program's metadata, or made on the way. */
const NOT_COMPARED = /^(:|grpc-(?!.*-bin$)|user-agent$|te$|content-type$|x-forwarded-|via$|forwarded$)/;

/** Sentences; none where the halves agree. */
export function differences(record: DecisionRecord, report: CallerReport): string[] {
  return [
    codes(record, report),
    methods(record, report),
    ...headers(record, report),
    clocks(record, report),
    deadlines(record, report),
  ].filter((each) => each !== undefined);
}

function codes(record: DecisionRecord, report: CallerReport): string | undefined {
  const sent = sentStatus(record);
  const reason = nameOf(record);
  if (sent !== undefined && sent.code !== report.code)
    return `the guard sent ${codeName(sent.code)}, the caller received ${codeName(report.code)}: something between them answers in the guard's place`;
  if (reason === report.reason) return undefined;
  if (report.reason === "")
    return `the guard sent ${reason}, and the caller received no details: something between them drops grpc-status-details-bin, or trailers as large`;
  return `the guard sent ${reason}, the caller received ${report.reason}`;
}

function methods(record: DecisionRecord, report: CallerReport): string | undefined {
  return report.method === "" || record.method === report.method
    ? undefined
    : `the caller called ${report.method}, and the guard saw ${record.method}: something between them rewrites the path`;
}

function headers({ headersSeen }: DecisionRecord, { headersSent }: CallerReport): string[] {
  if (headersSent.length === 0) return [];
  const [seen, sent] = [new Set(headersSeen), new Set(headersSent)];
  const lost = headersSent.filter((name) => !seen.has(name) && !NOT_COMPARED.test(name));
  const added = headersSeen.filter((name) => !sent.has(name) && (name === "authorization" || name === "brevet-grant"));
  return [
    ...lost.map((name) => `${name} was sent and did not arrive: something between caller and guard drops it`),
    ...added.map((name) => `${name} arrived and was not sent: something between caller and guard adds it`),
  ];
}

function clocks({ time }: DecisionRecord, { callerTime }: CallerReport): string | undefined {
  if (time === undefined || callerTime === undefined) return undefined;
  const aheadMs = timestampMs(callerTime) - timestampMs(time);
  // The caller notes its time when the answer has come.
  if (aheadMs > -CLOCKS_MS / 2 && aheadMs < CLOCKS_MS) return undefined;
  return `the caller's clock is ${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead of" : "behind"} the authority's, or the answer took that long`;
}

function deadlines({ deadline }: DecisionRecord, report: CallerReport): string | undefined {
  if (report.deadline === undefined) return undefined;
  const gaveMs = durationMs(report.deadline);
  if (deadline === undefined)
    return `the caller gave ${formatDuration(gaveMs)}, and no deadline arrived: something between them drops grpc-timeout`;
  const leftMs = durationMs(deadline);
  if (gaveMs - leftMs < DEADLINE_MS) return undefined;
  return `the caller gave ${formatDuration(gaveMs)}, and ${formatDuration(leftMs)} were left when the call arrived: the way, or retries before this call, took the rest`;
}

function sentStatus({ status }: DecisionRecord): { readonly code: number } | undefined {
  if (status.length === 0) return undefined;
  try {
    const { code, message } = fromBinary(StatusSchema, status);
    return readStatus(code, message, status);
  } catch {
    return undefined;
  }
}

function nameOf({ reason }: DecisionRecord): string {
  return ReasonSchema.values.find(({ number }) => number === reason)?.localName ?? "";
}
