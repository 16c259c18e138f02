// The program's own functions, called so that nothing they do can end the process. Never waits for one: they answer at once.
import type { ClientLogger } from "../connection/logger.ts";
import type { ProgressEvent } from "./progress.ts";

/** Tells the program of a step. What `onProgress` throws, or rejects with later, becomes a log line. */
export function tell(onProgress: ((event: ProgressEvent) => unknown) | undefined, event: ProgressEvent, logger?: ClientLogger): void {
  const onFailure = (error: unknown) => logger?.warn({ err: String(error) }, "brevet: onProgress threw");
  try {
    const returned = onProgress?.(event);
    if (isThenable(returned)) returned.then(undefined, onFailure);
  } catch (error) {
    onFailure(error);
  }
}

/** What a function of the program answered. Throws TypeError, naming the option, where that is a promise; its rejection is nobody's then. */
export function atOnce<T>(option: string, answer: T): T {
  if (!isThenable(answer)) return answer;
  answer.then(undefined, () => undefined);
  throw new TypeError(`${option}: gave a promise; it has to answer at once`);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
