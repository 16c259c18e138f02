// A service that is not on Node, behind the sidecar proxy, and a caller that is not either.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { approved, type Cast, decisionIn, logLine, SAM, tokenOf, unexpected } from "../cast.ts";
import { type Finished, Stage } from "../stage.ts";

/** The same policy in front of a service that knows nothing of Brevet. */
export async function behindProxy(cast: Cast): Promise<void> {
  const { stage, tell, data } = cast;
  const python = Stage.python();
  const language = python === undefined ? "an unguarded ledger" : "a ledger in Python, and a Python caller";
  tell.scene(`Any language: ${language}, with the sidecar proxy between them`);
  if (python === undefined) tell.say("(Python with grpcio and protobuf is not here, so Node plays its part.)");
  const upstream = python === undefined ? await plainLedger(cast) : await stage.pythonService(python);
  const { address } = upstream.ready as { address: string };
  const words = ["--upstream", address, "--audience", "payments-prod", "--as", "workload:ledger", "--state", join(data, "proxy")];
  const proxy = await stage.proxy(words);
  const at = (proxy.ready as { address: string }).address;
  tell.quote("proxy", `listens at ${at}, in front of ${address}`);
  const token = await tokenOf(cast, SAM);
  const call = (...of: readonly string[]): Promise<Finished> =>
    python === undefined
      ? stage.caller([...of, "--address", at, "--identity-token", token])
      : stage.pythonCaller(python, token, [at, ...of]);
  const follow = await call("follow");
  if (!/ELEVATION_(REQUIRED|EXPIRED)/.test(follow.stderr)) throw unexpected("The proxy did not refuse", follow);
  tell.quote("caller", follow.stderr);
  tell.quote("proxy", await logLine(proxy, decisionIn(follow.stderr)));
  await approved(cast, SAM, "payments.v1.Ledger/Follow", ["--for", "1s"]);
  const followed = await call("follow");
  tell.quote("caller", followed.stdout + followed.stderr);
  if (!followed.stdout.includes("ent_1") || !followed.stderr.includes("ELEVATION_EXPIRED"))
    throw unexpected("The stream through the proxy did not run and end as expired", followed);
  await stage.stop(proxy);
  await stage.stop(upstream);
}

async function plainLedger({ stage, data }: Cast) {
  const own = join(data, "plain");
  await mkdir(own);
  return stage.service(own, ["--unguarded"]);
}
