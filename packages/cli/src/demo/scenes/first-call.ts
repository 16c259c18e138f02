// The first call: refused and told why, denied with words, parked over a restart of the authority, approved, run, over.
import { join } from "node:path";
import { sleep, systemClock } from "@brevet/protocol";
import { CommandError, exitStatus } from "../../output/status.ts";
import { keyPressed } from "../approver.ts";
import { ANA, type Cast, CLEO, decisionIn, does, logLine, PAT, parked, refund, shown, unexpected, until } from "../cast.ts";

const WINDOW = "5s";

/** A caller without any Brevet library. Answers with the decision's id. */
export async function refusedCall(cast: Cast): Promise<string> {
  const { stage, tell, ledger } = cast;
  tell.scene("A caller without any Brevet library is refused, and told why and what to do");
  const refused = await stage.caller(refund(cast));
  if (refused.status === 0) throw unexpected("The call was not refused", refused);
  tell.quote("caller", refused.stderr);
  tell.say("The status carries the same for programs:");
  tell.quote("caller", pretty(refused.stdout));
  const decision = decisionIn(refused.stderr);
  tell.say("The guard logged the same decision:");
  tell.quote("guard", await logLine(ledger, decision));
  return decision;
}

/** An approver says no. */
export async function deniedCall(cast: Cast): Promise<void> {
  const { tell } = cast;
  tell.scene("An approver says no: the waiting caller reads it in the approver's words");
  const { id, call } = await parked(cast, refund(cast, CLEO), { for: "15m", reason: "OPS-6 asked by telephone" });
  await does(cast, "approver", ["deny", id, ...ANA, "--comment", "not without the customer's letter"]);
  const denied = await call;
  if (!denied.stderr.includes("not without the customer's letter")) throw unexpected("The caller was not told the words", denied);
}

/** The call that waits for a person, while the authority is killed and started again. Answers whether it ran. */
export async function parkedCall(cast: Cast, auto: boolean): Promise<{ id: string; ran: boolean }> {
  const { stage, tell, signal } = cast;
  tell.scene("The same call with Brevet's client library: it asks, parks, and waits for a person");
  const { id, call } = await parked(cast, refund(cast), { for: WINDOW, reason: "OPS-7 charged twice" });
  tell.say("Meanwhile the authority is killed, and started again on its data.");
  await stage.stop(cast.authority, "SIGKILL");
  cast.authority = await restarted(cast);
  tell.say("The call is still parked. What the approver sees:");
  await does(cast, "approver", ["show", id, ...ANA]);

  tell.scene("A person who is not the requester decides");
  const decided = new AbortController();
  let voting: Promise<void> | undefined;
  const vote = (choice: "approve" | "deny") =>
    does(cast, "approver", [choice, id, ...ANA, "--comment", choice === "approve" ? "seen the ticket" : "not this customer"]);
  if (auto) await vote("approve");
  else {
    tell.say(`${process.stdin.isTTY ? "Press a to approve, d to deny, q to stop. Or, i" : "I"}n another terminal, as the approver:`);
    tell.say(`  BREVET_AUTHORITY=${cast.url} BREVET_DEV_CODE=${cast.code} npx brevet approve ${id} --as user:ana@acme.test`);
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
  if (!ran && (auto || !ended.stderr.includes("ELEVATION_DENIED"))) throw unexpected("The parked call did not go on", ended);
  tell.say(ran ? "The parked call went on by itself and ran." : "The parked call ended with the approver's words.");
  return { id, ran };
}

/** The window of an approved elevation, and what comes after it. */
export async function windowAndAfter(cast: Cast, id: string): Promise<void> {
  const { stage, tell, ledger } = cast;
  tell.scene("Within the window the privilege is there, for a caller without the library too");
  const again = await stage.caller(refund(cast));
  if (again.status !== 0) throw unexpected("A call within the window was refused", again);
  tell.quote("caller", again.stdout);
  const { windowEnd = "" } = await shown(cast, id);
  tell.say(`Its window ends at ${windowEnd}. Waiting …`);
  await until(cast, windowEnd);
  tell.scene("The window is over: refused again, with the right reason");
  const late = await stage.caller(refund(cast));
  if (late.status === 0 || !late.stderr.includes("ELEVATION_EXPIRED")) throw unexpected("The call was not refused as expired", late);
  tell.quote("caller", late.stderr);
  tell.quote("guard", await logLine(ledger, decisionIn(late.stderr)));
}

/** The authority again, where it was and on what it knew; resolves once the ledger's guard has found it. */
export async function restarted({ stage, data, url, signal }: Cast): Promise<Cast["authority"]> {
  const { authority } = await stage.authority(join(data, "authority"), ["--listen", new URL(url).host]);
  for (let attempt = 0; attempt < 40; attempt += 1) {
    if (/"connected":\s*true/.test((await stage.brevet(["guards", ...PAT, "--output", "json"])).stdout)) break;
    await sleep(systemClock, 100, signal);
  }
  return authority;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text;
  }
}
