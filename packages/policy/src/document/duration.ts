// Lengths of time as the policy writes them.

const UNITS_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of `30s`, `15m`, `1h` or `2d`, negative ones too; undefined for anything else. */
export function durationMs(text: string): number | undefined {
  const [, count, unit] = /^(-?\d{1,9})([smhd])$/.exec(text) ?? [];
  const unitMs = UNITS_MS[unit ?? ""];
  return count === undefined || unitMs === undefined ? undefined : Number(count) * unitMs;
}

/** Milliseconds as the policy would write them, in the largest unit that fits evenly. */
export function durationText(ms: number): string {
  for (const unit of ["d", "h", "m"]) {
    const unitMs = UNITS_MS[unit] ?? 1;
    if (ms !== 0 && ms % unitMs === 0) return `${ms / unitMs}${unit}`;
  }
  return `${ms / 1000}s`;
}
