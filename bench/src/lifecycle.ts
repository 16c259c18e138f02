// How many steps of elevations' lives an authority records a second, each durable before it is answered, beside two rates of the same
// machine in the same run: the API's own calls that write nothing, and the bare store's durable commits.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { newId } from "@brevet/protocol";
import type { AuthorityAnswer, AuthorityQuestion } from "./authority.ts";
import type { Effort } from "./effort.ts";
import { AUDIENCE, clientFor, METHOD } from "./elevated.ts";
import { markdown, percentile, shown, spread } from "./figures.ts";
import { Worker } from "./process.ts";

/** Measures. Answers with Markdown. */
export async function measureLifecycle({ smoke }: Effort): Promise<string> {
  const rounds = smoke ? 1 : 5;
  const seconds = smoke ? 0.2 : 2;
  const data = await mkdtemp(join(tmpdir(), "brevet-bench-"));
  try {
    await using worker = new Worker("./authority.ts");
    const { url, requester, approver } = await worker.ask<AuthorityAnswer>({
      kind: "start",
      data: join(data, "authority"),
    } satisfies AuthorityQuestion);
    const asking = clientFor(url, requester);
    const approving = clientFor(url, approver);
    const life = async (): Promise<number> => {
      const { elevation } = await asking.request({ requestId: newId("req"), audience: AUDIENCE, method: METHOD, run: newId("req") });
      const id = elevation?.id ?? "";
      await approving.approve({ requestId: newId("req"), id });
      await asking.start({ requestId: newId("req"), id });
      await asking.end({ requestId: newId("req"), id, all: true });
      return 4;
    };
    const empty = async (): Promise<number> => {
      await asking.list({ filter: { ids: ["elv_00000000000000000000000000"] } });
      return 1;
    };
    const rows: string[][] = [
      [
        "callers",
        "steps a second",
        "step p50 ms",
        "step p99 ms",
        "calls that write nothing, a second",
        "ratio",
        "bare store: single durable commits a second",
      ],
    ];
    for (const callers of [1, 16, 64]) {
      const steps: number[] = [];
      const reads: number[] = [];
      const bare: number[] = [];
      const p50: number[] = [];
      const p99: number[] = [];
      for (let round = -1; round < rounds; round += 1) {
        const wrote = await rate(life, callers, seconds);
        const read = await rate(empty, callers, seconds);
        const raw = bareCommits(join(data, "bare.db"), seconds / 2);
        if (round < 0) continue; // warm-up
        steps.push(wrote.perSecond);
        reads.push(read.perSecond);
        bare.push(raw);
        p50.push(percentile(wrote.latencies, 0.5) / 4);
        p99.push(percentile(wrote.latencies, 0.99) / 4);
      }
      rows.push([
        String(callers),
        shown(spread(steps), 0),
        shown(spread(p50), 2),
        shown(spread(p99), 2),
        shown(spread(reads), 0),
        shown(spread(steps.map((value, i) => value / (reads[i] ?? Number.NaN))), 2),
        shown(spread(bare), 0),
      ]);
    }
    return markdown(rows);
  } finally {
    await rm(data, { recursive: true, force: true });
  }
}

async function rate(work: () => Promise<number>, callers: number, seconds: number): Promise<{ perSecond: number; latencies: number[] }> {
  const latencies: number[] = [];
  let done = 0;
  const began = performance.now();
  const end = began + seconds * 1000;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() < end) {
        const at = performance.now();
        // Read behind the wait: the others add to it meanwhile.
        const steps = await work();
        done += steps;
        latencies.push(performance.now() - at);
      }
    }),
  );
  return { perSecond: done / ((performance.now() - began) / 1000), latencies: latencies.toSorted((a, b) => a - b) };
}

/** One row a transaction, each synced: what the disk and SQLite give. */
function bareCommits(file: string, seconds: number): number {
  const database = new DatabaseSync(file);
  try {
    database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS entries (revision INTEGER PRIMARY KEY, leaf BLOB)",
    );
    const insert = database.prepare("INSERT INTO entries (leaf) VALUES (?)");
    const leaf = new Uint8Array(300);
    const end = performance.now() + seconds * 1000;
    let commits = 0;
    while (performance.now() < end) {
      insert.run(leaf);
      commits += 1;
    }
    return commits / seconds;
  } finally {
    database.close();
  }
}
