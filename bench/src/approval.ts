// How long after an approval a parked call has run: from sending the approval to having the call's answer, with many others parked beside it.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { elevate } from "@brevet/client/grpc";
import { newId } from "@brevet/protocol";
import { Client, credentials } from "@grpc/grpc-js";
import type { AuthorityAnswer, AuthorityQuestion } from "./authority.ts";
import type { ServerAnswer, ServerQuestion } from "./call-server.ts";
import type { Effort } from "./effort.ts";
import { AUDIENCE, clientFor, METHOD } from "./elevated.ts";
import { markdown, percentile, shown, spread } from "./figures.ts";
import { Worker } from "./process.ts";

/** A principal may have 100 requests open. */
const CALLS_EACH = 50;

interface Parked {
  readonly elevation: string;
  /** When the call had its answer. */
  readonly ran: Promise<number>;
}

/** Measures. Answers with Markdown. */
export async function measureApproval({ smoke }: Effort): Promise<string> {
  const data = await mkdtemp(join(tmpdir(), "brevet-bench-"));
  try {
    await using authority = new Worker("./authority.ts");
    await using server = new Worker("./call-server.ts");
    const start: AuthorityQuestion = { kind: "start", data: join(data, "authority") };
    const { url, approver } = await authority.ask<AuthorityAnswer>(start);
    const tokenOf = (principal: string, audience: string, groups: readonly string[] = []) =>
      authority.ask<string>({ kind: "token", principal, audience, groups } satisfies AuthorityQuestion);
    const identityFile = join(data, "guard.token");
    await writeFile(identityFile, await tokenOf("workload:bench", "brevet"), { mode: 0o600 });
    const question: ServerQuestion = { kind: "start", form: "guarded", authority: url, identityFile, jwks: "" };
    const { address } = await server.ask<ServerAnswer>(question);
    const approving = clientFor(url, approver);

    const rows = [["parked calls", "approval to answer: p50 ms", "p99 ms", "approvals"]];
    for (const count of smoke ? [1, 4] : [1, 100, 1000]) {
      const measured: number[] = [];
      for (let done = 0; done < (smoke ? 1 : 100); ) {
        const parked = await park(count, url, address, tokenOf);
        for (const { elevation, ran } of parked) {
          const began = performance.now();
          await approving.approve({ requestId: newId("req"), id: elevation });
          measured.push((await ran) - began);
          done += 1;
        }
      }
      const sorted = measured.toSorted((a, b) => a - b);
      rows.push([String(count), shown(spread(measured)), percentile(sorted, 0.99).toFixed(1), String(measured.length)]);
    }
    return markdown(rows);
  } finally {
    await rm(data, { recursive: true, force: true });
  }
}

/** Makes so many calls that all wait for an approval of their own. */
async function park(
  count: number,
  url: string,
  address: string,
  tokenOf: (principal: string, audience: string, groups: readonly string[]) => Promise<string>,
): Promise<Parked[]> {
  const bytes = (value: Buffer) => value;
  const parked: Promise<Parked>[] = [];
  while (parked.length < count) {
    const principal = `user:caller-${newId("req").slice(4).toLowerCase()}@example.com`;
    const tokens = new Map<string, string>();
    for (const audience of ["brevet", AUDIENCE]) tokens.set(audience, await tokenOf(principal, audience, ["group:callers"]));
    for (let of = 0; of < CALLS_EACH && parked.length < count; of += 1) {
      const asked = Promise.withResolvers<string>();
      const ran = Promise.withResolvers<number>();
      const identity = (audience: string) => tokens.get(audience) ?? "";
      const interceptor = elevate({
        authority: url,
        audience: AUDIENCE,
        identity,
        reason: `call ${of}`,
        onProgress: (event) => {
          if (event.kind === "asked") asked.resolve(event.elevation);
        },
      });
      const client = new Client(address, credentials.createInsecure(), { interceptors: [interceptor] });
      client.makeUnaryRequest(`/${METHOD}`, bytes, bytes, Buffer.alloc(100), (error) => {
        client.close();
        if (error === null) ran.resolve(performance.now());
        else ran.reject(error);
      });
      // Whoever waits for it learns of a failure; until then it is not to end the process.
      ran.promise.catch(() => {});
      parked.push(
        Promise.race([asked.promise, ran.promise])
          .then(() => asked.promise)
          .then((elevation) => ({ elevation, ran: ran.promise })),
      );
    }
  }
  return Promise.all(parked);
}
