// The authority's machine has its clock set by hours, in both directions, while a window is open: with real processes, a real guard.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import type { Running } from "../../packages/cli/src/demo/stage.ts";
import { changeNothing, DRIFTS, type MovableClock, RIGHT, STEPS } from "../faults.ts";
import { ANA, approved, as } from "../people.ts";
import { Scene, told } from "../scene.ts";

const HOUR = 3_600_000;
const SAM = "user:sam@acme.test";
const CLEO = "user:cleo@acme.test";

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

/** The clock of the processes that are started with `environment`. */
async function skewedClock(t: TestContext): Promise<MovableClock & { readonly environment: NodeJS.ProcessEnv }> {
  const folder = await mkdtemp(join(tmpdir(), "brevet-skew-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "offset");
  const step = async (ms: number) => {
    // Renamed into place, so that nobody reads half of it.
    await writeFile(`${file}.new`, String(ms));
    await rename(`${file}.new`, file);
  };
  await step(0);
  const skew = new URL("skew.mjs", import.meta.url).href;
  return { step, environment: { NODE_OPTIONS: `--import ${skew}`, BREVET_SKEW_FILE: file } };
}

test("a clock set by two hours, forth and back, changes no verdict, and an authority started with it asks first", {
  timeout: 60_000,
}, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-skew-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const { step, environment } = await skewedClock(t);
  await using scene = await Scene.open({ authorityEnvironment: environment });
  const { authority, stage } = scene;
  const [{ id: open }, { id: over }] = await Promise.all([approved(scene, SAM, 10 * 60_000), approved(scene, CLEO, 1000)]);

  const verdicts = async () => {
    const [sam, cleo] = await Promise.all([refund(scene, SAM), refund(scene, CLEO)]);
    assert.equal(sam.status, 0, told(sam));
    return cleo;
  };
  const first = await verdicts();
  assert.equal(first.status, 0, told(first));
  const states = async () => {
    const reader = await as(scene, ANA);
    return Promise.all([open, over].map(async (id) => (await reader.get({ id })).elevation?.state));
  };
  const settled = [ElevationState.ACTIVE, ElevationState.EXPIRED];
  for (let i = 0; i < 100 && (await states())[1] !== ElevationState.EXPIRED; i += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));

  for (const stepMs of [2 * HOUR, -2 * HOUR]) {
    await t.test(`${stepMs / HOUR} h`, async () => {
      const from = authority.log.length;
      await step(stepMs);
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
    await step(-HOUR);
    stage.setEnvironment(environment);
    const config = join(folder, "serve.yaml");
    const words = `data: ${join(scene.data, "authority")}\nlisten: 127.0.0.1:0\nadmin-listen: off\ndev: true\n`;
    await writeFile(config, words.replace("off", '"off"'));
    await assert.rejects(stage.serve(["--config", config]), /which is (1 h|59 min \d+ s) before the .*--accept-clock/);
    await writeFile(config, `${words.replace("off", '"off"')}accept-clock: true\n`);
    const confirmed = await stage.serve(["--config", config]);
    assert.match(String(confirmed.ready.url), /^http/);
    assert.ok((await parted(confirmed, 0)) < -HOUR + 120_000, "the log's time goes on");
  });
});

test("the authority's clock drifts by hours, forth and back, and no verdict is wrong", { timeout: 60_000 }, async (t) => {
  const clock = await skewedClock(t);
  await using scene = await Scene.open({ authorityEnvironment: clock.environment });
  await changeNothing(scene, clock, [...DRIFTS, ...RIGHT]);
});

test("the guard's clock steps and drifts by hours, forth and back, and no verdict is wrong", { timeout: 60_000 }, async (t) => {
  const clock = await skewedClock(t);
  await using scene = await Scene.open({ ledgerEnvironment: clock.environment });
  await changeNothing(scene, clock, [...STEPS, ...DRIFTS]);
});
