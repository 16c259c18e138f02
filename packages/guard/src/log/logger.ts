// Where a guard's lines go. The interface is pino's, so that a service hands in its own logger; the default writes JSON lines to stderr.
import { type Clock, systemClock } from "@brevet/protocol";

/** The part of pino that a guard uses. */
export interface GuardLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const LEVELS = { info: 30, warn: 40, error: 50 } as const;

/** Lines in pino's form. */
export function jsonLogger(write: (line: string) => void = (line) => process.stderr.write(line), clock: Clock = systemClock): GuardLogger {
  const line = (level: number) => (fields: object, msg: string) => {
    write(`${JSON.stringify({ level, time: Math.round(clock.wallMs()), name: "brevet-guard", ...fields, msg })}\n`);
  };
  return { info: line(LEVELS.info), warn: line(LEVELS.warn), error: line(LEVELS.error) };
}

/** The same logger, whose failures stop nothing: a full disk is no reason to answer a call differently. */
export function steadyLogger(logger: GuardLogger): GuardLogger {
  const steady = (level: "info" | "warn" | "error") => (fields: object, message: string) => {
    // Where it fails there is nowhere to say so.
    tell(
      () => logger[level](fields, message),
      () => {},
    );
  };
  return { info: steady("info"), warn: steady("warn"), error: steady("error") };
}

/** Calls what a service handed in. What it throws goes to `failed`, and so does what it rejects with later: it may be an async function. */
export function tell(hook: () => unknown, failed: (error: unknown) => void): void {
  try {
    const returned = hook();
    if (typeof returned === "object" && returned !== null && "then" in returned) Promise.resolve(returned).catch(failed);
  } catch (error) {
    failed(error);
  }
}
