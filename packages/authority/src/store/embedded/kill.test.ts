// An acknowledged write survives kill -9, whenever it comes. BREVET_KILL_ROUNDS sets how many times a writer is killed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { newId } from "@brevet/protocol";
import { LogEntrySchema } from "@brevet/protocol/brevet/v1/log";
import { fromBinary } from "@bufbuild/protobuf";
import { evolve, nextDueMs } from "../../elevation/evolve.ts";
import { Log } from "../../log/log.ts";
import { compareProjections, recordsOf } from "../../log/rebuild.ts";
import { verifyLog } from "../../log/verify.ts";
import { appendOnce } from "../testdata/appender.ts";
import { openEmbeddedStore } from "./embedded.ts";

const ROUNDS = Number(process.env["BREVET_KILL_ROUNDS"] ?? 10);
const APPENDER = join(import.meta.dirname, "../testdata/appender.ts");
const fold = { evolve, nextDueMs };

/** What the killed processes said, over all rounds. */
class Heard {
  readonly sent = new Set<string>();
  readonly acknowledged = new Map<string, bigint>();
  checkpoint: { checkpoint: string; verifierKey: string } | undefined;

  line(line: string): void {
    const [what, first = "", second = ""] = line.split(" ");
    if (what === "sent") this.sent.add(first);
    if (what === "ack") this.acknowledged.set(first, BigInt(second));
    if (what === "checkpoint") this.checkpoint = { verifierKey: first, checkpoint: Buffer.from(second, "base64").toString() };
  }

  get unanswered(): string[] {
    return [...this.sent].filter((id) => !this.acknowledged.has(id));
  }
}

/** Lets a process append and kills it: during its start, or once it was answered so many times, and a random moment later. */
async function killWriter(directory: string, round: number, heard: Heard): Promise<void> {
  const wanted = round % 4 === 0 ? 0 : randomInt(1, 200);
  const callers = [1, 4, 32][round % 3] ?? 1;
  const child = spawn(process.execPath, [APPENDER, directory, String(callers), `round-${round}`, "100000", ...heard.unanswered], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  // Only whole lines count as said.
  let rest = "";
  let answers = 0;
  const enough = Promise.withResolvers<void>();
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      heard.line(line);
      if (line.startsWith("ack ")) answers += 1;
    }
    if (answers >= wanted) enough.resolve();
  });
  const closed = once(child.stdout, "close");
  if (wanted === 0) await delay(randomInt(0, 300));
  else await Promise.race([enough.promise, exited]);
  await delay(randomInt(0, 8));
  child.kill("SIGKILL");
  const [, signal] = (await exited) as [number | null, string | null];
  await closed;
  assert.equal(signal, "SIGKILL", "the writer ended by itself");
}

async function check(log: Log, heard: Heard): Promise<void> {
  const revisions = new Map<string, bigint>();
  for await (const record of recordsOf(log.store)) {
    const { requestId, revision } = fromBinary(LogEntrySchema, record.entry);
    if (requestId === "") continue;
    assert.ok(!revisions.has(requestId), `${requestId} is in the log twice`);
    revisions.set(requestId, revision);
  }
  for (const [id, revision] of heard.acknowledged) assert.equal(revisions.get(id), revision, `${id} was acknowledged at ${revision}`);
  for (const id of revisions.keys()) assert.ok(heard.sent.has(id), `${id} was never sent`);
  const verdict = await verifyLog(recordsOf(log.store), heard.checkpoint);
  assert.deepEqual(verdict.problems, []);
  assert.equal(verdict.entries, log.position().revision);
  assert.deepEqual(await compareProjections(log.store, fold), []);
}

test(`a writer killed ${ROUNDS} times loses nothing that it acknowledged and doubles nothing`, async (context) => {
  const directory = await mkdtemp(join(tmpdir(), "brevet-kill-"));
  try {
    const heard = new Heard();
    for (let round = 0; round < ROUNDS; round += 1) {
      await killWriter(directory, round, heard);
      await using log = await Log.open({ store: await openEmbeddedStore(directory), newId, fold });
      await check(log, heard);
    }
    await using log = await Log.open({ store: await openEmbeddedStore(directory), newId, fold });
    const unanswered = heard.unanswered;
    for (const id of unanswered) heard.acknowledged.set(id, await appendOnce(log, id));
    await check(log, heard);
    assert.ok(ROUNDS < 2 || heard.acknowledged.size > 0, "no round got as far as an answer");
    context.diagnostic(`${heard.acknowledged.size} acknowledged, ${unanswered.length} of them only when asked again`);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a second process is refused, told who holds the directory, and let in once that one is killed", async () => {
  const directory = await mkdtemp(join(tmpdir(), "brevet-kill-"));
  const child = spawn(process.execPath, [APPENDER, directory, "1", "held", "100000"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const exited = once(child, "exit");
    const lines = createInterface(child.stdout);
    await once(lines, "line");
    await assert.rejects(openEmbeddedStore(directory), { code: "locked", message: new RegExp(`locked by pid ${child.pid} since 2`) });
    child.kill("SIGKILL");
    await exited;
    await (await openEmbeddedStore(directory))[Symbol.asyncDispose]();
  } finally {
    child.kill("SIGKILL");
    await rm(directory, { recursive: true });
  }
});
