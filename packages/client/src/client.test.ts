import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { type AuthorityError, connectAuthority } from "./client.ts";
import { AUDIENCE, REFUND, Scene, until } from "./testdata/scene.ts";

const ask = { audience: AUDIENCE, method: REFUND };

function sessionOf(scene: Scene) {
  return connectAuthority({ authority: scene.authority.url, identity: scene.identity });
}

test("the watch is opened by the first who waits, shared, and closed with the last", async () => {
  await using scene = await Scene.open();
  using session = sessionOf(scene);
  const { elevation } = await session.request(ask);
  assert.ok(elevation);
  assert.equal(session.watching, false);
  const leaving = new AbortController();
  const first = session.wait(elevation.id, { signal: leaving.signal });
  const second = session.obtain({ ...ask, reason: "another" }, { signal: leaving.signal });
  await until(() => session.watching);
  leaving.abort(new Error("gone"));
  await assert.rejects(first, /gone/);
  await assert.rejects(second, /gone/);
  await until(() => !session.watching);
});

test("a wait that is left before it begins asks nobody, and leaves no watch behind", async () => {
  await using scene = await Scene.open();
  using session = sessionOf(scene);
  const { elevation } = await session.request({ ...ask, reason: "wanted" });
  const signal = AbortSignal.abort(new Error("gone"));
  await assert.rejects(session.obtain({ ...ask, reason: "left" }, { signal }), /gone/);
  await assert.rejects(session.wait(elevation?.id ?? "", { signal }), /gone/);
  assert.equal(session.watching, false);
  // Whatever had been asked on the same connection would have been asked before this.
  await session.request({ ...ask, reason: "wanted too" });
  assert.deepEqual((await scene.mine()).map(({ reason }) => reason?.text ?? "").toSorted(), ["wanted", "wanted too"]);
  assert.equal(session.watching, false);
});

test("one elevation that is approved lets only its own waiters go on", async () => {
  await using scene = await Scene.open();
  using session = sessionOf(scene);
  const seen: string[] = [];
  const waits = ["a", "b", "c"].map((reason) =>
    session.obtain({ ...ask, reason }, { limitMs: 10_000, onChange: (elevation) => seen.push(`${reason} ${elevation.state}`) }),
  );
  const open = await until(async () => {
    const mine = await scene.mine();
    return mine.length === 3 && mine;
  });
  const chosen = open.find(({ reason }) => reason?.text === "b");
  await scene.approve(chosen?.id ?? "");
  const result = await Promise.race(waits);
  assert.deepEqual([result.settled, result.elevation?.id, result.elevation?.state], [true, chosen?.id, ElevationState.ACTIVE]);
  assert.equal(session.watching, true);
  assert.ok(!seen.includes(`a ${ElevationState.ACTIVE}`));
  for (const { id } of open) if (id !== chosen?.id) await scene.deny(id, "no");
  const states = (await Promise.all(waits)).map(({ elevation }) => elevation?.state);
  assert.deepEqual(states, [ElevationState.DENIED, ElevationState.ACTIVE, ElevationState.DENIED]);
  await until(() => !session.watching);
});

test("a wait by id needs no memory: another process may have asked", async () => {
  await using scene = await Scene.open();
  using asking = sessionOf(scene);
  using waiting = sessionOf(scene);
  const { elevation } = await asking.request(ask);
  const id = elevation?.id ?? "";
  const waited = waiting.wait(id);
  await until(() => waiting.watching);
  await scene.approve(id);
  const result = await waited;
  assert.equal(result.settled, true);
  assert.equal(result.elevation?.id, id);
});

test("what is settled already is answered without a watch that stays", async () => {
  await using scene = await Scene.open();
  using session = sessionOf(scene);
  const { elevation } = await session.request(ask);
  const id = elevation?.id ?? "";
  await scene.deny(id, "no");
  assert.equal((await session.wait(id)).elevation?.state, ElevationState.DENIED);
  await until(() => !session.watching);
});

test("an elevation that nobody knows, or that is not the caller's, is not waited for", async () => {
  await using scene = await Scene.open();
  using session = sessionOf(scene);
  const failure = await session.wait("elv_00000000000000000000000000").catch((error: AuthorityError) => error);
  assert.ok(failure instanceof Error);
  assert.equal("received" in failure && failure.received.reason, "NOT_FOUND");
});

test("a request made while the authority restarts is made once", async () => {
  await using scene = await Scene.open();
  using session = sessionOf(scene);
  let asked: ReturnType<typeof session.request> | undefined;
  await scene.authority.restart(() => {
    asked = session.request(ask);
  });
  const id = (await asked)?.elevation?.id;
  assert.deepEqual(
    (await scene.mine()).map((elevation) => elevation.id),
    [id],
  );
});

test("grants are kept: one is issued for many uses, another when it is wanted", async () => {
  await using scene = await Scene.open();
  using session = sessionOf(scene);
  const { elevation } = await session.request({ ...ask, waiting: true });
  const id = elevation?.id ?? "";
  await assert.rejects(session.issueGrant(id), { name: "AuthorityError" });
  await scene.approve(id);
  const [one, same] = await Promise.all([session.issueGrant(id), session.issueGrant(id)]);
  assert.equal(one, same);
  assert.equal(session.grantInHand(id), one);
  assert.notEqual(await session.issueGrant(id, { fresh: true }), one);
});

test("an authority that refuses the caller is not asked again and again", async () => {
  await using scene = await Scene.open();
  let asked = 0;
  const identity = () => {
    asked += 1;
    return "not-a-token";
  };
  using session = connectAuthority({ authority: scene.authority.url, identity });
  const failure = await session.obtain(ask).catch((error: AuthorityError) => error);
  assert.ok("received" in failure);
  assert.equal(failure.received.reason, "IDENTITY_MALFORMED");
  assert.equal(asked, 1);
});

test("closing ends the waits", async () => {
  await using scene = await Scene.open();
  const session = sessionOf(scene);
  const waited = session.obtain(ask);
  await until(() => session.watching);
  session.close();
  await assert.rejects(waited, /closed/);
  await until(() => !session.watching);
});
