// The caller's half of a refusal: what was sent, what came, and when by this machine's clock; and what can be told from it alone. Pure.
import { type ReceivedStatus, TRACEPARENT_HEADER, traceIdOf } from "@brevet/protocol";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Metadata } from "@grpc/grpc-js";
import type { Report } from "../reports/reports.ts";

/** A call that was refused. */
export interface RefusedHalf {
  readonly method: string;
  readonly audience: string;
  readonly refused: ReceivedStatus;
  /** Its metadata as it was sent. Names are told, values never are, but for the trace. */
  readonly sent: Metadata;
  /** From its start to its deadline; undefined: none. */
  readonly deadlineMs: number | undefined;
  /** Wall clock. */
  readonly nowMs: number;
}

/** Clocks that are nearer than this are not worth a word: the way of the answer is in it. */
const CLOCKS_MS = 2000;
/** A guard names so many, and no more. */
const MOST_SEEN = 16;
const CREDENTIALS = ["authorization", "brevet-grant"];

/** As it is reported to the authority. */
export function reportOf({ method, audience, refused, sent, deadlineMs, nowMs }: RefusedHalf): Report {
  return {
    decisionId: refused.metadata.decisionId ?? "",
    code: refused.code,
    reason: refused.reason ?? "",
    method,
    audience,
    headersSent: namesSent(sent),
    traceId: traceOf(sent),
    callerTime: timestampFromMs(Math.round(nowMs)),
    ...(deadlineMs === undefined ? {} : { deadline: durationFromMs(Math.round(deadlineMs)) }),
  };
}

/** Names of the metadata, sorted. */
export function namesSent(sent: Metadata): string[] {
  return Object.keys(sent.getMap()).toSorted();
}

/** The trace that the call was part of; "" for none. */
export function traceOf(sent: Metadata): string {
  return traceIdOf(sent.get(TRACEPARENT_HEADER));
}

/** Credentials that were sent and that the guard, which names what it saw, did not see: something between took them off. */
export function lostOnTheWay({ refused, sent }: Pick<RefusedHalf, "refused" | "sent">): readonly string[] {
  const { headersSeen } = refused.metadata;
  if (headersSeen === undefined) return [];
  const seen = headersSeen.split(",");
  if (seen.length >= MOST_SEEN) return [];
  return CREDENTIALS.filter((name) => sent.get(name).length > 0 && !seen.includes(name));
}

/** How far this machine's clock is ahead of the guard's idea of the authority's time; undefined where it is not told, or hardly. */
export function clockAheadMs({ refused, nowMs }: Pick<RefusedHalf, "refused" | "nowMs">): number | undefined {
  const aheadMs = nowMs - Date.parse(refused.metadata.serverTime ?? "");
  return Math.abs(aheadMs) >= CLOCKS_MS ? aheadMs : undefined;
}
