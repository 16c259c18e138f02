// What a call tells of its statuses: a log line for each refusal, what the authority is told of it, and how long its window lasts.
// Decides nothing.
import { formatDuration, WINDOW_ENDS_TRAILER } from "@brevet/protocol";
import type { StatusObject } from "@grpc/grpc-js";
import { clockAheadMs, lostOnTheWay, namesSent, type RefusedHalf, traceOf } from "./half.ts";
import { tell } from "./hooks.ts";
import type { Settings } from "./options.ts";

/** Logs a refusal with its decision id and the trace that it belongs to: field for field what the guard logs of it. Says what can be told from here. */
export function logRefusal({ logger, onProgress }: Settings, half: RefusedHalf): void {
  const { method, audience, refused, sent, deadlineMs } = half;
  const lost = lostOnTheWay(half);
  if (lost.length > 0) tell(onProgress, { kind: "lost", method, headers: lost }, logger);
  if (logger === undefined) return;
  const { decisionId, elevation, principal } = refused.metadata;
  const aheadMs = clockAheadMs(half);
  const traceId = traceOf(sent);
  const fields = {
    decisionId,
    reason: refused.reason,
    code: refused.code,
    method,
    audience,
    ...(principal === undefined ? {} : { principal }),
    ...(elevation === undefined ? {} : { elevation }),
    ...(traceId === "" ? {} : { traceId }),
    headersSent: namesSent(sent),
    ...(lost.length === 0 ? {} : { lost }),
    ...(deadlineMs === undefined ? {} : { deadlineMs: Math.round(deadlineMs) }),
    ...(aheadMs === undefined ? {} : { clockAheadMs: Math.round(aheadMs) }),
    metadata: refused.metadata,
  };
  const hints = [
    ...lost.map((name) => `${name} was sent and did not arrive: something between takes it off`),
    ...(aheadMs === undefined
      ? []
      : [`this machine's clock is ${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead of" : "behind"} the guard's time`]),
  ];
  logger.warn(fields, hints.length === 0 ? refused.message : `${refused.message} [${hints.join("; ")}]`);
}

/** Tells the program what the trailer says, if there is one; answers with it, in seconds. */
export function tellWindow({ onProgress, logger }: Settings, method: string, { metadata }: StatusObject): number | undefined {
  const [text] = metadata.get(WINDOW_ENDS_TRAILER);
  if (typeof text !== "string" || !/^\d{1,9}$/.test(text)) return undefined;
  const secondsLeft = Number(text);
  tell(onProgress, { kind: "window", method, secondsLeft }, logger);
  return secondsLeft;
}
