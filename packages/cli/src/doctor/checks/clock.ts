// Whose clock is off: caller's, authority's, a guard's. Told by majority, and not at all where two clocks are all there is. Pure.
import { formatDuration } from "@brevet/protocol";
import type { ClockSample, Evidence } from "../evidence.ts";
import { type Finding, ok, problem, unknown, warning } from "../finding.ts";

/** A clock by its name; this machine's is 0 ahead of itself. */
export interface NamedClock extends ClockSample {
  readonly name: string;
}

/** Clocks that are nearer than this are the same. */
export const SAME_MS = 5000;

/** The clocks that most agree with, and those that do not. Undefined where no group is larger than every other. */
export function majority(
  clocks: readonly NamedClock[],
): { readonly right: readonly NamedClock[]; readonly off: readonly NamedClock[] } | undefined {
  const groups = clocks.map((one) =>
    clocks.filter((other) => Math.abs(one.aheadMs - other.aheadMs) <= SAME_MS + one.errorMs + other.errorMs),
  );
  const largest = groups.toSorted((a, b) => b.length - a.length)[0] ?? [];
  const rivals = groups.filter((group) => group.length === largest.length && group.some((clock) => !largest.includes(clock)));
  if (rivals.length > 0 || largest.length === 0) return undefined;
  return { right: largest, off: clocks.filter((clock) => !largest.includes(clock)) };
}

/** See the head of this file. */
export function checkClocks({ probe, targets, others }: Evidence): Finding[] {
  const clocks: NamedClock[] = [{ name: "this machine", aheadMs: 0, errorMs: 0 }];
  if (probe.kind === "answer" && probe.value.clock !== undefined) clocks.push({ name: "the authority", ...probe.value.clock });
  for (const { target, probe: asked } of targets)
    if (asked.kind === "answer" && asked.clock !== undefined) clocks.push({ name: `the guard at ${target}`, ...asked.clock });
  clocks.push(...others.map(({ name, clock }) => ({ name, ...clock })));
  if (clocks.length === 1)
    return [unknown("clocks", "no other clock could be asked: reach the authority, or name a service with --target")];
  const judged = majority(clocks);
  if (judged === undefined) {
    const list = clocks.map(({ name, aheadMs }) => `${name} ${differs(aheadMs)}`).join("; ");
    return [
      problem(
        "clocks",
        `clocks differ, and there are too few to tell which is off: ${list}. Tokens look expired or not yet valid (IDENTITY_EXPIRED, IDENTITY_NOT_YET_VALID)`,
        "compare each with a clock that you trust, and set it right (NTP); more of --target tell more",
      ),
    ];
  }
  const truthMs = judged.right.reduce((sum, { aheadMs }) => sum + aheadMs, 0) / judged.right.length;
  const found = judged.off.map(({ name, aheadMs }) => offOf(name, aheadMs - truthMs));
  const names = judged.right.map(({ name }) => name).join(", ");
  return [...found, ...(judged.right.length > 1 ? [ok("clocks", `agree: ${names}`)] : [])];
}

function offOf(name: string, aheadMs: number): Finding {
  const how = `the clock of ${name} is ${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead" : "behind"}`;
  const fix = `set it right there (NTP: \`timedatectl status\`, \`chronyc tracking\`)`;
  if (name === "this machine")
    return problem(
      "clock of this machine",
      `${how}: tokens that are made here look not yet valid or expired elsewhere, and times in its logs do not match`,
      fix,
    );
  if (name === "the authority")
    return problem(
      "clock of the authority",
      `${how}: it refuses good identity tokens (IDENTITY_EXPIRED, IDENTITY_NOT_YET_VALID), and windows begin and end at the wrong time`,
      fix,
    );
  if (name.startsWith("the guard"))
    return problem(
      `clock of ${name}`,
      `${how}: the guard corrects for it by the authority's time, but the service behind it and its logs do not`,
      fix,
    );
  return warning("clocks", how, "nothing to do here; ask whoever runs it");
}

function differs(aheadMs: number): string {
  if (aheadMs === 0) return "is what the others are measured by";
  return `is ${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead" : "behind"}`;
}
