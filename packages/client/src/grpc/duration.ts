// Durations as programs write them in options: a number of milliseconds, or `90s`, `15m`, `1h30m`. Pure.
import { parseDuration } from "@brevet/protocol";

/** Milliseconds. Throws TypeError, naming the option, for what is no positive duration. */
export function durationOption(name: string, value: string | number): number {
  const ms = typeof value === "number" ? value : (parseDuration(value) ?? Number.NaN);
  if (!Number.isFinite(ms) || ms <= 0) throw new TypeError(`${name}: "${value}" is not a duration; write 90s, 15m, 1h30m or 2d`);
  return ms;
}
