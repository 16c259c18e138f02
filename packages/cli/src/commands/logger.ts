// The log of the commands that run until they are stopped: to standard error, as JSON lines. Never what a command answers.
import { type Logger, pino } from "pino";
import { CommandError, exitStatus } from "../output/status.ts";

const LEVELS: readonly string[] = [...Object.keys(pino.levels.values), "silent"];

/** A logger at the level that `--log-level` names; misuse if there is none such. */
export function loggerAt(level: string, component: string): Logger {
  if (LEVELS.includes(level)) return pino({ level, base: { component } }, pino.destination(2));
  throw new CommandError(exitStatus.misuse, `--log-level ${level}: there is no such level.`, {
    hints: [`There are: ${LEVELS.join(", ")}`],
  });
}
