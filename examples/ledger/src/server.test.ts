// The ledger and its client as processes, as a user runs them; without Brevet. With it: test/e2e at the root.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { selfSigned } from "./testdata/certificate.ts";

const folder = mkdtempSync(join(tmpdir(), "ledger-process-"));
const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const charges = fileURLToPath(new URL("../charges.csv", import.meta.url));

function run(
  script: "server" | "client",
  words: readonly string[],
): { child: ChildProcess; lines: string[]; errors: string[]; line: () => Promise<string> } {
  const child = spawn(process.execPath, [fileURLToPath(new URL(`./${script}.ts`, import.meta.url)), ...words], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.add(child);
  child.once("close", () => children.delete(child));
  const lines: string[] = [];
  const errors: string[] = [];
  assert.ok(child.stdout !== null && child.stderr !== null);
  const output = createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  createInterface({ input: child.stderr }).on("line", (line) => errors.push(line));
  const line = async () => {
    const [text] = await Promise.race([once(output, "line"), once(child, "close").then(() => assert.fail(errors.join("\n")))]);
    return String(text);
  };
  return { child, lines, errors, line };
}

async function finish(words: readonly string[]): Promise<{ exit: number | null; results: unknown[]; errors: string }> {
  const { child, lines, errors } = run("client", words);
  const [exit] = (await once(child, "close")) as [number | null];
  return { exit, results: lines.map((line) => JSON.parse(line) as unknown), errors: errors.join("\n") };
}

async function serve(words: readonly string[]): Promise<{ child: ChildProcess; address: string; ready: Record<string, unknown> }> {
  const { child, line } = run("server", ["--listen", "127.0.0.1:0", "--unguarded", ...words]);
  const ready = JSON.parse(await line()) as Record<string, unknown>;
  return { child, address: String(ready.address), ready };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  const closed = once(child, "close");
  child.kill(signal);
  return ((await closed) as [number | null])[0];
}

test("an acknowledged refund survives kill -9, and an orderly end exits with 0", async () => {
  const data = join(folder, "killed.db");
  const first = await serve(["--data", data, "--seed", charges]);
  assert.deepEqual({ ...first.ready, address: "" }, { address: "", tls: false, guarded: false, entries: 4 });
  const refunded = await finish(["refund", "--address", first.address, "--charge", "ent_1", "--amount", "1250", "--currency", "EUR"]);
  assert.equal(refunded.exit, 0, refunded.errors);
  await end(first.child, "SIGKILL");

  const second = await serve(["--data", data, "--seed", charges]);
  assert.equal(second.ready.entries, 5, "the refund is there, and the seed was not booked twice");
  const { entry } = refunded.results[0] as { entry: { id: string } };
  const read = await finish(["get", entry.id, "--address", second.address]);
  assert.deepEqual(read.results, [{ entry }]);
  assert.equal(await end(second.child, "SIGTERM"), 0);
});

test("the client does every call, and tells a refusal on both outputs", async () => {
  const { child, address } = await serve(["--data", join(folder, "calls.db")]);
  const at = ["--address", address];
  assert.deepEqual((await finish(["import", charges, ...at])).results, [{ imported: 4 }]);
  const statement = join(folder, "statement.csv");
  writeFileSync(statement, "id,amount_cents\nent_1,12500\nent_2,1\n");
  assert.deepEqual((await finish(["reconcile", statement, ...at])).results, [
    { id: "ent_1", matches: true },
    { id: "ent_2", difference: "the book has 4990, the statement 1" },
  ]);
  assert.deepEqual((await finish(["migrate", "--to", "chained", "--dry-run", ...at])).results, [{ rewritten: 4 }]);
  assert.equal((await finish(["list", "--account", "acme", ...at])).results.length, 2);
  const refused = await finish(["refund", "--charge", "ent_9", "--amount", "1", "--currency", "EUR", ...at]);
  assert.equal(refused.exit, 1);
  assert.equal(refused.errors, 'NOT_FOUND  "ent_9" is not in the book');
  assert.deepEqual(refused.results, [{ error: { code: 5, codeName: "NOT_FOUND", message: '"ent_9" is not in the book' } }]);
  assert.equal((await finish(["refund", "--charge", "ent_1", "--amount", "12.50", "--currency", "EUR", ...at])).exit, 2);
  const follow = run("client", ["follow", "--account", "acme", ...at]);
  await follow.line();
  assert.equal(await end(follow.child, "SIGINT"), 0);
  assert.equal(await end(child, "SIGTERM"), 0);
});

test("with a certificate the ledger speaks TLS; without one it refuses to listen beyond loopback", async () => {
  const { cert, key } = await selfSigned();
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key, { mode: 0o600 });
  const { child, address, ready } = await serve([
    "--data",
    join(folder, "tls.db"),
    "--tls-cert",
    files.cert,
    "--tls-key",
    files.key,
    "--seed",
    charges,
  ]);
  assert.equal(ready.tls, true);
  const read = await finish(["get", "ent_1", "--tls-ca", files.cert, "--address", address.replace("127.0.0.1", "localhost")]);
  assert.equal(read.exit, 0, read.errors);
  assert.equal((await finish(["get", "ent_1", "--address", address])).exit, 1);
  assert.equal(await end(child, "SIGTERM"), 0);

  const bare = run("server", ["--listen", "0.0.0.0:0", "--unguarded", "--data", join(folder, "bare.db")]);
  assert.deepEqual(await once(bare.child, "close"), [1, null]);
  assert.match(bare.errors.join("\n"), /plaintext on 0\.0\.0\.0 is refused/);
});
