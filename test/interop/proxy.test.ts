// `brevet guard --proxy` between programs that know nothing of Brevet: Python's grpcio on both sides, and Go's grpc-go behind with grpcurl before.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Stage } from "../../packages/cli/src/demo/stage.ts";
import { APPROVER, CALLER, REFUND } from "../scene.ts";
import { requirePeer, runPeer } from "./peer.ts";

const python = process.env.BREVET_PYTHON ?? "python3";
const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const cli = file("../../packages/cli/src/main.ts");
const echo = file("echo.py");
const image = file("../../examples/ledger/ledger.binpb");

/** A program that goes on, and the JSON line that it printed first. */
async function started(
  t: TestContext,
  command: string,
  words: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<Record<string, unknown>> {
  const child: ChildProcess = spawn(command, [...words], { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
  const said: string[] = [];
  const { stdout, stderr } = child;
  assert.ok(stdout !== null && stderr !== null);
  createInterface({ input: stderr }).on("line", (line) => said.push(line));
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 3000);
    await closed;
    clearTimeout(late);
  });
  const ended = once(child, "close").then(() => assert.fail(`${command} ended:\n${said.join("\n")}`));
  const [line] = (await Promise.race([once(createInterface({ input: stdout }), "line"), ended])) as [string];
  return JSON.parse(line) as Record<string, unknown>;
}

/** An authority with the example's policy, but that anybody may import; a proxy in front of `upstream`; and a caller's token. */
async function guarded(t: TestContext, upstream: string) {
  const data = await mkdtemp(join(tmpdir(), "brevet-proxy-"));
  const stage = new Stage({});
  t.after(async () => {
    await stage[Symbol.asyncDispose]();
    await rm(data, { recursive: true, force: true });
  });
  const policy = join(data, "policy.yaml");
  const text = await readFile(file("../../examples/ledger/policy.yaml"), "utf8");
  await writeFile(
    policy,
    text
      .replace("Import: { access: elevated, risk: high }", "Import: { access: authenticated }")
      .replace(/ {2}import-operator:[^]*?\n\n/, "")
      .replace(/tests:[^]*/, ""),
  );
  const authority = await stage.serve([
    "--dev",
    "--data",
    join(data, "authority"),
    "--policy",
    policy,
    "--descriptors",
    image,
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "off",
  ]);
  const { url, dev } = authority.ready as { url: string; dev: { code: string } };
  const environment = { BREVET_AUTHORITY: url, BREVET_DEV_CODE: dev.code };
  stage.setEnvironment(environment);
  const words = [
    "guard",
    "--output",
    "json",
    "--proxy",
    "127.0.0.1:0",
    "--upstream",
    upstream,
    "--audience",
    "payments-prod",
    "--as",
    "workload:ledger",
    "--admin-listen",
    "127.0.0.1:0",
  ];
  const { address, adminUrl } = (await started(t, process.execPath, [cli, ...words], environment)) as { address: string; adminUrl: string };
  while ((await fetch(`${adminUrl}/readyz`)).status !== 200) await new Promise((resolve) => setTimeout(resolve, 20));
  const signedIn = await fetch(`${url}/dev/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code: dev.code, principal: "user:sam@acme.test", groups: ["group:support"], audience: "payments-prod" }),
  });
  const { token } = (await signedIn.json()) as { token: string };
  return { stage, address, token };
}

test("grpcio on both sides: all four kinds, metadata, compression, errors, deadlines and cancellation come through", async (t) => {
  if (!requirePeer(t, python, ["-c", "import grpc"], "install grpcio, or set BREVET_PYTHON")) return;
  const service = (await started(t, python, [echo, "serve"])) as { address: string };
  const at = await guarded(t, service.address);
  const finished = await runPeer(python, [echo, "call", at.address], { TOKEN: at.token });
  assert.equal(finished.status, 0, finished.stderr);
  interface Outcome {
    readonly code: string;
    readonly message: string;
    readonly sizes: readonly number[];
    readonly [more: string]: unknown;
  }
  type Kinds = Record<"unary" | "watch" | "upload" | "chat", Outcome>;
  const answer = JSON.parse(finished.stdout) as {
    plain: Kinds;
    gzip: Kinds;
    failed: Kinds;
    cancelled: string;
    late: string;
    lateAfter: number;
  };
  const large = 6 << 20;
  const sizes = { unary: [large], watch: [3, 3, 3], upload: [large + 2], chat: [1, 2, large] };
  for (const way of ["plain", "gzip"] as const) {
    for (const [kind, expected] of Object.entries(sizes) as [keyof Kinds, number[]][]) {
      const { code, message, ...came } = answer[way][kind];
      assert.equal(code, "OK", `${way} ${kind}: ${message}`);
      assert.deepEqual(came, {
        sizes: expected,
        blobs: ["0001feff", "", Buffer.from("second").toString("hex")],
        leaked: "",
        left: "True",
        trailer: "end",
        blob: "00ff",
        windowEnds: false,
      });
    }
  }
  for (const { code, message, trailer } of Object.values(answer.failed))
    assert.deepEqual([code, message, trailer], ["FAILED_PRECONDITION", "grün: 100%", "end"]);
  assert.equal(answer.cancelled, "yes", "the service was told");
  assert.equal(answer.late, "DEADLINE_EXCEEDED");
  assert.ok(answer.lateAfter < 2.5, `${answer.lateAfter} s`);
});

test("grpc-go behind and grpcurl before: refused with words, run after the approval, streams and metadata unchanged", async (t) => {
  if (!requirePeer(t, "grpcurl", ["-version"], "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3")) return;
  if (!requirePeer(t, "go", ["version"], "install Go")) return;
  const bin = await mkdtemp(join(tmpdir(), "brevet-go-"));
  t.after(() => rm(bin, { recursive: true, force: true }));
  const built = await runPeer("sh", ["-c", 'cd "$1" && go build -buildvcs=false -o "$2" .', "sh", file("go"), join(bin, "service")]);
  assert.equal(built.status, 0, built.stderr);
  const service = (await started(t, join(bin, "service"), [])) as { address: string };
  const at = await guarded(t, service.address);
  const call = (method: string, body: string, ...more: string[]) => {
    const own = ["-plaintext", "-v", "-protoset", image, "-H", `authorization: Bearer ${at.token}`, "-max-time", "10", ...more];
    return runPeer("grpcurl", [...own, "-d", body, at.address, method]);
  };
  const refund = () =>
    call(REFUND, '{"charge":"c","amount_cents":1250,"currency":"EUR"}', "-H", "brevet-other: 1", "-H", "x-blob-bin: AP8");

  const refused = await refund();
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /Code: PermissionDenied[\s\S]*Message: ELEVATION_REQUIRED: .*brevet request payments\.v1\.Ledger\/Refund/);
  const asked = await at.stage.brevet(["request", REFUND, "--for", "5m", "--reason", "OPS-7 charged twice", ...CALLER, "--output", "json"]);
  const { id } = JSON.parse(asked.stdout) as { id: string };
  const approved = await at.stage.brevet(["approve", id, ...APPROVER]);
  assert.equal(approved.status, 0, approved.stderr);
  const run = await refund();
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stdout, /x-method: \/payments\.v1\.Ledger\/Refund/);
  assert.match(run.stdout, /x-leaked: *\n/, "no brevet- metadata reached the service");
  assert.match(run.stdout, /x-deadline: true/);
  assert.match(run.stdout, /x-blob-bin: AP8/);
  assert.match(run.stdout, /Response trailers received:[\s\S]*brevet-window-ends: \d+/);
  assert.match(run.stdout, /Response trailers received:[\s\S]*x-trailer-bin: AP8/);
  const tooMuch = await call(REFUND, '{"charge":"c","amount_cents":50001,"currency":"EUR"}');
  assert.match(tooMuch.stderr, /Message: CONDITION_NOT_MET: .*amount_cents <= 50000/);

  for (const [method, body, received] of [
    ["GetEntry", "{}", 1],
    ["ListEntries", "{}", 1],
    ["Import", "{}{}{}", 3],
    ["Reconcile", '{"id":"a"}{"id":"b"}', 2],
  ] as const) {
    const came = await call(`payments.v1.Ledger/${method}`, body);
    assert.equal(came.status, 0, `${method}: ${came.stderr}`);
    assert.match(came.stdout, new RegExp(`x-received: ${received}`), method);
    const failed = await call(`payments.v1.Ledger/${method}`, body, "-H", "x-fail: 1");
    assert.match(failed.stderr, /Code: FailedPrecondition[\s\S]*Message: grün: 100%/, method);
    assert.match(failed.stdout + failed.stderr, /x-trailer: failed/, method);
  }
  await at.stage.brevet(["revoke", id, "--comment", "enough", ...APPROVER]);
  assert.match((await refund()).stderr, /Message: ELEVATION_REVOKED: /);
});
