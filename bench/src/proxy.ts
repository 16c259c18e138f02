// What the sidecar proxy adds to a call: CPU of the proxy, throughput and latency, beside the direct call and nginx's, in turn, in one run.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AuthorityAnswer, AuthorityQuestion } from "./authority.ts";
import type { LoadAnswer, LoadQuestion } from "./call-loader.ts";
import type { ServerAnswer, ServerQuestion } from "./call-server.ts";
import type { Effort } from "./effort.ts";
import { AUDIENCE, activate, METHOD } from "./elevated.ts";
import { markdown, shown, spread } from "./figures.ts";
import { hasNginx, type Nginx, startNginx } from "./nginx.ts";
import { Worker } from "./process.ts";
import type { ProxyAnswer, ProxyQuestion } from "./proxy-server.ts";

interface Form {
  readonly name: string;
  readonly address: string;
  /** CPU of what stands between, microseconds so far. */
  readonly cpuMicros: () => Promise<number>;
}

interface Round {
  readonly cpuMicros: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly alone: number;
}

/** Measures. Answers with Markdown. */
export async function measureProxy({ smoke }: Effort): Promise<string> {
  const rounds = smoke ? 1 : 7;
  const calls = smoke ? 200 : 10_000;
  const data = await mkdtemp(join(tmpdir(), "brevet-bench-"));
  await using closing = new AsyncDisposableStack();
  closing.defer(() => rm(data, { recursive: true, force: true }));
  const authority = closing.use(new Worker("./authority.ts"));
  const server = closing.use(new Worker("./call-server.ts"));
  const proxied = closing.use(new Worker("./proxy-server.ts"));
  const loader = closing.use(new Worker("./call-loader.ts"));
  const begin: AuthorityQuestion = { kind: "start", data: join(data, "authority") };
  const { url, requester, approver } = await authority.ask<AuthorityAnswer>(begin);
  const tokenOf = (principal: string, audience: string, groups: readonly string[] = []) =>
    authority.ask<string>({ kind: "token", principal, audience, groups } satisfies AuthorityQuestion);
  const identityFile = join(data, "guard.token");
  await writeFile(identityFile, await tokenOf("workload:bench", "brevet"), { mode: 0o600 });
  const token = await tokenOf("user:sam@example.com", AUDIENCE, ["group:callers"]);
  await activate(url, requester, approver);

  const plain: ServerQuestion = { kind: "start", form: "plain", authority: url, identityFile, jwks: "" };
  const upstream = (await server.ask<ServerAnswer>(plain)).address;
  const { address } = await proxied.ask<ProxyAnswer>({ kind: "start", upstream, authority: url, identityFile } satisfies ProxyQuestion);
  const forms: Form[] = [
    { name: "direct", address: upstream, cpuMicros: () => Promise.resolve(0) },
    { name: "brevet guard --proxy", address, cpuMicros: async () => (await proxied.ask<ProxyAnswer>({ kind: "cpu" })).cpuMicros },
  ];
  if (hasNginx()) {
    const nginx: Nginx = closing.use(await startNginx(upstream));
    forms.push({ name: "nginx grpc_pass", address: nginx.address, cpuMicros: () => Promise.resolve(nginx.cpuMicros()) });
  }

  const measured = new Map<string, Round[]>(forms.map(({ name }) => [name, []]));
  for (let round = -1; round < rounds; round += 1) {
    for (const form of forms) {
      const load = (count: number, inFlight: number) =>
        loader.ask<LoadAnswer>({ address: form.address, method: METHOD, token, calls: count, inFlight } satisfies LoadQuestion);
      const before = await form.cpuMicros();
      const { seconds, latencies } = await load(calls, 64);
      const after = await form.cpuMicros();
      const one = await load(Math.ceil(calls / 10), 1);
      if (round < 0) continue; // warm-up
      const { p50, p99 } = latencies;
      measured
        .get(form.name)
        ?.push({ cpuMicros: (after - before) / calls, perSecond: calls / seconds, p50, p99, alone: one.latencies.p50 });
    }
  }
  const rows = forms.map(({ name }) => {
    const of = (pick: (round: Round) => number) => shown(spread((measured.get(name) ?? []).map(pick)), 1);
    return [
      name,
      name === "direct" ? "–" : of((round) => round.cpuMicros),
      of((round) => round.perSecond),
      of((round) => round.p50),
      of((round) => round.p99),
      of((round) => round.alone * 1000),
    ];
  });
  const head = ["", "CPU of what stands between, µs a call", "calls a second, 64 in flight", "p50 ms", "p99 ms", "p50 µs, 1 in flight"];
  const absent = forms.length < 3 ? "\n\nnginx is not installed here: its row is missing." : "";
  return markdown([head, ...rows]) + absent;
}
