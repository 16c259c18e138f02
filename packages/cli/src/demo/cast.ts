// Who plays in the demo, and what the scenes share: the processes, the words that people sign in with, a look at a log, a wait.
import { sleep, systemClock } from "@brevet/protocol";
import { CommandError, exitStatus } from "../output/status.ts";
import type { Narrator } from "./narration.ts";
import type { Finished, Running, Stage } from "./stage.ts";

/** Sam, Cleo and Nia of support call, Ana of on-call approves, Pat of the platform revokes, Kim of security looks at the record. */
export const SAM = ["--as", "user:sam@acme.test", "--groups", "group:support"];
export const CLEO = ["--as", "user:cleo@acme.test", "--groups", "group:support"];
export const NIA = ["--as", "user:nia@acme.test", "--groups", "group:support"];
export const ANA = ["--as", "user:ana@acme.test"];
export const PAT = ["--as", "user:pat@acme.test"];
export const KIM = ["--as", "user:kim@acme.test", "--groups", "group:security"];

/** What is on the stage. Scenes that restart a process put the new one in. */
export interface Cast {
  readonly stage: Stage;
  readonly tell: Narrator;
  readonly signal: AbortSignal;
  /** Directory of everything that the demo keeps. */
  readonly data: string;
  readonly url: string;
  readonly code: string;
  authority: Running;
  ledger: Running;
  /** Of the ledger. */
  address: string;
  /** The one charge in the book. */
  readonly charge: string;
}

/** The words of a refund of 12.50 EUR. */
export function refund({ charge, address }: Cast, who: readonly string[] = SAM): readonly string[] {
  return ["refund", "--charge", charge, "--amount", "1250", "--currency", "EUR", "--address", address, ...who];
}

/** Starts a call that asks for its elevation. Resolves with the elevation's id, and with the call, which goes on. */
export async function parked(
  { stage, tell, url }: Cast,
  words: readonly string[],
  options: { readonly for: string; readonly reason?: string },
): Promise<{ id: string; call: Promise<Finished> }> {
  const found = Promise.withResolvers<string>();
  const reason = options.reason === undefined ? [] : ["--reason", options.reason];
  const call = stage.caller([...words, "--authority", url, "--for", options.for, "--wait", "10m", ...reason], (line) => {
    tell.quote("caller", line);
    const id = /elv_[0-9A-Z]{26}/.exec(line)?.[0];
    if (id !== undefined) found.resolve(id);
  });
  const early = call.then((ended) => Promise.reject(unexpected("The call did not wait", ended)));
  return { id: await Promise.race([found.promise, early]), call };
}

/** Runs a command that has to succeed, and shows what it says. */
export async function does({ stage, tell }: Cast, who: string, words: readonly string[]): Promise<void> {
  const done = await stage.brevet(words);
  if (done.status !== 0) throw unexpected(`brevet ${words[0] ?? ""} failed`, done);
  tell.quote(who, done.stdout);
}

/** Asks for an elevation without waiting for it, and has it approved. */
export async function approved(cast: Cast, who: readonly string[], method: string, words: readonly string[]): Promise<string> {
  const asked = await cast.stage.brevet(["request", method, ...words, ...who, "--output", "json"]);
  if (asked.status !== 0) throw unexpected(`Nobody could ask for ${method}`, asked);
  const { id } = JSON.parse(asked.stdout) as { id: string };
  await does(cast, "approver", ["approve", id, ...ANA]);
  return id;
}

/** An identity token of somebody for the ledger, as a real identity provider would have given it. */
export async function tokenOf({ stage }: Cast, who: readonly string[]): Promise<string> {
  const printed = await stage.brevet(["token", "dev", ...who, "--for-audience", "payments-prod"]);
  if (printed.status !== 0) throw unexpected("There is no token", printed);
  return printed.stdout.trim();
}

/** A field of an elevation as the approver sees it. */
export async function shown({ stage }: Cast, id: string): Promise<{ readonly windowEnd?: string; readonly stateName?: string }> {
  const { stdout } = await stage.brevet(["show", id, ...ANA, "--output", "json"]);
  return JSON.parse(stdout) as { windowEnd?: string };
}

/** Waits until an instant has passed by a little. */
export async function until({ signal }: Cast, time: string): Promise<void> {
  await sleep(systemClock, Math.max(0, Date.parse(time) - systemClock.wallMs()) + 150, signal);
}

/** What this machine's clock says. */
export function nowText(): string {
  return new Date(systemClock.wallMs()).toISOString();
}

/** The guard's line in which a text stands; it may come a moment after the call's answer. */
export async function logLine({ log }: Running, text: string): Promise<string> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const line = log.find((each) => each.includes(text));
    if (line !== undefined) return line.replace(/"details":"[^"]{40,}"/, '"details":"…"');
    await sleep(systemClock, 20);
  }
  return "(no line)";
}

/** The id of the decision that a refusal names. */
export function decisionIn(text: string): string {
  return /dec_[0-9A-Z]{26}/.exec(text)?.[0] ?? "";
}

/** The demo's story went another way. */
export function unexpected(what: string, { stdout, stderr, status }: Finished): CommandError {
  return new CommandError(exitStatus.no, `${what} (exit ${status}).`, { hints: `${stdout}\n${stderr}`.trim().split("\n").slice(0, 20) });
}
