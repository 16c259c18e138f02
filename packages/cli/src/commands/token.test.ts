// token inspect, as a pipe uses it: tokens in, one line of JSON each out.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
const GOOD = `${part({ alg: "EdDSA", typ: "JWT" })}.${part({ iss: "https://a.test", aud: "b", exp: 4_000_000_000 })}.${Buffer.alloc(64).toString("base64url")}`;

async function inspect(input: string): Promise<{ status: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [MAIN, "token", "inspect", "-"], { stdio: ["pipe", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  child.stdin.end(input);
  const [status] = (await once(child, "close")) as [number];
  return { status, stdout, stderr };
}

test("each line says what is wrong with its token, and one bad token is the status of all", async () => {
  const { status, stdout, stderr } = await inspect(`${GOOD}\nnot-a-token\n`);
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { ok: boolean; reason: string | null; problem: string | null });
  assert.equal(lines.length, 2);
  assert.deepEqual([lines[0]?.ok, lines[0]?.reason, lines[0]?.problem], [true, null, null]);
  assert.deepEqual([lines[1]?.ok, lines[1]?.reason], [false, "IDENTITY_MALFORMED"]);
  assert.match(lines[1]?.problem ?? "", /\w+ \w+/);
  assert.doesNotMatch(stdout, /not-a-token/);
  assert.equal(status, 1);
  assert.equal(stderr, "");
});

test("good tokens are status 0, and no token at all is misuse", async () => {
  assert.equal((await inspect(`${GOOD}\n`)).status, 0);
  const { status, stdout, stderr } = await inspect("");
  assert.equal(status, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /no token/i);
});
