import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startTestAuthority } from "@brevet/testing";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));
const POLICY = `
apiVersion: brevet.dev/v1
audience: payments-test
groups: { "group:platform": ["user:kim@acme.test"] }
guards: ["workload:guard"]
roles: { admin: ["group:platform"] }
apply: { quorum: 0 }
services:
  test.v1.Ledger: { default: authenticated }
`;

function brevet(...words: string[]): ChildProcess {
  const environment = { ...process.env };
  for (const name of Object.keys(environment)) if (name.startsWith("BREVET_")) delete environment[name];
  return spawn(process.execPath, [MAIN, "guard", ...words], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
}

async function finished(child: ChildProcess): Promise<{ status: number | null; stderr: string }> {
  let stderr = "";
  child.stderr?.on("data", (part: Buffer) => (stderr += part.toString()));
  const [status] = (await once(child, "close")) as [number | null];
  return { status, stderr };
}

test("it says where it listens, is ready once it has the policy, refuses in front of the service, and drains on SIGTERM", async () => {
  await using authority = await startTestAuthority({ policy: POLICY });
  const folder = await mkdtemp(join(tmpdir(), "brevet-guard-"));
  const tokenFile = join(folder, "token");
  await writeFile(tokenFile, `${await authority.token("workload:guard", { audience: "brevet" })}\n`);
  const where = ["--proxy", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--audience", "payments-test", "--admin-listen", "127.0.0.1:0"];
  const child = brevet(...where, "--authority", authority.url, "--token-file", tokenFile, "--output", "json");
  const end = finished(child);
  try {
    assert.ok(child.stdout);
    const [line] = (await Promise.race([
      once(createInterface({ input: child.stdout }), "line"),
      end.then(({ stderr }) => assert.fail(stderr)),
    ])) as [string];
    const listening = JSON.parse(line) as { event: string; address: string; adminUrl: string; audience: string };
    assert.equal(listening.event, "listening");
    assert.equal(listening.audience, "payments-test");
    assert.equal((await fetch(`${listening.adminUrl}/healthz`)).status, 200);
    for (;;) {
      const ready = await fetch(`${listening.adminUrl}/readyz`);
      const document = (await ready.json()) as { ready: boolean; policyVersion: string };
      assert.equal(ready.status, document.ready ? 200 : 503);
      if (document.ready) break;
    }
    const session = connect(`http://${listening.address}`);
    const stream = session.request({
      ":method": "POST",
      ":path": "/test.v1.Ledger/Get",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.end();
    const [headers] = (await once(stream, "response")) as [Record<string, string>];
    assert.match(decodeURI(headers["grpc-message"] ?? ""), /^IDENTITY_MISSING/);
    session.close();
    child.kill("SIGTERM");
    assert.equal((await end).status, 0, (await end).stderr);
  } finally {
    child.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
});

test("what cannot work is told before anything is started", async () => {
  const needed = ["--proxy", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--audience", "a"];
  const dev = ["--as", "workload:a"];
  const token = ["--token-file", "/nowhere/token"];
  const cases: readonly (readonly [words: readonly string[], status: number, said: RegExp])[] = [
    [needed.slice(2), 2, /--proxy/],
    [needed, 2, /needs an identity of its own/],
    [[...needed, ...token], 3, /token file \/nowhere\/token cannot be read/],
    [[...needed, ...dev, "--authority", "http://acme.test"], 2, /plaintext/],
    [[...needed, "--cert", "/nowhere/cert"], 2, /--cert and --key go together/],
    [[...needed, ...dev, "--tls-cert", "/nowhere/cert"], 2, /--tls-cert and --tls-key go together/],
    [[...needed, ...dev, "--drain", "soon"], 2, /not a duration/],
    [
      [...needed, ...dev, "--log-level", "loud"],
      2,
      /--log-level loud: there is no such level[\s\S]*trace, debug, info, warn, error, fatal, silent/,
    ],
  ];
  const outcomes = await Promise.all(cases.map(([words]) => finished(brevet(...words))));
  for (const [i, [words, status, said]] of cases.entries()) {
    assert.equal(outcomes[i]?.status, status, words.join(" "));
    assert.match(outcomes[i]?.stderr ?? "", said);
  }
});

test("a port that is taken is told with the option that chooses another", async () => {
  await using authority = await startTestAuthority({ policy: POLICY });
  const taken = new URL(authority.url).host;
  const folder = await mkdtemp(join(tmpdir(), "brevet-guard-"));
  const token = join(folder, "token");
  await writeFile(token, await authority.token("workload:guard", { audience: "brevet" }));
  const common = ["--upstream", "127.0.0.1:1", "--audience", "payments-test", "--authority", authority.url, "--token-file", token];
  try {
    for (const [option, where] of [
      ["--proxy", ["--proxy", taken]],
      ["--admin-listen", ["--proxy", "127.0.0.1:0", "--admin-listen", taken]],
    ] as const) {
      const { status, stderr } = await finished(brevet(...common, ...where));
      assert.equal(status, 1, stderr);
      assert.match(stderr, new RegExp(`Something listens already at ${taken}[\\s\\S]*Choose another address: ${option}`));
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a proxy in front of itself, and a state folder that is none, are misuse and named as what they are", async () => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-guard-"));
  const token = join(folder, "token");
  await writeFile(token, "x");
  const common = ["--audience", "a", "--token-file", token, "--proxy", "127.0.0.1:7"];
  try {
    const itself = await finished(brevet(...common, "--upstream", "localhost:7"));
    assert.equal(itself.status, 2, itself.stderr);
    assert.match(itself.stderr, /upstream localhost:7 is where the proxy itself listens/);
    const state = await finished(brevet(...common, "--upstream", "127.0.0.1:1", "--state", token));
    assert.equal(state.status, 2, state.stderr);
    assert.ok(state.stderr.startsWith(`the state folder ${token} cannot be used`), state.stderr);
    assert.match(state.stderr, /--state/);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("an address where plaintext may not go is misuse, and the way round it is named", async () => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-guard-"));
  await writeFile(join(folder, "token"), "x");
  try {
    const common = ["--audience", "a", "--token-file", join(folder, "token")];
    for (const where of [
      ["--proxy", "0.0.0.0:0", "--upstream", "127.0.0.1:1"],
      ["--proxy", "127.0.0.1:0", "--upstream", "acme.test:1"],
    ]) {
      const { status, stderr } = await finished(brevet(...where, ...common));
      assert.equal(status, 2, stderr);
      assert.match(stderr, /plaintext on .* is refused[\s\S]*--insecure-/);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
