// The sidecar proxy of the proxy benchmark, in a process of its own.
import { fromFile } from "@brevet/guard/grpc";
import { proxy } from "@brevet/guard/proxy";
import { AUDIENCE } from "./elevated.ts";
import { answer } from "./process.ts";

/** What the parent asks. */
export type ProxyQuestion =
  | { readonly kind: "start"; readonly upstream: string; readonly authority: string; readonly identityFile: string }
  | { readonly kind: "cpu" };

/** What it answers. */
export interface ProxyAnswer {
  readonly address: string;
  readonly cpuMicros: number;
}

let address = "";

answer(async (question: ProxyQuestion): Promise<ProxyAnswer> => {
  if (question.kind === "start") {
    const { upstream, authority, identityFile } = question;
    const logger = { info: () => {}, warn: () => {}, error: console.error };
    const started = await proxy({
      authority,
      audience: AUDIENCE,
      identity: fromFile(identityFile),
      logger,
      listen: "127.0.0.1:0",
      upstream,
    });
    await started.ready();
    address = started.address;
  }
  const { user, system } = process.cpuUsage();
  return { address, cpuMicros: user + system };
});
