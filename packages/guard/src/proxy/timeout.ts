// `grpc-timeout` (gRPC over HTTP/2, Requests): read, and written anew for what is left of it. Pure.

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };
const UNITS = ["u", "m", "S", "M", "H"] as const;
const MOST = 99_999_999;

/** Milliseconds, with fractions; undefined for a value that is none. */
export function timeoutMsOf(value: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(value);
  return match === null ? undefined : Number(match[1]) * (UNIT_MS[match[2] ?? ""] ?? 0);
}

/** The value for so many milliseconds, in the finest unit that holds it; never longer than they are, but for the shortest, which is 1 µs. */
export function timeoutOf(ms: number): string {
  for (const unit of UNITS) {
    const count = Math.floor(ms / (UNIT_MS[unit] ?? 1));
    if (count <= MOST) return `${Math.max(1, count)}${unit}`;
  }
  return `${MOST}H`;
}
