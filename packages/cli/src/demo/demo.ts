// The story of the first call, told with what each side sees: refused, asked for, approved, run, expired, recorded.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep, systemClock } from "@brevet/protocol";
import type { Output } from "../output/output.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { keyPressed } from "./approver.ts";
import { type Narrator, narrator } from "./narration.ts";
import { type Finished, type Running, Stage } from "./stage.ts";

/** How to play. */
export interface DemoOptions {
  /** Play the approver too. */
  readonly auto: boolean;
  /** Keep the data directory. */
  readonly keep: boolean;
  readonly signal: AbortSignal;
  readonly output: Output;
}

const WINDOW = "8s";
const CALLER = ["--as", "user:sam@acme.test", "--groups", "group:support"];
const APPROVER = ["--as", "user:ana@acme.test"];
const AUDITOR = ["--as", "user:kim@acme.test", "--groups", "group:security"];

interface Set {
  readonly stage: Stage;
  readonly tell: Narrator;
  readonly authority: Running;
  readonly ledger: Running;
  readonly url: string;
  readonly code: string;
  /** The refund that the caller wants, as words for the example's client. */
  readonly refund: readonly string[];
}

/** Plays it. Resolves with whether the story went as it should; every process that it started has ended by then. */
export async function playDemo({ auto, keep, signal, output }: DemoOptions): Promise<boolean> {
  const tell = narrator(
    (text) => process.stdout.write(text),
    process.stdout.isTTY && process.env.NO_COLOR === undefined && output.form === "text",
  );
  const data = await mkdtemp(join(tmpdir(), "brevet-demo-"));
  const stage = new Stage({});
  try {
    const set = await prepare(stage, tell, data);
    const decision = await refusedCall(set);
    const { id, ran } = await parkedCall(set, { auto, signal });
    if (ran) await windowAndAfter(set, id, signal);
    await theRecord(set, id, decision);
    if (keep) tell.say(`Kept: ${data}`);
    return true;
  } catch (error) {
    if (!signal.aborted) throw error;
    tell.say("Stopped.");
    return false;
  } finally {
    await stage[Symbol.asyncDispose]();
    if (!keep) await rm(data, { recursive: true, force: true });
  }
}

async function prepare(stage: Stage, tell: Narrator, data: string): Promise<Set> {
  tell.scene("An authority, and a payments service behind a guard, start as processes of their own");
  const { authority, url, code } = await stage.authority(join(data, "authority"));
  tell.quote("authority", `listens at ${url}; its log is empty but for the policy examples/ledger/policy.yaml`);
  const { ledger, address, charge } = await stage.ledger(data, url, CALLER);
  tell.quote("service", `payments.v1.Ledger listens at ${address}; Refund needs an elevation`);
  tell.quote("caller", `sees the charge ${charge} over 1299.00 EUR, and wants to give 12.50 of it back`);
  const refund = ["refund", "--charge", charge, "--amount", "1250", "--currency", "EUR", "--address", address, ...CALLER];
  return { stage, tell, authority, ledger, url, code, refund };
}

async function refusedCall({ stage, tell, ledger, refund }: Set): Promise<string> {
  tell.scene("A caller without any Brevet library is refused, and told why and what to do");
  const refused = await stage.caller(refund);
  if (refused.status === 0) throw unexpected("The call was not refused", refused);
  tell.quote("caller", refused.stderr);
  tell.say("The status carries the same for programs:");
  tell.quote("caller", pretty(refused.stdout));
  const decision = /dec_[0-9A-Z]{26}/.exec(refused.stderr)?.[0] ?? "";
  tell.say("The guard logged the same decision:");
  tell.quote("guard", shortened(await logLine(ledger, decision)));
  return decision;
}

/** A call with the client library: asked for, decided, and run if it was approved. */
async function parkedCall(
  { stage, tell, refund, url, code }: Set,
  { auto, signal }: { auto: boolean; signal: AbortSignal },
): Promise<{ id: string; ran: boolean }> {
  tell.scene("The same call with Brevet's client library: it asks, parks, and waits for a person");
  let found: (id: string) => void;
  const asked = new Promise<string>((resolve) => (found = resolve));
  const call = stage.caller(
    [...refund, "--authority", url, "--for", WINDOW, "--wait", "10m", "--reason", "OPS-7 charged twice"],
    (line) => {
      tell.quote("caller", line);
      const id = /elv_[0-9A-Z]{26}/.exec(line)?.[0];
      if (id !== undefined) found(id);
    },
  );
  const id = await Promise.race([asked, call.then((ended) => Promise.reject(unexpected("The call did not wait", ended)))]);
  const shown = await stage.brevet(["show", id, ...APPROVER]);
  tell.say("What the approver sees:");
  tell.quote("approver", shown.stdout);

  tell.scene("A person who is not the requester decides");
  const decided = new AbortController();
  let voting: Promise<void> | undefined;
  const vote = async (choice: "approve" | "deny") => {
    const words = choice === "approve" ? ["--comment", "seen the ticket"] : ["--comment", "not this customer"];
    const voted = await stage.brevet([choice, id, ...APPROVER, ...words]);
    tell.quote("approver", voted.status === 0 ? voted.stdout : voted.stderr);
  };
  if (auto) await vote("approve");
  else {
    tell.say(`${process.stdin.isTTY ? "Press a to approve, d to deny, q to stop. Or, i" : "I"}n another terminal, as the approver:`);
    tell.say(`  BREVET_AUTHORITY=${url} BREVET_DEV_CODE=${code} npx brevet approve ${id} --as user:ana@acme.test`);
    const pressed = keyPressed(process.stdin, AbortSignal.any([decided.signal, signal])).then(async (choice) => {
      if (choice === "quit") throw new CommandError(exitStatus.open, `Stopped; ${id} was not decided.`);
      await (voting = vote(choice));
      return "pressed" as const;
    });
    await Promise.race([pressed, call, aborted(signal)]);
  }
  const ended = await Promise.race([call, aborted(signal)]);
  decided.abort();
  await voting;
  const ran = ended.status === 0;
  tell.say(ran ? "The parked call went on by itself and ran." : "The parked call ended with the approver's words.");
  return { id, ran };
}

async function windowAndAfter({ stage, tell, ledger, refund }: Set, id: string, signal: AbortSignal): Promise<void> {
  tell.scene("Within the window the privilege is there, for a caller without the library too");
  const again = await stage.caller(refund);
  if (again.status !== 0) throw unexpected("A call within the window was refused", again);
  tell.quote("caller", again.stdout);
  const shown = JSON.parse((await stage.brevet(["show", id, ...APPROVER, "--output", "json"])).stdout) as { windowEnd: string };
  const left = Date.parse(shown.windowEnd) - systemClock.wallMs();
  if (left > 60_000) {
    tell.say(`Its window ends at ${shown.windowEnd}. To see the end now, the caller hands it back.`);
    tell.quote("caller", (await stage.brevet(["end", id, "--all", ...CALLER])).stdout);
  } else {
    tell.say(`Its window ends at ${shown.windowEnd}, in ${(left / 1000).toFixed(1)} s. Waiting …`);
    await sleep(systemClock, Math.max(0, left) + 150, signal);
  }
  tell.scene("The window is over: refused again, with the right reason");
  const late = await stage.caller(refund);
  if (late.status === 0 || !/ELEVATION_(EXPIRED|ENDED)/.test(late.stderr)) throw unexpected("The call was not refused as expired", late);
  tell.quote("caller", late.stderr);
  const decision = /dec_[0-9A-Z]{26}/.exec(late.stderr)?.[0] ?? "";
  tell.quote("guard", shortened(await logLine(ledger, decision)));
}

async function theRecord({ stage, tell }: Set, id: string, decision: string): Promise<void> {
  tell.scene("All of it is on record");
  tell.quote("auditor", (await stage.brevet(["show", id, ...AUDITOR])).stdout);
  const verified = await stage.brevet(["audit", "verify", ...AUDITOR]);
  tell.quote("auditor", verified.status === 0 ? verified.stdout : verified.stderr + verified.stdout);
  if (verified.status !== 0) throw unexpected("The log does not verify", verified);
  tell.say(`What the first refusal means: npx brevet explain ELEVATION_REQUIRED   (its record: ${decision})`);
}

/** The guard's line about a decision; it may come a moment after the call's answer. */
async function logLine(ledger: Running, decision: string): Promise<string | undefined> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const line = ledger.log.find((text) => text.includes(decision));
    if (line !== undefined) return line;
    await sleep(systemClock, 20);
  }
  return undefined;
}

/** A log line without the status's bytes, which nobody reads. */
function shortened(line: string | undefined): string {
  if (line === undefined) return "(no line)";
  return line.replace(/"details":"[^"]{40,}"/, '"details":"…"');
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

function unexpected(what: string, { stdout, stderr, status }: Finished): CommandError {
  return new CommandError(exitStatus.no, `${what} (exit ${status}).`, { hints: `${stdout}\n${stderr}`.trim().split("\n").slice(0, 20) });
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text;
  }
}
