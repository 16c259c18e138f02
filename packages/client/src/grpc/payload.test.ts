import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { begin, Guarded } from "../testdata/guarded.ts";
import { call, required, Scene, until } from "../testdata/scene.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

test("an approval of one exact request is asked for with the request, and used for it", async () => {
  for (const method of ["Migrate", "Sweep"] as const) {
    await using desk = await Guarded.open();
    const { answer } = begin(desk.client(), method, ["drop table x"]);
    const { elevation } = await desk.event("waiting");
    const [mine] = await desk.mine();
    assert.equal(Buffer.from(mine?.payloadDigest?.value ?? []).toString("hex"), sha256("drop table x"));
    const shown = await (await desk.as("user:ana@test")).get({ id: elevation });
    assert.equal(Buffer.from(shown.elevation?.payload?.value ?? []).toString(), "drop table x", "the approver sees what will run");
    await desk.approve(elevation);
    const { code, message } = await answer;
    assert.equal(code, status.OK, message);
    assert.deepEqual(desk.handled, [{ method, messages: ["drop table x"] }]);
    assert.ok((await desk.mine())[0]?.payloadUseTime, "the one use was made");
  }
});

test("each request is approved for itself: another one joins no open elevation, and a second use asks anew", async () => {
  await using desk = await Guarded.open();
  const client = desk.client();
  const first = begin(client, "Migrate", ["one"]);
  await desk.event("waiting");
  // The guard says that an elevation is pending; it is for other bytes.
  await until(async () => {
    const probe = await begin(desk.client({ signal: AbortSignal.abort() }), "Migrate", ["two"]).answer;
    return probe.status.reason === "ELEVATION_PENDING";
  });
  const second = begin(client, "Migrate", ["two"]);
  const [two, one, ...others] = await until(async () => {
    const mine = await desk.mine();
    return mine.length === 2 && mine;
  });
  assert.equal(others.length, 0);
  assert.deepEqual(
    [one, two].map((each) => Buffer.from(each?.payloadDigest?.value ?? []).toString("hex")),
    [sha256("one"), sha256("two")],
  );
  await desk.approve(two?.id ?? "");
  assert.equal((await second.answer).response, "done two");
  await desk.approve(one?.id ?? "");
  assert.equal((await first.answer).response, "done one");
  const again = begin(client, "Migrate", ["one"]);
  await until(async () => (await desk.mine()).length === 3);
  again.cancel();
  await again.answer;
  assert.deepEqual(
    desk.handled.map(({ messages }) => messages[0]),
    ["two", "one"],
  );
});

test("a request whose coding is not the same twice is sent again as it was asked for", async () => {
  await using desk = await Guarded.open();
  let coded = 0;
  const code = (value: string) => {
    coded += 1;
    return Buffer.from(`${value} ${coded}`);
  };
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  desk
    .client()
    .makeUnaryRequest("/test.v1.Desk/Migrate", code, String, "drop", (error, value) => (error ? reject(error) : resolve(value ?? "")));
  await desk.approve((await desk.event("waiting")).elevation);
  assert.equal(await promise, "done drop 1");
  assert.equal(coded, 1);
});

test("where only the authority knows that the request is bound, the client asks again with it", async () => {
  await using desk = await Guarded.open();
  // The choice is none of the offers, so nothing is known of it.
  const { answer } = begin(desk.client({ choose: () => "" }), "Migrate", ["late"]);
  await desk.approve((await desk.event("waiting")).elevation);
  assert.equal((await answer).response, "done late");
  assert.equal((await desk.mine()).length, 1);
});

test("a request that is too long for an approval ends at once, and says how long it may be", async () => {
  await using desk = await Guarded.open();
  const answer = await begin(desk.client(), "Migrate", ["x".repeat(70_000)]).answer;
  assert.deepEqual([answer.code, answer.status.reason], [status.INVALID_ARGUMENT, "REQUEST_INVALID"]);
  assert.match(answer.message, /Migrate covers one exact request of at most 64 KiB, and this one has 70000 bytes/);
  assert.deepEqual(await desk.mine(), []);
});

test("a refusal cannot make the client show a request to the authority that binds none", async () => {
  await using scene = await Scene.open();
  scene.rule = () => required({ offers: [{ entitlement: "refund", approvals: 1, payloadBound: true }] });
  const answer = await call(scene.client()).answer;
  assert.equal(answer.status.reason, "REQUEST_INVALID");
  assert.match(answer.message, /does not bind approvals/);
});
