// What is kept of a record or a report: each text bounded, whatever was sent. Pure.
import { type CallerReport, CallerReportSchema } from "@brevet/protocol/brevet/v1/elevation";
import { type DecisionRecord, DecisionRecordSchema } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";
import type { BatchSource } from "./decisions.ts";

/** Beyond what a guard or client of ours sends (a trailer block is 4 KiB at most). */
const MOST_TEXT = 256;
const MOST_STATUS_BYTES = 4096;
const MOST_HEADERS = 64;

/** A record as it is kept: guard, instance and audience are those of its link. */
export function cutRecord(sent: DecisionRecord, { audience, guard, instance }: BatchSource): DecisionRecord {
  const { permitted, reason, policyVersion, count, callStatus, observed, time, lastTime, status, deadline } = sent;
  return create(DecisionRecordSchema, {
    audience,
    guard,
    instance,
    decisionId: text(sent.decisionId),
    method: text(sent.method),
    principal: text(sent.principal),
    elevation: text(sent.elevation),
    traceId: text(sent.traceId),
    headersSeen: sent.headersSeen.slice(0, MOST_HEADERS).map(text),
    // Half a status cannot be read.
    status: status.length > MOST_STATUS_BYTES ? new Uint8Array() : status.slice(),
    permitted,
    reason,
    policyVersion,
    count,
    callStatus,
    observed,
    ...(time ? { time } : {}),
    ...(lastTime ? { lastTime } : {}),
    ...(deadline ? { deadline } : {}),
  });
}

/** A report as it is kept. */
export function cutReport(sent: CallerReport): CallerReport {
  const { code, callerTime, deadline } = sent;
  return create(CallerReportSchema, {
    code,
    decisionId: text(sent.decisionId),
    reason: text(sent.reason),
    method: text(sent.method),
    audience: text(sent.audience),
    traceId: text(sent.traceId),
    headersSent: sent.headersSent.slice(0, MOST_HEADERS).map(text),
    ...(callerTime ? { callerTime } : {}),
    ...(deadline ? { deadline } : {}),
  });
}

function text(value: string): string {
  return Buffer.from(value.slice(0, MOST_TEXT)).toString();
}
