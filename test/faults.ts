// What can happen to a machine's clock while calls run, and what must come of it: nothing.
import assert from "node:assert/strict";
import { approved, endOf, keepCalling, type Refunded, Teller } from "./people.ts";
import type { Scene } from "./scene.ts";

const HOUR = 3_600_000;

/** The wall clock of some process, as a test moves it. */
export interface MovableClock {
  /** From now on it is this far from the truth, at once. */
  step(offsetMs: number): Promise<void>;
}

/** Gets there by and by, in 100 steps of some 10 ms, from another distance. */
export async function drift(clock: MovableClock, fromMs: number, toMs: number): Promise<void> {
  for (let i = 1; i <= 100; i += 1) {
    await clock.step(fromMs + ((toMs - fromMs) * i) / 100);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** One thing that happens. */
export type Fault = readonly [what: string, happen: (clock: MovableClock) => Promise<void>];

export const STEPS: readonly Fault[] = [
  ["steps three hours ahead", (clock) => clock.step(3 * HOUR)],
  ["steps six hours back", (clock) => clock.step(-3 * HOUR)],
];
export const DRIFTS: readonly Fault[] = [
  ["drifts five hours ahead within a second or two", (clock) => drift(clock, -3 * HOUR, 2 * HOUR)],
  ["drifts five hours back", (clock) => drift(clock, 2 * HOUR, -3 * HOUR)],
];
export const FAR: readonly Fault[] = [
  ["goes to 1970", (clock) => clock.step(HOUR - Date.now())],
  ["goes to 2100", (clock) => clock.step(Date.UTC(2100, 0) - Date.now())],
];
export const RIGHT: readonly Fault[] = [["is set right", (clock) => clock.step(0)]];

/** A guard stops this long before the end at the latest. */
const EARLY_MS = 100;
/** The authority's clock and this process's are one, but read one after the other. */
const APART_MS = 10;
const WINDOW_MS = 2000;

/** What was permitted too late, refused more than `earlyMs` too early, or answered with something else than `allowed`. Empty: every verdict was right. */
export function wrongVerdicts(
  calls: readonly Refunded[],
  endMs: number,
  allowed: readonly string[] = [],
  earlyMs: number = EARLY_MS,
): string[] {
  return calls
    .filter(({ startedMs, endedMs, verdict }) => {
      if (allowed.includes(verdict)) return false;
      if (verdict === "permit") return startedMs >= endMs + APART_MS;
      return verdict !== "ELEVATION_EXPIRED" || endedMs <= endMs - earlyMs;
    })
    .map(({ startedMs, endedMs, verdict }) => `${startedMs - endMs} to ${endedMs - endMs} ms from the end: ${verdict}`);
}

/** A window that is open while the fault happens, used until it is surely over. */
export async function windowDuring(
  scene: Scene,
  principal: string,
  fault: () => Promise<void>,
): Promise<{ calls: Refunded[]; endMs: number }> {
  using teller = await Teller.hire(scene, principal);
  const { id } = await approved(scene, principal, WINDOW_MS);
  const first = await teller.refund();
  const endMs = await endOf(scene, id);
  let happened = false;
  const calling = keepCalling(teller, ({ startedMs }) => happened && startedMs > endMs + 300);
  await fault();
  happened = true;
  return { calls: [first, ...(await calling)], endMs };
}

/** Whoever has a long window is permitted, and whoever had one that ended is refused, whatever the clock does meanwhile. */
export async function changeNothing(scene: Scene, clock: MovableClock, faults: readonly Fault[]): Promise<void> {
  using keeper = await Teller.hire(scene, "user:keeper@acme.test");
  await approved(scene, keeper.principal, 600_000);
  let over = false;
  const kept = keepCalling(keeper, () => over);
  for (const [i, [what, happen]] of faults.entries()) {
    const { calls, endMs } = await windowDuring(scene, `user:w${i}@acme.test`, () => happen(clock));
    assert.deepEqual(wrongVerdicts(calls, endMs), [], `it ${what}`);
    assert.ok(calls.some(({ verdict }) => verdict === "permit") && calls.at(-1)?.verdict === "ELEVATION_EXPIRED", `it ${what}`);
  }
  over = true;
  assert.deepEqual(
    (await kept).filter(({ verdict }) => verdict !== "permit"),
    [],
  );
}
