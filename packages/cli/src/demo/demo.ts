// The whole story on one machine, told with what each side sees: the first call, calls that last, what breaks, any language, the record.
// Owns the order of the scenes; what happens in them is in scenes/, the processes are the stage's.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Output } from "../output/output.ts";
import { type Cast, does, KIM, SAM } from "./cast.ts";
import { type Narrator, narrator } from "./narration.ts";
import { guardAlone, keeps, wrongClock } from "./scenes/faults.ts";
import { deniedCall, parkedCall, refusedCall, windowAndAfter } from "./scenes/first-call.ts";
import { behindProxy } from "./scenes/proxy.ts";
import { expiryInsideStream, revocationEndsStream } from "./scenes/streams.ts";
import { Stage } from "./stage.ts";

/** How to play. */
export interface DemoOptions {
  /** Play the approver too. */
  readonly auto: boolean;
  /** Keep the data directory. */
  readonly keep: boolean;
  readonly signal: AbortSignal;
  readonly output: Output;
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
    const cast = await enter(stage, tell, data, signal);
    const decision = await refusedCall(cast);
    await deniedCall(cast);
    const { id, ran } = await parkedCall(cast, auto);
    if (ran) await windowAndAfter(cast, id);
    await expiryInsideStream(cast);
    await revocationEndsStream(cast);
    await guardAlone(cast);
    await wrongClock(cast);
    await behindProxy(cast);
    await theRecord(cast, id, decision);
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

async function enter(stage: Stage, tell: Narrator, data: string, signal: AbortSignal): Promise<Cast> {
  tell.scene("An authority, and a payments service behind a guard, start as processes of their own");
  const { authority, url, code } = await stage.authority(join(data, "authority"));
  tell.quote("authority", `listens at ${url}; its log is empty but for the policy examples/ledger/policy.yaml`);
  const { ledger, address, charge } = await stage.ledger(data, url, SAM, keeps({ data }));
  tell.quote("service", `payments.v1.Ledger listens at ${address}; Refund and Follow need an elevation`);
  tell.quote("caller", `sees the charge ${charge} over 1299.00 EUR, and wants to give 12.50 of it back`);
  return { stage, tell, signal, data, url, code, authority, ledger, address, charge };
}

async function theRecord(cast: Cast, id: string, decision: string): Promise<void> {
  const { tell } = cast;
  tell.scene("All of it is on record");
  await does(cast, "auditor", ["show", id, ...KIM]);
  await does(cast, "auditor", ["audit", "verify", ...KIM]);
  tell.say(`What the first refusal means: npx brevet explain ELEVATION_REQUIRED   (the guard's log has it as ${decision})`);
}
