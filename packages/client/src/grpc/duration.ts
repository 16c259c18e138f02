// Durations as people write them in options: `90s`, `15m`, `1h30m`. Pure.

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of "90s", "15m", "1h30m", or of a number of milliseconds. Throws TypeError, naming the option, for anything else. */
export function durationOption(name: string, value: string | number): number {
  const ms = typeof value === "number" ? value : parse(value);
  if (!Number.isFinite(ms) || ms <= 0) throw new TypeError(`${name}: "${value}" is not a duration; write 90s, 15m, 1h30m or 2d`);
  return ms;
}

function parse(text: string): number {
  if (!/^(\d+(ms|s|m|h|d))+$/.test(text)) return Number.NaN;
  let total = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g)) total += Number(count) * (UNITS[unit ?? ""] ?? Number.NaN);
  return total;
}

/** The two largest units: `1h 5m`, `42s`. */
export function durationWords(ms: number): string {
  let rest = Math.max(0, Math.round(ms / 1000));
  const parts: string[] = [];
  for (const [unit, seconds] of [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const) {
    const count = Math.floor(rest / seconds);
    rest -= count * seconds;
    if (count > 0) parts.push(`${count}${unit}`);
  }
  return parts.length === 0 ? `${Math.round(ms)}ms` : parts.slice(0, 2).join(" ");
}
