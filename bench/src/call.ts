// What a guard adds to a unary call: server CPU, throughput and latency of a guarded and an unguarded server, in turn, in one run.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AuthorityAnswer, AuthorityQuestion } from "./authority.ts";
import type { LoadAnswer, LoadQuestion } from "./call-loader.ts";
import type { ServerAnswer, ServerQuestion } from "./call-server.ts";
import type { Effort } from "./effort.ts";
import { AUDIENCE, activate, METHOD } from "./elevated.ts";
import { markdown, shown, spread } from "./figures.ts";
import { Worker } from "./process.ts";

interface Round {
  readonly cpuMicros: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
}

const FORMS = ["unguarded", "unguarded again", "guarded", "jose on every call"] as const;

/** Measures. Answers with Markdown. */
export async function measureCall({ smoke }: Effort): Promise<string> {
  const rounds = smoke ? 1 : 7;
  const calls = smoke ? 200 : 20_000;
  const data = await mkdtemp(join(tmpdir(), "brevet-bench-"));
  try {
    await using authority = new Worker("./authority.ts");
    await using plain = new Worker("./call-server.ts");
    await using again = new Worker("./call-server.ts");
    await using guarded = new Worker("./call-server.ts");
    await using jose = new Worker("./call-server.ts");
    await using loader = new Worker("./call-loader.ts");
    const begin: AuthorityQuestion = { kind: "start", data: join(data, "authority") };
    const { url, issuer, requester, approver } = await authority.ask<AuthorityAnswer>(begin);
    const tokenOf = (principal: string, audience: string, groups: readonly string[] = []) =>
      authority.ask<string>({ kind: "token", principal, audience, groups } satisfies AuthorityQuestion);
    const identityFile = join(data, "guard.token");
    await writeFile(identityFile, await tokenOf("workload:bench", "brevet"), { mode: 0o600 });
    const caller = await tokenOf("user:sam@example.com", AUDIENCE, ["group:callers"]);
    await activate(url, requester, approver);
    const jwks = await (await fetch(`${issuer}/jwks.json`)).text();
    const servers = { unguarded: plain, "unguarded again": again, guarded, "jose on every call": jose };
    const addresses: Record<string, string> = {};
    for (const form of FORMS) {
      const question: ServerQuestion = {
        kind: "start",
        form: form === "guarded" ? "guarded" : form === "jose on every call" ? "jose" : "plain",
        authority: url,
        identityFile,
        jwks,
      };
      addresses[form] = (await servers[form].ask<ServerAnswer>(question)).address;
    }
    const load = (address: string, count: number, inFlight: number) =>
      loader.ask<LoadAnswer>({ address, method: METHOD, token: caller, calls: count, inFlight } satisfies LoadQuestion);
    const measured: Record<string, Round[]> = {};
    for (let round = -1; round < rounds; round += 1) {
      for (const form of FORMS) {
        const server = servers[form];
        const before = (await server.ask<ServerAnswer>({ kind: "cpu" })).cpuMicros;
        const { seconds } = await load(addresses[form] ?? "", calls, 64);
        const after = (await server.ask<ServerAnswer>({ kind: "cpu" })).cpuMicros;
        const { latencies } = await load(addresses[form] ?? "", Math.ceil(calls / 10), 1);
        if (round < 0) continue; // warm-up
        (measured[form] ??= []).push({
          cpuMicros: (after - before) / calls,
          perSecond: calls / seconds,
          p50: latencies.p50,
          p99: latencies.p99,
        });
      }
    }
    const of = (form: string, pick: (round: Round) => number) => (measured[form] ?? []).map(pick);
    const base = of("unguarded", (round) => round.cpuMicros);
    const rows = FORMS.map((form) => {
      const cpu = of(form, (round) => round.cpuMicros);
      return [
        form,
        shown(spread(cpu)),
        shown(spread(cpu.map((value, i) => value - (base[i] ?? Number.NaN)))),
        shown(spread(cpu.map((value, i) => value / (base[i] ?? Number.NaN))), 3),
        shown(spread(of(form, (round) => round.perSecond)), 0),
        shown(spread(of(form, (round) => round.p50 * 1000)), 0),
        shown(spread(of(form, (round) => round.p99 * 1000)), 0),
      ];
    });
    return markdown([
      [
        "server",
        "CPU, µs a call",
        "more than unguarded, µs",
        "ratio",
        "calls a second, 64 in flight",
        "p50 µs, 1 in flight",
        "p99 µs, 1 in flight",
      ],
      ...rows,
    ]);
  } finally {
    await rm(data, { recursive: true, force: true });
  }
}
