// What a call tells of its statuses: a log line for each refusal, and how long its window lasts. Decides nothing.
import { type ReceivedStatus, TRACEPARENT_HEADER, WINDOW_ENDS_TRAILER } from "@brevet/protocol";
import type { Metadata, StatusObject } from "@grpc/grpc-js";
import { tell } from "./hooks.ts";
import type { Settings } from "./options.ts";

/** Logs a refusal with its decision id and the trace that it belongs to. `sent`: the call's metadata, of which only that is read. */
export function logRefusal({ logger, audience }: Settings, method: string, sent: Metadata | undefined, refused: ReceivedStatus): void {
  if (logger === undefined) return;
  const [traceparent] = sent?.get(TRACEPARENT_HEADER) ?? [];
  const { decisionId, elevation } = refused.metadata;
  const fields = { decisionId, reason: refused.reason, code: refused.code, method, audience, elevation, traceparent };
  logger.warn({ ...fields, metadata: refused.metadata }, refused.message);
}

/** Tells the program what the trailer says, if there is one. */
export function tellWindow({ onProgress, logger }: Settings, method: string, { metadata }: StatusObject): void {
  if (onProgress === undefined) return;
  const [text] = metadata.get(WINDOW_ENDS_TRAILER);
  if (typeof text !== "string" || !/^\d{1,9}$/.test(text)) return;
  tell(onProgress, { kind: "window", method, secondsLeft: Number(text) }, logger);
}
