// What breaks in real life: the authority is away while the service restarts, and a clock is two hours wrong.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sleep, systemClock } from "@brevet/protocol";
import { approved, type Cast, does, NIA, nowText, refund, tokenOf, unexpected } from "../cast.ts";
import type { Finished } from "../stage.ts";
import { restarted } from "./first-call.ts";

const skewedClock = fileURLToPath(new URL("../skewed-clock.mjs", import.meta.url));
const AHEAD_MS = 2 * 3_600_000;

/** The words by which the ledger keeps what its guard knows. */
export function keeps({ data }: Pick<Cast, "data">): readonly string[] {
  return ["--state", join(data, "guard")];
}

/** The guard decides alone, also when it has only just started. */
export async function guardAlone(cast: Cast): Promise<void> {
  const { stage, tell } = cast;
  tell.scene("The authority is away, and the service restarts: its guard goes on with what it kept");
  await approved(cast, NIA, "payments.v1.Ledger/Refund", ["--for", "15m", "--reason", "OPS-8"]);
  // Made-up people's tokens come from the authority, which will be away.
  const token = await tokenOf(cast, NIA);
  const within = await permitted(cast, token);
  if (within.status !== 0) throw unexpected("A call within the window was refused", within);
  await stage.stop(cast.authority, "SIGKILL");
  await stage.stop(cast.ledger, "SIGKILL");
  tell.say("Both were killed. The service alone is started again.");
  await restartLedger(cast);
  const alone = await permitted(cast, token);
  if (alone.status !== 0) throw unexpected("The guard did not go on alone", alone);
  tell.quote("caller", alone.stdout);
  tell.say("The authority comes back.");
  cast.authority = await restarted(cast);
}

/** Brevet judges on the authority's time, wherever a machine's own clock stands. */
export async function wrongClock(cast: Cast): Promise<void> {
  const { stage, tell } = cast;
  tell.scene("The service's clock is two hours ahead: no window opens or ends by it");
  await stage.stop(cast.ledger);
  await restartLedger(cast, { NODE_OPTIONS: `--import ${skewedClock}`, BREVET_DEMO_AHEAD_MS: String(AHEAD_MS) });
  const still = await permitted(cast, await tokenOf(cast, NIA));
  if (still.status !== 0) throw unexpected("A wrong clock ended a window", still);
  tell.say(`It is ${nowText()}. The book, which goes by the machine, thinks otherwise; the 15 minutes of the guard go on:`);
  tell.quote("caller", still.stdout);
  await does(cast, "admin", ["guards", "--as", "user:pat@acme.test"]);
}

async function restartLedger(cast: Cast, environment: NodeJS.ProcessEnv = {}): Promise<void> {
  const words = ["--authority", cast.url, "--as", "workload:ledger", ...keeps(cast)];
  cast.ledger = await cast.stage.service(cast.data, words, environment);
  cast.address = (cast.ledger.ready as { address: string }).address;
}

/** A refund by a plain caller; until its guard knows what to decide by, a service that has just started answers UNAVAILABLE. */
async function permitted(cast: Cast, token: string): Promise<Finished> {
  for (let attempt = 1; ; attempt += 1) {
    const finished = await cast.stage.caller(refund(cast, ["--identity-token", token]));
    if (attempt === 20 || !finished.stderr.startsWith("UNAVAILABLE")) return finished;
    await sleep(systemClock, 100, cast.signal);
  }
}
