// Pieces that the commands about elevations share: the connection, the idempotency id, the wall clock for "ago" and "in".

import { newId, parseDuration, systemClock } from "@brevet/protocol";
import type { Command } from "commander";
import { type Connection, type ConnectionOptions, connect } from "../connection/connection.ts";
import { CommandError, exitStatus } from "../output/status.ts";

/** The connection that a command's options describe. */
export function connectionOf(command: Command): Promise<Connection> {
  return connect(command.opts<ConnectionOptions>());
}

/** A fresh idempotency id. */
export function requestId(): string {
  return newId("req");
}

/** This machine's wall clock, only for words like "in 5m". */
export function nowMs(): number {
  return systemClock.wallMs();
}

/** The milliseconds of an option's duration; misuse if it is none. */
export function durationOption(name: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) {
    throw new CommandError(exitStatus.misuse, `${name} ${text}: not a duration.`, { hints: ["Write 90s, 15m, 1h30m or 2d."] });
  }
  return ms;
}

/** The milliseconds since 1970 of an option's time, as RFC 3339 writes it; misuse if it is none, or no date. */
export function instantOption(name: string, text: string): number {
  const [, date = ""] = /^(\d{4}-\d\d-\d\d)T(?!24)\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)$/i.exec(text) ?? [];
  // Date.parse takes 30 February for 2 March.
  const midnight = Date.parse(`${date}T00:00Z`);
  if (!Number.isNaN(midnight) && new Date(midnight).toISOString().startsWith(date)) {
    const ms = Date.parse(text);
    if (!Number.isNaN(ms)) return ms;
  }
  throw new CommandError(exitStatus.misuse, `${name} ${text}: not a time.`, { hints: ["Write it like 2027-01-31T18:00:00Z."] });
}

/** `elv_…`, or misuse: catches swapped arguments before anything is sent. */
export function elevationId(text: string): string {
  if (/^elv_[0-9A-Z]{26}$/.test(text)) return text;
  throw new CommandError(exitStatus.misuse, `"${text}" is not an elevation's id.`, {
    hints: ["They look like elv_ and 26 characters; brevet list shows them."],
  });
}
