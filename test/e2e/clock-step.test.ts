// The authority's machine has its clock set by hours, in both directions, while a window is open: with real processes, a real guard.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { newId } from "@brevet/protocol";
import { ElevationService, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { Running } from "../../packages/cli/src/demo/stage.ts";
import { REFUND, Scene, told } from "../scene.ts";

const HOUR = 3_600_000;
const SAM = "user:sam@acme.test";
const CLEO = "user:cleo@acme.test";
const SUPPORT = ["group:support"];

async function as(scene: Scene, principal: string, groups: readonly string[] = []) {
  const token = await scene.token(principal, "brevet", groups);
  const transport = createGrpcTransport({
    baseUrl: scene.url,
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  return createClient(ElevationService, transport);
}

/** Asks for a refund's elevation, and has it approved. */
async function approved(scene: Scene, principal: string, durationMs: number): Promise<string> {
  const ask = { requestId: newId("req"), audience: "payments-prod", method: REFUND, reason: "OPS-1", duration: durationFromMs(durationMs) };
  const id = (await (await as(scene, principal, SUPPORT)).request(ask)).elevation?.id ?? "";
  await (await as(scene, "user:ana@acme.test")).approve({ requestId: newId("req"), id });
  return id;
}

function refund(scene: Scene, principal: string) {
  const words = ["refund", "--charge", scene.charge, "--amount", "100", "--currency", "EUR", "--address", scene.address];
  return scene.stage.caller([...words, "--as", principal, "--groups", "group:support"]);
}

/** Waits until the authority says how far its machine's clock is from its own time. */
async function parted({ log }: Running, from: number): Promise<number> {
  for (let i = 0; i < 250; i += 1) {
    const line = log.slice(from).find((text) => text.includes('"aheadMs"'));
    if (line !== undefined) return (JSON.parse(line) as { aheadMs: number }).aheadMs;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`the authority does not notice its clock:\n${log.join("\n")}`);
}

test("a clock set by two hours, forth and back, changes no verdict, and an authority started with it asks first", {
  timeout: 60_000,
}, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-skew-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "offset");
  const skew = (ms: number) => writeFile(file, String(ms));
  await skew(0);
  const skewed = { NODE_OPTIONS: `--import ${new URL("skew.mjs", import.meta.url).href}`, BREVET_SKEW_FILE: file };
  await using scene = await Scene.open({ authorityEnvironment: skewed });
  const { authority, stage } = scene;
  const [open, over] = await Promise.all([approved(scene, SAM, 10 * 60_000), approved(scene, CLEO, 1000)]);

  const verdicts = async () => {
    const [sam, cleo] = await Promise.all([refund(scene, SAM), refund(scene, CLEO)]);
    assert.equal(sam.status, 0, told(sam));
    return cleo;
  };
  const first = await verdicts();
  assert.equal(first.status, 0, told(first));
  const states = async () => {
    const reader = await as(scene, "user:ana@acme.test");
    return Promise.all([open, over].map(async (id) => (await reader.get({ id })).elevation?.state));
  };
  const settled = [ElevationState.ACTIVE, ElevationState.EXPIRED];
  for (let i = 0; i < 100 && (await states())[1] !== ElevationState.EXPIRED; i += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));

  for (const stepMs of [2 * HOUR, -2 * HOUR]) {
    await t.test(`${stepMs / HOUR} h`, async () => {
      const from = authority.log.length;
      await skew(stepMs);
      // It looks once a second, when somebody asks for the time.
      await new Promise((resolve) => setTimeout(resolve, 1050));
      await states();
      assert.ok(Math.abs((await parted(authority, from)) - stepMs) < 1000, "the step was real");
      const refused = await verdicts();
      assert.match(refused.stderr, /ELEVATION_EXPIRED: /, told(refused));
      assert.deepEqual(await states(), settled);
    });
  }

  await t.test("a start with the clock an hour back", async () => {
    authority.process.kill("SIGKILL");
    await once(authority.process, "close");
    await skew(-HOUR);
    stage.setEnvironment(skewed);
    const config = join(folder, "serve.yaml");
    const words = `data: ${join(scene.data, "authority")}\nlisten: 127.0.0.1:0\nadmin-listen: off\ndev: true\n`;
    await writeFile(config, words.replace("off", '"off"'));
    await assert.rejects(stage.serve(["--config", config]), /which is (1 h|59 min \d+ s) before the log's last entry.*--accept-clock/);
    await writeFile(config, `${words.replace("off", '"off"')}accept-clock: true\n`);
    const confirmed = await stage.serve(["--config", config]);
    assert.match(String(confirmed.ready.url), /^http/);
    assert.ok((await parted(confirmed, 0)) < -HOUR + 120_000, "the log's time goes on");
  });
});
