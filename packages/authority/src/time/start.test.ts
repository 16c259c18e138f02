// An authority that starts where its machine's clock is far from the log, and one whose clock steps while it runs.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { GuardServiceSyncRequestSchema } from "@brevet/protocol/brevet/v1/guard";
import { startTestAuthority, type TestAuthority, TestClock } from "@brevet/testing";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { startAuthority } from "../authority.ts";
import { AUDIENCE, clients, policyText, REFUND, Reading, requestId, transport } from "../testdata/scene.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const as = async (authority: TestAuthority, principal: string) => clients(transport(authority.url, await authority.token(principal)));

/** An elevation of five minutes, ACTIVE. */
async function active(authority: TestAuthority): Promise<string> {
  const sam = await as(authority, "user:sam@test");
  const ask = { requestId: requestId(), method: REFUND, waiting: true, duration: durationFromMs(5 * MINUTE) };
  const id = (await sam.elevations.request(ask)).elevation?.id ?? "";
  const { elevation } = await (await as(authority, "user:ana@test")).elevations.approve({ requestId: requestId(), id });
  assert.equal(elevation?.state, ElevationState.ACTIVE);
  return id;
}

/** The time that a guard is told: in the message, and in answer to a probe. */
async function toldToGuard(authority: TestAuthority): Promise<{ sent: number; sampled: number }> {
  const guard = await as(authority, `workload:guard-${AUDIENCE}`);
  const ended = Promise.withResolvers<void>();
  async function* say() {
    yield create(GuardServiceSyncRequestSchema, { message: { case: "hello", value: { audience: AUDIENCE } } });
    yield create(GuardServiceSyncRequestSchema, { message: { case: "timeProbe", value: { sent: 1n } } });
    await ended.promise;
  }
  const reading = new Reading((signal) => guard.guards.sync(say(), { signal }));
  const [last] = (await reading.until(({ message }) => message.case === "timeSample")).slice(-1);
  ended.resolve();
  reading.abort.abort();
  assert.ok(last?.time && last.message.case === "timeSample" && last.message.value.received);
  return { sent: timestampMs(last.time), sampled: timestampMs(last.message.value.received) };
}

async function stateOf(authority: TestAuthority, id: string): Promise<ElevationState | undefined> {
  return (await (await as(authority, "user:sam@test")).elevations.get({ id })).elevation?.state;
}

test("a restart with a clock that went back an hour is refused, and says both times and the fix", async () => {
  const clock = new TestClock();
  await using authority = await startTestAuthority({ policy: policyText(), clock });
  await active(authority);
  const restart = authority.restart(() => clock.step(-HOUR));
  await assert.rejects(restart, /clock says 2026-01-05T11:00:00\.000Z, which is 1 h before .*2026-01-05T12:00:00\.000Z.*--accept-clock/);
});

test("an idle authority notices at its restart that the clock went back, though the log's last entry is older still", async () => {
  const clock = new TestClock();
  await using authority = await startTestAuthority({ policy: policyText(), clock });
  const id = await active(authority);
  await clock.advanceSlowly(4 * MINUTE, MINUTE);
  await authority.restart(() => clock.step(-3 * MINUTE));
  assert.equal((await toldToGuard(authority)).sent, Date.UTC(2026, 0, 5, 12, 4), "time goes on from what was known");
  clock.advance(MINUTE);
  const sam = await as(authority, "user:sam@test");
  const watch = new Reading((signal) => sam.elevations.watch({ filter: { ids: [id] } }, { signal }));
  await watch.until(({ elevation }) => elevation?.state === ElevationState.EXPIRED);
  watch.abort.abort();
  await clock.advanceSlowly(6 * HOUR, MINUTE);
  const restart = authority.restart(() => clock.step(-2 * HOUR));
  await assert.rejects(
    restart,
    /which is 2 h 3 min before the last time that the authority knew \(2026-01-05T18:05:00\.000Z\).*--accept-clock/,
  );
});

test("a taken port is told before anything is made or written", async () => {
  const directory = join(await mkdtemp(join(tmpdir(), "brevet-taken-")), "data");
  await using first = await startTestAuthority({ policy: policyText(), admin: { host: "127.0.0.1", port: 0 } });
  const portOf = (url: string | undefined) => Number(new URL(url ?? "").port);
  const free = { host: "127.0.0.1", port: 0 };
  for (const taken of [
    { listen: { host: "127.0.0.1", port: portOf(first.url) }, admin: free },
    { listen: free, admin: { host: "127.0.0.1", port: portOf(first.authority.adminUrl) } },
  ]) {
    const options = { data: directory, dev: true, policies: [{ file: "p.yaml", text: policyText() }], logger: false as const, ...taken };
    await assert.rejects(startAuthority(options), { code: "EADDRINUSE" });
    assert.equal(existsSync(directory), false);
  }
});

test("a clock that went back and is accepted lets no window outlive its end, and guards are told the log's time", async () => {
  const clock = new TestClock();
  await using authority = await startTestAuthority({ policy: policyText(), clock, acceptClock: true });
  const id = await active(authority);
  const endMs = clock.wallMs() + 5 * MINUTE;
  await authority.restart(() => clock.step(-HOUR));
  assert.deepEqual(await toldToGuard(authority), { sent: endMs - 5 * MINUTE, sampled: endMs - 5 * MINUTE });
  clock.advance(5 * MINUTE - 1);
  assert.equal(await stateOf(authority, id), ElevationState.ACTIVE);
  const sam = await as(authority, "user:sam@test");
  const watch = new Reading((signal) => sam.elevations.watch({ filter: { ids: [id] } }, { signal }));
  clock.advance(10);
  await watch.until(({ elevation }) => elevation?.state === ElevationState.EXPIRED);
  watch.abort.abort();
  assert.equal(await stateOf(authority, id), ElevationState.EXPIRED);
  assert.deepEqual(await toldToGuard(authority), { sent: endMs + 9, sampled: endMs + 9 });
});

test("a restart 31 days later is refused unless it is confirmed, and one 29 days later is not", async () => {
  const clock = new TestClock();
  await using authority = await startTestAuthority({ policy: policyText(), clock });
  const id = await active(authority);
  await authority.restart(() => clock.step(29 * DAY));
  const sam = await as(authority, "user:sam@test");
  const watch = new Reading((signal) => sam.elevations.watch({ filter: { ids: [id] } }, { signal }));
  await watch.until(({ elevation }) => elevation?.state === ElevationState.EXPIRED);
  watch.abort.abort();
  const restart = authority.restart(() => clock.step(31 * DAY));
  await assert.rejects(restart, /which is 31 d after .*--accept-clock/);
  await using confirmed = await startTestAuthority({ data: authority.data, clock, acceptClock: true });
  assert.equal(await stateOf(confirmed, id), ElevationState.EXPIRED);
});

test("a start with a clock that was weeks ahead is undone by correcting the clock, while nothing was written", async () => {
  const clock = new TestClock();
  await using authority = await startTestAuthority({ policy: policyText(), clock });
  await authority.restart(() => clock.step(29 * DAY));
  clock.advance(50 * MINUTE);
  await authority.restart(() => clock.step(-29 * DAY));
  assert.equal((await toldToGuard(authority)).sent, clock.wallMs());
});

test("a clock that was days ahead cannot be set back unnoticed once an entry carries its time, once it ran for an hour, or was confirmed", async () => {
  const refused = /which is 2 d .* before the last time that the authority knew.*--accept-clock/;
  for (const [accepted, live] of [
    [false, (authority: TestAuthority) => active(authority)],
    [false, async (_: TestAuthority, clock: TestClock) => clock.advanceSlowly(61 * MINUTE, MINUTE)],
    [true, async () => {}],
  ] as const) {
    const clock = new TestClock();
    await using first = await startTestAuthority({ policy: policyText(), clock });
    await first.authority[Symbol.asyncDispose]();
    clock.step(3 * DAY);
    await using authority = await startTestAuthority({ data: first.data, clock, acceptClock: accepted });
    await live(authority, clock);
    await authority.authority[Symbol.asyncDispose]();
    clock.step(-2 * DAY - HOUR);
    await assert.rejects(startTestAuthority({ data: first.data, clock }), refused);
  }
});

for (const stepMs of [2 * HOUR, -2 * HOUR])
  test(`a clock that steps by ${stepMs / HOUR} h while a window is open changes nothing for anybody`, async () => {
    const clock = new TestClock();
    await using authority = await startTestAuthority({ policy: policyText(), clock });
    const id = await active(authority);
    const startMs = clock.wallMs();
    clock.step(stepMs);
    clock.advance(4 * MINUTE);
    // 50 ppm of four minutes is 12 ms.
    for (const told of Object.values(await toldToGuard(authority)))
      assert.ok(told >= startMs + 4 * MINUTE && told <= startMs + 4 * MINUTE + 12, `${told - startMs}`);
    await as(authority, "user:sam@test").then((sam) => sam.elevations.issueGrant({ requestId: requestId(), id }));
    assert.equal(await stateOf(authority, id), ElevationState.ACTIVE);
    clock.advance(MINUTE + 1);
    const sam = await as(authority, "user:sam@test");
    const watch = new Reading((signal) => sam.elevations.watch({ filter: { ids: [id] } }, { signal }));
    await watch.until(({ elevation }) => elevation?.state === ElevationState.EXPIRED);
    watch.abort.abort();
  });
