// The keeper itself: what is durable when it says so.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type GuardServiceSyncResponse, GuardServiceSyncResponseSchema } from "@brevet/protocol/brevet/v1/guard";
import { TestClock } from "@brevet/testing";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { elevationOf } from "../testdata/facts.ts";
import { StateFolder } from "./folder.ts";
import { decodeState } from "./format.ts";
import { StateKeeper, type StateKeeperOptions } from "./state.ts";

const NOW = 1_700_000_000_000;
const owner = { audience: "payments-test", authority: "http://127.0.0.1:7400" };

function said(revision: number, message: GuardServiceSyncResponse["message"] = { case: undefined }): GuardServiceSyncResponse {
  return create(GuardServiceSyncResponseSchema, {
    position: { epoch: "epo_1", revision: BigInt(revision) },
    time: timestampFromMs(NOW),
    message,
  });
}

async function keeping(t: TestContext, options: Partial<StateKeeperOptions> & { readonly size?: number } = {}) {
  const folder = join(await mkdtemp(join(tmpdir(), "brevet-keeper-")), "state");
  t.after(() => rm(join(folder, ".."), { recursive: true, force: true }));
  const lines: string[] = [];
  const write = (_fields: object, message: string) => void lines.push(message);
  const elevations = Array.from({ length: options.size ?? 3 }, (_each, i) => elevationOf({ id: `elv_${i}` }, NOW, BigInt(i + 1)));
  const known = { time: true, revision: 10 };
  const keeper = new StateKeeper({
    folder,
    owner,
    instance: "gud_1",
    clock: new TestClock(),
    logger: { info: write, warn: write, error: write },
    source: {
      whole: () => ({
        head: [said(0)],
        elevations: () => elevations,
        tail: said(known.revision, { case: "caughtUp", value: { $typeName: "brevet.v1.CaughtUp", checkpoint: "" } }),
      }),
      heard: () => said(known.revision),
      mark: () => (known.time ? { boot: "boot-1", bootMs: 1, wallMs: 2, authorityMs: NOW, errorMs: 3 } : undefined),
      pin: () => "",
    },
    ...options,
  });
  t.after(() => keeper.close());
  const path = new StateFolder(folder, owner.audience).fileOf("gud_1");
  const records = async () => decodeState(await readFile(path), new StateFolder(folder, owner.audience).key);
  return { keeper, records, known, lines, folder, path };
}

test("each change is durable when it is said to be, also when the next comes at that very moment", async (t) => {
  const { keeper, records } = await keeping(t);
  keeper.renew();
  assert.equal(await keeper.saved(), true);
  const before = (await records()).length;
  for (let i = 0; i < 50; i += 1) {
    keeper.changed(said(11 + i));
    assert.equal(await keeper.saved(), true);
    assert.equal((await records()).length, before + i + 1);
  }
});

test("without the time nothing is kept, nothing is said to be safe, and it is tried again", async (t) => {
  const { keeper, known } = await keeping(t);
  known.time = false;
  keeper.renew();
  assert.equal(await keeper.saved(), false);
  known.time = true;
  keeper.tick();
  assert.equal(await keeper.saved(), true);
  assert.ok(keeper.read());
});

test("a state that is too large leaves out what has ended, and is given up where that is not enough", async (t) => {
  const { keeper, lines } = await keeping(t, { size: 400, maxBytes: 10_000 });
  keeper.renew();
  assert.equal(await keeper.saved(), true, "nothing older is left");
  assert.match(keeper.problem ?? "", /larger than 10000 bytes/);
  assert.equal(keeper.read(), undefined);
  assert.equal(lines.length, 1);
});

test("what is kept is read back", async (t) => {
  const { keeper } = await keeping(t);
  keeper.renew();
  keeper.changed(said(11));
  assert.equal(await keeper.saved(), true);
  const state = keeper.read();
  assert.equal(state?.mark.authorityMs, NOW);
  assert.deepEqual(
    state.messages.map(({ message }) => message.case),
    [undefined, "elevation", "elevation", "elevation", "caughtUp"],
  );
});
