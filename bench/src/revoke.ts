// How long a revocation takes: until every guard has said that it enforces it, and until the last open stream under it has ended at its caller.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId } from "@brevet/protocol";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import type { AuthorityAnswer, AuthorityQuestion } from "./authority.ts";
import type { Effort } from "./effort.ts";
import { AUDIENCE, clientFor, STREAM } from "./elevated.ts";
import { markdown, percentile, shown, spread } from "./figures.ts";
import { Worker } from "./process.ts";
import type { GuardsAnswer, GuardsQuestion } from "./revoke-guards.ts";

/** Measures. Answers with Markdown. */
export async function measureRevoke({ smoke }: Effort): Promise<string> {
  const data = await mkdtemp(join(tmpdir(), "brevet-bench-"));
  try {
    await using authority = new Worker("./authority.ts");
    await using guards = new Worker("./revoke-guards.ts");
    const start: AuthorityQuestion = { kind: "start", data: join(data, "authority") };
    const { url, requester, approver } = await authority.ask<AuthorityAnswer>(start);
    const tokenOf = (principal: string, audience: string, groups: readonly string[] = []) =>
      authority.ask<string>({ kind: "token", principal, audience, groups } satisfies AuthorityQuestion);
    const token = await tokenOf("workload:bench", "brevet");
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${await tokenOf("user:sam@example.com", AUDIENCE, ["group:callers"])}`);
    const asking = clientFor(url, requester);
    const approving = clientFor(url, approver);

    const rows = [["guards, with a stream each", "enforced by all: p50 ms", "p99 ms", "last stream ended: p50 ms", "p99 ms", "rounds"]];
    for (const count of smoke ? [1, 3] : [1, 10, 100]) {
      const { addresses } = await guards.ask<GuardsAnswer>({ count, authority: url, token } satisfies GuardsQuestion);
      const clients = addresses.map((address) => new Client(address, credentials.createInsecure()));
      const enforced: number[] = [];
      const ended: number[] = [];
      const rounds = smoke ? 1 : 50;
      for (let round = -2; round < rounds; round += 1) {
        const { elevation } = await asking.request({ requestId: newId("req"), audience: AUDIENCE, method: STREAM, run: newId("req") });
        const id = elevation?.id ?? "";
        await approving.approve({ requestId: newId("req"), id });
        await asking.start({ requestId: newId("req"), id });
        const streams = await Promise.all(clients.map((client) => openStream(client, metadata)));
        const began = performance.now();
        const cut = Promise.all(streams.map(({ end }) => end));
        const { enforcement } = await approving.revoke({ requestId: newId("req"), target: { case: "id", value: id }, wait: true });
        const enforcedMs = performance.now() - began;
        if (enforcement.some((each) => !each.enforced)) throw new Error("a guard did not enforce the revocation");
        const endedMs = Math.max(...(await cut)) - began;
        if (round < 0) continue; // warm-up
        enforced.push(enforcedMs);
        ended.push(endedMs);
      }
      for (const client of clients) client.close();
      rows.push([String(count), ...both(enforced), ...both(ended), String(rounds)]);
    }
    return markdown(rows);
  } finally {
    await rm(data, { recursive: true, force: true });
  }
}

function both(values: readonly number[]): [string, string] {
  const sorted = values.toSorted((a, b) => a - b);
  return [shown(spread(values)), percentile(sorted, 0.99).toFixed(1)];
}

/** An open stream, and when it was refused to go on. */
function openStream(client: Client, metadata: Metadata): Promise<{ end: Promise<number> }> {
  const bytes = (value: Buffer) => value;
  const call = client.makeServerStreamRequest(`/${STREAM}`, bytes, bytes, Buffer.from("x"), metadata);
  const end = Promise.withResolvers<number>();
  return new Promise((resolve, reject) => {
    call.once("data", () => resolve({ end: end.promise }));
    call.once("error", (error: Error) => {
      if (/ELEVATION_REVOKED/.test(error.message)) end.resolve(performance.now());
      else reject(error);
    });
  });
}
