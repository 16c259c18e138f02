// A log that is no successor of the one that a guard knows: refused, and nothing of it taken in.
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { formatVerifier, signCheckpoint } from "@brevet/protocol";
import { guard } from "../grpc/grpc.ts";
import { GUARD_TOKEN } from "../testdata/authority.ts";
import { AUDIENCE, EPOCH } from "../testdata/facts.ts";
import { scene, type TestScene } from "../testdata/scene.ts";
import { HeldCheckpoint } from "./checkpoint.ts";

const keys = generateKeyPairSync("ed25519");
const strangers = generateKeyPairSync("ed25519");
const root = (byte: number) => new Uint8Array(32).fill(byte);
const noteOf = (size: bigint, byte = 1, epoch = EPOCH, key: KeyObject = keys.privateKey) =>
  signCheckpoint({ origin: `brevet/${epoch}`, size, root: root(byte) }, key);
const verifierOf = (epoch: string, key = keys.privateKey) => formatVerifier(`brevet/${epoch}`, createPublicKey(key));

function held(size = 10n): HeldCheckpoint {
  const checkpoint = new HeldCheckpoint();
  checkpoint.hold(noteOf(size));
  assert.equal(checkpoint.trust(verifierOf(EPOCH)), true);
  return checkpoint;
}

test("a successor is as long or longer, of the same entries, and signed with the same key", () => {
  const known = { epoch: EPOCH, revision: 12n };
  const checkpoint = held();
  assert.equal(checkpoint.problemOf(noteOf(12n), EPOCH, known), undefined);
  assert.equal(checkpoint.problemOf(noteOf(900n, 7), EPOCH, known), undefined);
  for (const [note, problem] of [
    [noteOf(11n), /has 11 entries, and this guard knows 12/],
    [noteOf(12n, 1, EPOCH, strangers.privateKey), /not signed with the key/],
    [noteOf(12n, 1, "epo_2"), /is of brevet\/epo_2/],
    ["", /no checkpoint any more/],
    ["garbage", /cannot be read/],
    [noteOf(12n).replace("\n12\n", "\n13\n"), /not signed/],
  ] as const)
    assert.match(checkpoint.problemOf(note, EPOCH, known) ?? "", problem, note);
  assert.match(checkpoint.problemOf(noteOf(9n), EPOCH, { epoch: EPOCH, revision: 3n }) ?? "", /has 9 entries, and had 10/);
  assert.match(checkpoint.problemOf(noteOf(10n, 2), EPOCH, { epoch: EPOCH, revision: 10n }) ?? "", /not those that this guard has seen/);
});

test("a new epoch begins anew, with a key of its own", () => {
  const checkpoint = held();
  const known = { epoch: EPOCH, revision: 12n };
  const restored = noteOf(3n, 9, "epo_2", strangers.privateKey);
  assert.equal(checkpoint.problemOf(restored, "epo_2", known), undefined);
  checkpoint.hold(restored);
  assert.equal(checkpoint.pin, "");
  assert.equal(checkpoint.trust(verifierOf("epo_2")), false, "not the key of this note");
  assert.equal(checkpoint.trust(verifierOf("epo_2", strangers.privateKey)), true);
});

test("the root is known of the checkpoint's own position only", () => {
  const checkpoint = held(10n);
  assert.deepEqual(checkpoint.rootAt({ epoch: EPOCH, revision: 10n }), root(1));
  assert.equal(checkpoint.rootAt({ epoch: EPOCH, revision: 11n }), undefined);
  assert.equal(checkpoint.rootAt({ epoch: "epo_2", revision: 10n }), undefined);
  assert.equal(new HeldCheckpoint().rootAt({ epoch: "", revision: 0n }), undefined);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await wait(5);
}

/** A guard that has seen and trusts a checkpoint of the authority. */
async function trusting(state?: string): Promise<TestScene> {
  const at = await scene(state === undefined ? {} : { guard: { state } });
  at.authority.verifierKey = verifierOf(EPOCH);
  at.authority.checkpoint = noteOf(at.authority.revision);
  at.authority.drop();
  await until(() => at.authority.hellos.length > 1);
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  at.authority.checkpoint = noteOf(at.authority.revision);
  at.authority.drop();
  await until(() => at.authority.hellos.some(({ checkpoint }) => checkpoint !== ""));
  await until(() => at.authority.checkpointsAsked > 0);
  at.authority.elevate({ id: "elv_b", principal: "user:bo@acme.test" });
  await at.authority.settled();
  // The key that was asked for has come by now.
  await wait(100);
  return at;
}

for (const [what, change] of Object.entries({
  "signed by another": (at: TestScene) => {
    at.authority.checkpoint = noteOf(at.authority.revision, 1, EPOCH, strangers.privateKey);
  },
  "that was cut": (at: TestScene) => {
    at.authority.checkpoint = noteOf(at.authority.revision - 2n);
  },
  "that does not have the guard's position": (at: TestScene) => {
    at.authority.revision -= 2n;
    at.authority.checkpoint = noteOf(at.authority.revision);
  },
})) {
  test(`a log ${what} is refused: what the guard knew goes on, nothing new counts, and everybody can see why`, async () => {
    await using at = await trusting();
    const { revision } = at.authority;
    change(at);
    const eve = at.authority.make({ id: "elv_eve", principal: "user:eve@acme.test" });
    at.authority.elevations.set("elv_eve", eve);
    const knew = at.guard.status();
    at.authority.drop();
    await until(() => /no successor/.test(at.guard.status().problem ?? ""));
    const status = at.guard.status();
    assert.deepEqual([status.connected, status.revision, status.elevations], [false, knew.revision, 2]);
    assert.ok(status.revision <= revision);
    assert.match(status.problem ?? "", /lost entries or was replaced.*start the guard again without its state/);
    assert.equal((await at.service.call("Refund", { authorization: await at.as() })).code, 0);
    assert.equal(
      (await at.service.call("Refund", { authorization: await at.as("user:eve@acme.test") })).status.reason,
      "ELEVATION_REQUIRED",
    );
    assert.equal(at.lines.filter(({ message }) => /log is refused/.test(String(message))).length, 1);
  });
}

test("a restore, which opens a new epoch, is taken in with an alarm", async () => {
  await using at = await trusting();
  at.authority.epoch = "epo_2";
  at.authority.revision = 3n;
  at.authority.checkpoint = noteOf(3n, 5, "epo_2", strangers.privateKey);
  at.authority.elevations.clear();
  at.authority.drop();
  await until(() => at.guard.status().epoch === "epo_2");
  await until(() => at.guard.status().connected);
  assert.equal(at.guard.status().elevations, 0);
  assert.ok(at.lines.some(({ message }) => /another epoch/.test(String(message))));
});

test("the checkpoint and its key outlive a restart", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-state-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await using at = await trusting(join(folder, "guard"));
  await at.guard.close();
  at.authority.checkpoint = noteOf(at.authority.revision, 1, EPOCH, strangers.privateKey);
  const logger = { info() {}, warn() {}, error() {} };
  const options = { authority: at.authority.url, audience: AUDIENCE, identity: () => GUARD_TOKEN, logger, state: join(folder, "guard") };
  await using next = guard(options);
  await until(() => /not signed with the key/.test(next.status().problem ?? ""));
  assert.equal(next.status().source, "snapshot");
});
