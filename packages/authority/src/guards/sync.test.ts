// What guards are sent, over real sockets: their own audience and nothing else, in order, with nothing missed over a restart.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import type { GuardServiceSyncResponse } from "@brevet/protocol/brevet/v1/guard";
import { startTestAuthority, type TestAuthority, TestClock, TestIssuer } from "@brevet/testing";
import { durationFromMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Guard, link } from "../testdata/guard.ts";
import { AUDIENCE, clients, policyText, REFUND, refusal, requestId, transport } from "../testdata/scene.ts";

const MINUTE = 60_000;

const as = async (authority: TestAuthority, principal: string) =>
  clients(transport(authority.url, await authority.token(principal))).elevations;
const elevationsIn = (messages: readonly GuardServiceSyncResponse[]): Elevation[] =>
  messages.flatMap(({ message }) => (message.case === "elevation" ? [message.value] : []));

test("welcome, policy, keys, elevations, caught up: then changes in the order of the log", async () => {
  await using issuer = await TestIssuer.start();
  const text = policyText({ issuer: issuer.issuer });
  await using authority = await startTestAuthority({ policy: text });
  const sam = await as(authority, "user:sam@test");
  const ana = await as(authority, "user:ana@test");
  const { elevation: first } = await sam.request({ requestId: requestId(), method: REFUND, reason: "a secret" });
  const guard = await link(authority);
  const present = await guard.present();
  assert.deepEqual(
    present.map(({ message }) => message.case),
    ["welcome", "policy", "keys", "elevation", "caughtUp"],
  );
  const [welcome, policy, keys, elevation, caughtUp] = present.map(({ message }) => message);
  assert.ok(welcome?.case === "welcome" && !welcome.value.resumed && welcome.value.issuer === authority.url);
  assert.ok(policy?.case === "policy" && policy.value.document === text && policy.value.version === 1n);
  assert.ok(keys?.case === "keys");
  assert.deepEqual(
    keys.value.issuers.map(({ issuer: name, development }) => [name, development]),
    [
      [issuer.issuer, false],
      [authority.authority.dev?.issuer, true],
    ],
  );
  assert.equal((JSON.parse(keys.value.grantJwks) as { keys: unknown[] }).keys.length, 1);
  assert.ok(elevation?.case === "elevation");
  assert.equal(elevation.value.requester?.name, "user:sam@test");
  assert.ok(!JSON.stringify(elevation.value.reason ?? "").includes("secret"), "reasons stay here");
  assert.ok(caughtUp?.case === "caughtUp" && caughtUp.value.checkpoint.startsWith("brevet/epo_"));
  const position = present.at(-1)?.position;
  assert.ok((present[0]?.position?.revision ?? 1n) === 0n, "nothing may be resumed behind before the state is complete");

  const id = first?.id ?? "";
  await ana.approve({ requestId: requestId(), id, comment: "also secret" });
  await sam.start({ requestId: requestId(), id });
  await sam.end({ requestId: requestId(), id, all: true });
  const changes = await guard.until(({ message }) => message.case === "elevation" && message.value.state === ElevationState.ENDED);
  const states = elevationsIn(changes);
  assert.deepEqual(
    [...new Set(states.map(({ state }) => state))],
    [ElevationState.PENDING, ElevationState.SCHEDULED, ElevationState.ACTIVE, ElevationState.ENDED],
  );
  assert.ok(states.every(({ votes, endedBy }) => votes.length === 0 && endedBy === undefined));
  const revisions = changes.map((change) => change.position?.revision ?? 0n);
  assert.deepEqual(
    revisions,
    revisions.toSorted((a, b) => Number(a - b)),
  );
  assert.ok((revisions[0] ?? 0n) >= (position?.revision ?? 0n));
  guard.abort.abort();
});

test("a guard gets its own audience only, and nobody else is one", async () => {
  const policies = ["one", "two"].map((audience) => ({ file: `${audience}.yaml`, text: policyText({ audience }) }));
  await using authority = await startTestAuthority({ policies });
  const sam = await as(authority, "user:sam@test");
  for (const audience of ["one", "two"]) await sam.request({ requestId: requestId(), audience, method: REFUND });
  const guard = await link(authority, { audience: "one" });
  const present = await guard.present();
  assert.deepEqual(
    elevationsIn(present).map(({ audience }) => audience),
    ["one"],
  );
  for (const audience of ["two", "one"]) await sam.request({ requestId: requestId(), audience, method: REFUND, run: "again" });
  const next = await guard.until(({ message }) => message.case === "elevation");
  assert.deepEqual(
    elevationsIn(next).map(({ audience }) => audience),
    ["one"],
  );
  guard.abort.abort();
  for (const [audience, who] of [
    ["one", "workload:guard-two"],
    ["one", "user:admin@test"],
    ["three", "workload:guard-one"],
  ] as const) {
    const stranger = await link(authority, { audience, as: who });
    const refused = await refusal(stranger.next());
    assert.deepEqual([refused.reason, refused.metadata["role"]], ["ROLE_REQUIRED", "guard"], who);
  }
});

test("a resumed guard gets what changed meanwhile, over a restart of the authority, and only that", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const { elevation: quiet } = await sam.request({ requestId: requestId(), method: REFUND, run: "quiet" });
  const { elevation: busy } = await sam.request({ requestId: requestId(), method: REFUND, run: "busy" });
  const guard = await link(authority);
  const after = (await guard.present()).at(-1)?.position;
  assert.ok(after);
  const ended = assert.rejects(
    guard.until(() => false),
    /draining/,
  );
  await authority.restart();
  await ended;
  const again = await as(authority, "user:sam@test");
  await again.withdraw({ requestId: requestId(), id: busy?.id ?? "" });
  const { elevation: fresh } = await again.request({ requestId: requestId(), method: REFUND, run: "fresh" });
  const resumed = await link(authority, { after });
  const present = await resumed.present();
  const [welcome] = present;
  assert.ok(welcome?.message.case === "welcome" && welcome.message.value.resumed);
  assert.ok(!present.some(({ message }) => message.case === "policy"), "the policy did not change");
  const got = new Map(elevationsIn(present).map(({ id, state }) => [id, state]));
  assert.deepEqual(
    got,
    new Map([
      [fresh?.id, ElevationState.PENDING],
      [busy?.id, ElevationState.WITHDRAWN],
    ]),
  );
  assert.ok(!got.has(quiet?.id ?? ""));
  resumed.abort.abort();
  for (const wrong of [
    { ...after, epoch: "epo_other" },
    { ...after, revision: after.revision + 1000n },
  ]) {
    const other = await link(authority, { after: wrong });
    const whole = await other.present();
    assert.ok(whole[0]?.message.case === "welcome" && !whole[0].message.value.resumed, "a position of another log is not resumed behind");
    assert.equal(elevationsIn(whole).length, 3);
    other.abort.abort();
  }
});

test("a guard hears of a start at its time, of an extension and of the end, though nobody calls", async () => {
  const clock = new TestClock();
  const extend = "\n    extend: { max: 30m, approval: none }";
  const text = policyText().replace("    startWithin: 15m", `    startWithin: 15m${extend}`);
  await using authority = await startTestAuthority({ policy: text, clock });
  const [sam, ana] = [await as(authority, "user:sam@test"), await as(authority, "user:ana@test")];
  const guard = await link(authority);
  await guard.present();
  const startMs = clock.wallMs() + 5 * MINUTE;
  const ask = { requestId: requestId(), method: REFUND, startTime: timestampFromMs(startMs) };
  const id = (await sam.request(ask)).elevation?.id ?? "";
  await ana.approve({ requestId: requestId(), id });
  const hears = async (done: (elevation: Elevation) => boolean): Promise<Elevation> =>
    elevationsIn(await guard.until(({ message }) => message.case === "elevation" && done(message.value))).at(-1) ?? assert.fail();
  await hears(({ state }) => state === ElevationState.SCHEDULED);
  clock.advance(5 * MINUTE);
  const active = await hears(({ state }) => state === ElevationState.ACTIVE);
  assert.equal(timestampMs(active.windowStart ?? assert.fail()), startMs);
  await sam.extend({ requestId: requestId(), id, by: durationFromMs(5 * MINUTE) });
  const extended = await hears(({ windowEnd }) => windowEnd !== undefined && timestampMs(windowEnd) > startMs + 10 * MINUTE);
  assert.equal(timestampMs(extended.windowEnd ?? assert.fail()), startMs + 15 * MINUTE);
  clock.advance(15 * MINUTE);
  const over = await hears(({ state }) => state === ElevationState.EXPIRED);
  assert.equal(timestampMs(over.endTime ?? assert.fail()), startMs + 15 * MINUTE);
  guard.abort.abort();
});

test("a batch of decisions that is sent again counts once: on a new stream, and behind a restart", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const batch = { case: "decisions" as const, value: { decisions: [{ permitted: true, count: 7n }], sequence: 3n } };
  const counted = async () => {
    const { guards } = clients(transport(authority.url, await authority.token("user:audit@test")));
    return (await guards.list({})).guards.map(({ instance, permitted }) => [instance, permitted]);
  };
  const send = async () => {
    const guard = await link(authority, { instance: "gud_1" });
    await guard.present();
    guard.say(batch);
    await guard.until(({ message }) => message.case === "decisionsTaken");
    return guard;
  };
  (await send()).abort.abort();
  const again = await send();
  assert.deepEqual(await counted(), [["gud_1", 0n]], "since it connected: nothing new");
  again.abort.abort();
  await authority.restart();
  const later = await send();
  assert.deepEqual(await counted(), [["gud_1", 0n]], "kept with the batch's number: still nothing new");
  later.abort.abort();
});

test("nothing is missed and nothing goes backwards while guards come in the middle of writes", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  let writing = true;
  const writes = (async () => {
    for (let i = 0; writing; i += 1) {
      const { elevation } = await sam.request({ requestId: requestId(), method: REFUND, run: `run-${i}` });
      if (i % 2 === 0) await sam.withdraw({ requestId: requestId(), id: elevation?.id ?? "" });
    }
  })();
  const guards: Guard[] = [];
  for (let i = 0; i < 8; i += 1) {
    guards.push(await link(authority, { instance: `guard-${i}` }));
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
  writing = false;
  await writes;
  const { elevations } = await sam.list({ pageSize: 1000 });
  const { elevation: last } = await sam.request({ requestId: requestId(), method: REFUND, run: "last" });
  const expected = new Map([...elevations, ...(last ? [last] : [])].map(({ id, state }) => [id, state]));
  for (const guard of guards) {
    const known = new Map<string, Elevation>();
    for (const elevation of elevationsIn(
      await guard.until(({ message }) => message.case === "elevation" && message.value.id === last?.id),
    )) {
      assert.ok(elevation.revision > (known.get(elevation.id)?.revision ?? 0n), "an older state never follows a newer one");
      known.set(elevation.id, elevation);
    }
    assert.deepEqual(new Map([...known.values()].map(({ id, state }) => [id, state] as const)), expected);
    guard.abort.abort();
  }
});

test("time is sampled, heartbeats come at a quarter of the stale limit, acknowledgements are kept", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const guard = await link(authority, { instance: "gud_1" });
  const present = await guard.present();
  guard.say({ case: "timeProbe", value: { sent: 42n } });
  const sample = (await guard.until(({ message }) => message.case === "timeSample")).at(-1)?.message;
  assert.ok(sample?.case === "timeSample" && sample.value.sent === 42n && sample.value.received && sample.value.answered);
  assert.ok(timestampMs(sample.value.answered) >= timestampMs(sample.value.received));
  const startMs = performance.now();
  await guard.until(({ message }) => message.case === undefined);
  await guard.until(({ message }) => message.case === undefined);
  assert.ok(performance.now() - startMs < 1500, "whenStale.after is 2 s in this policy");
  const position = present.at(-1)?.position;
  assert.ok(position);
  guard.say({ case: "acknowledgement", value: { position, policyVersion: 1n } });
  const batch = { case: "decisions" as const, value: { decisions: [{ permitted: true, count: 7n }, { count: 1n }], sequence: 1n } };
  guard.say(batch);
  guard.say(batch);
  const taken = await guard.until(({ message }) => message.case === "decisionsTaken" && message.value.sequence === 1n);
  assert.ok(taken.length > 0);
  await guard.until(({ message }) => message.case === "decisionsTaken");
  const { guards } = clients(transport(authority.url, await authority.token("user:audit@test")));
  for (;;) {
    const [status] = (await guards.list({})).guards;
    if (status?.permitted !== 7n) continue;
    assert.deepEqual(
      [status.guard?.name, status.instance, status.connected, status.denied],
      [`workload:guard-${AUDIENCE}`, "gud_1", true, 1n],
    );
    assert.equal(status.acknowledgement?.position?.revision, position.revision);
    break;
  }
  guard.abort.abort();
  for (;;) if ((await guards.list({})).guards[0]?.connected === false) break;
});

test("a revocation that waits is answered when the guard acknowledged it", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const admin = await as(authority, "user:admin@test");
  const { elevation } = await sam.request({ requestId: requestId(), method: REFUND });
  const guard = await link(authority, { instance: "gud_1" });
  await guard.present();
  let answered = false;
  const revoked = admin
    .revoke({ requestId: requestId(), target: { case: "id", value: elevation?.id ?? "" }, wait: true })
    .then((answer) => {
      answered = true;
      return answer;
    });
  const [seen] = await guard.until(({ message }) => message.case === "elevation" && message.value.state === ElevationState.REVOKED);
  assert.equal(answered, false, "not before");
  assert.ok(seen?.position);
  guard.say({ case: "acknowledgement", value: { position: seen.position, policyVersion: 1n } });
  const { enforcement, elevations } = await revoked;
  assert.equal(elevations[0]?.state, ElevationState.REVOKED);
  assert.deepEqual(
    enforcement.map(({ guard: which, instance, form, enforced }) => [which?.name, instance, form, enforced]),
    [[`workload:guard-${AUDIENCE}`, "gud_1", "grpc", true]],
  );
  guard.abort.abort();
});

test("a revocation does not take a guard for gone that was there before the authority's restart", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const { elevation } = await sam.request({ requestId: requestId(), method: REFUND });
  const guard = await link(authority, { instance: "gud_1" });
  await guard.present();
  const ended = assert.rejects(
    guard.until(() => false),
    /draining/,
  );
  await authority.restart();
  await ended;
  const admin = await as(authority, "user:admin@test");
  const { guards } = clients(transport(authority.url, await authority.token("user:audit@test")));
  assert.deepEqual(
    (await guards.list({})).guards.map(({ instance, connected }) => [instance, connected]),
    [["gud_1", false]],
  );
  let answered = false;
  const revoked = admin
    .revoke({ requestId: requestId(), target: { case: "id", value: elevation?.id ?? "" }, wait: true })
    .then((answer) => {
      answered = true;
      return answer;
    });
  while ((await admin.get({ id: elevation?.id ?? "" })).elevation?.state !== ElevationState.REVOKED);
  const back = await link(authority, { instance: "gud_1" });
  const position = (await back.present()).at(-1)?.position;
  assert.equal(answered, false, "the guard can permit for five minutes more: it has to come back first");
  assert.ok(position);
  back.say({ case: "acknowledgement", value: { position, policyVersion: 1n } });
  const { enforcement } = await revoked;
  assert.deepEqual(
    enforcement.map(({ instance, enforced, boundedUntil }) => [instance, enforced, boundedUntil]),
    [["gud_1", true, undefined]],
  );
  back.abort.abort();
});

test("new keys of an issuer are pushed", async () => {
  await using issuer = await TestIssuer.start();
  await using authority = await startTestAuthority({ policy: policyText({ issuer: issuer.issuer }) });
  const caller = async () => clients(transport(authority.url, await issuer.token({ audience: "brevet" }))).elevations.list({});
  await caller();
  const guard = await link(authority);
  await guard.present();
  await issuer.rotate();
  await caller();
  const pushed = (await guard.until(({ message }) => message.case === "keys")).at(-1)?.message;
  assert.ok(
    pushed?.case === "keys" && pushed.value.issuers[0]?.jwks.includes('"key-2"') && !pushed.value.issuers[0].jwks.includes('"key-1"'),
  );
  guard.abort.abort();
});

test("a guard that says something else first, hello twice, or decisions without a number, is told so", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const guard = await link(authority);
  await guard.present();
  guard.say({ case: "hello", value: { audience: AUDIENCE } });
  assert.equal((await refusal(guard.until(() => false))).reason, "REQUEST_INVALID");
  const unnumbered = await link(authority);
  await unnumbered.present();
  unnumbered.say({ case: "decisions", value: { decisions: [{ count: 1n }] } });
  const refused = await refusal(unnumbered.until(() => false));
  assert.deepEqual([refused.reason, refused.metadata["field"]], ["REQUEST_INVALID", "decisions.sequence"]);
  const empty = await link(authority, { audience: "", as: `workload:guard-${AUDIENCE}` });
  assert.equal((await refusal(empty.next())).reason, "REQUEST_INVALID");
});
