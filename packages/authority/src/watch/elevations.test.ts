// Watches over real sockets: resumed without loss, also over a restart; ended honestly.
import assert from "node:assert/strict";
import { test } from "node:test";
import { GrpcCode } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { LogEntrySchema } from "@brevet/protocol/brevet/v1/log";
import { startTestAuthority, type TestAuthority } from "@brevet/testing";
import { fromBinary } from "@bufbuild/protobuf";
import { verifyLog } from "../log/verify.ts";
import { clients, policyText, REFUND, Reading, refusal, requestId, transport } from "../testdata/scene.ts";
import { Mailbox } from "./mailbox.ts";

const as = async (authority: TestAuthority, principal: string) => clients(transport(authority.url, await authority.token(principal)));

test("a watch resumed over a restart of the authority misses nothing and repeats nothing old", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const { elevation: open } = await sam.elevations.request({ requestId: requestId(), method: REFUND, run: "open" });
  const { elevation: old } = await sam.elevations.request({ requestId: requestId(), method: REFUND, run: "old" });
  const watch = new Reading((signal) => sam.elevations.watch({ filter: { mine: true } }, { signal }));
  const present = await watch.until((message) => message.caughtUp);
  assert.deepEqual(new Set(present.flatMap(({ elevation }) => elevation?.id ?? [])), new Set([open?.id, old?.id]));
  const after = present.at(-1)?.position;
  const ended = refusal(watch.until(() => false));
  await authority.restart();
  const drained = await ended;
  assert.deepEqual([drained.code, drained.reason], [GrpcCode.UNAVAILABLE, "AUTHORITY_UNREACHABLE"]);
  const ana = await as(authority, "user:ana@test");
  await ana.elevations.approve({ requestId: requestId(), id: open?.id ?? "" });
  const again = await as(authority, "user:sam@test");
  const resumed = new Reading((signal) => again.elevations.watch({ filter: { mine: true }, ...(after ? { after } : {}) }, { signal }));
  const missed = await resumed.until((message) => message.caughtUp);
  assert.ok(!missed.some(({ reset }) => reset));
  assert.deepEqual(
    missed.flatMap(({ elevation }) => (elevation ? [[elevation.id, elevation.state]] : [])),
    [[open?.id, ElevationState.SCHEDULED]],
  );
  resumed.abort.abort();
});

test("a resumed watch tells of what leaves its filter, also of what was inside before and had not changed since", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const ana = await as(authority, "user:ana@test");
  const { elevation, position: after } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
  const id = elevation?.id ?? "";
  const filter = { states: [ElevationState.PENDING] };
  const watch = new Reading((signal) => sam.elevations.watch({ filter, ...(after ? { after } : {}) }, { signal }));
  const missed = await watch.until((message) => message.caughtUp);
  assert.deepEqual(
    missed.flatMap((message) => message.elevation?.id ?? []),
    [],
  );
  await ana.elevations.approve({ requestId: requestId(), id });
  const left = await watch.until(({ elevation: told }) => told !== undefined && told.state !== ElevationState.PENDING);
  assert.deepEqual([left.at(-1)?.elevation?.id, left.at(-1)?.elevation?.state], [id, ElevationState.SCHEDULED]);
  await sam.elevations.end({ requestId: requestId(), id, all: true });
  const { elevation: next } = await sam.elevations.request({ requestId: requestId(), method: REFUND, run: "next" });
  const rest = await watch.until((message) => message.elevation?.id === next?.id);
  assert.ok(!rest.some((message) => message.elevation?.id === id), "once outside, it is of no concern");
  watch.abort.abort();
});

test("a position of another log resets the watch, and the whole state follows", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const { elevations } = await as(authority, "user:sam@test");
  const { elevation, position } = await elevations.request({ requestId: requestId(), method: REFUND });
  for (const after of [
    { epoch: "epo_other", revision: 1n },
    { epoch: position?.epoch ?? "", revision: 1_000_000n },
  ]) {
    const watch = new Reading((signal) => elevations.watch({ after }, { signal }));
    const messages = await watch.until((message) => message.caughtUp);
    assert.equal(messages[0]?.reset, true);
    assert.deepEqual(
      messages.flatMap((message) => message.elevation?.id ?? []),
      [elevation?.id],
    );
    watch.abort.abort();
  }
});

test("whoever watches what they may decide sees it come, and sees it go", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const ana = await as(authority, "user:ana@test");
  const bo = await as(authority, "user:bo@test");
  const watch = new Reading((signal) => ana.elevations.watch({ filter: { decidable: true } }, { signal }));
  await watch.until((message) => message.caughtUp);
  await ana.elevations.request({ requestId: requestId(), method: REFUND });
  const { elevation } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
  const [came] = (await watch.until((message) => message.elevation !== undefined)).slice(-1);
  assert.deepEqual([came?.elevation?.id, came?.elevation?.mayDecide], [elevation?.id, true], "one's own is not for oneself to decide");
  await bo.elevations.deny({ requestId: requestId(), id: elevation?.id ?? "" });
  const [went] = (await watch.until((message) => message.elevation?.state === ElevationState.DENIED)).slice(-1);
  assert.equal(went?.elevation?.mayDecide, false);
  const rita = await as(authority, "user:rita@test");
  const { elevation: next } = await rita.elevations.request({ requestId: requestId(), method: REFUND });
  await ana.elevations.deny({ requestId: requestId(), id: next?.id ?? "" });
  const own = await watch.until((message) => message.elevation?.id === next?.id && message.elevation?.state === ElevationState.DENIED);
  assert.equal(own.filter(({ elevation: each }) => each !== undefined).length, 2, "asked, and decided by the watcher's own vote");
  watch.abort.abort();
});

test("only the requester's own waiting counts: a stranger's word starts no window", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const ana = await as(authority, "user:ana@test");
  const { elevation } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
  const id = elevation?.id ?? "";
  const watch = new Reading((signal) => ana.elevations.watch({ waitingFor: [id] }, { signal }));
  await watch.until((message) => message.caughtUp);
  assert.equal((await ana.elevations.approve({ requestId: requestId(), id })).elevation?.state, ElevationState.SCHEDULED);
  watch.abort.abort();
});

test("a call that stopped waiting starts no window", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const ana = await as(authority, "user:ana@test");
  const { elevation } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
  const id = elevation?.id ?? "";
  const watch = new Reading((signal) => sam.elevations.watch({ waitingFor: [id] }, { signal }));
  await watch.until((message) => message.caughtUp);
  watch.abort.abort();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal((await ana.elevations.approve({ requestId: requestId(), id })).elevation?.state, ElevationState.SCHEDULED);
});

test("auditors follow the log from its first entry; positions beyond it are refused", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const audit = await as(authority, "user:audit@test");
  const sam = await as(authority, "user:sam@test");
  const watch = new Reading((signal) => audit.log.watch({}, { signal }));
  const { position } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
  const seen = await watch.until((message) => message.position?.revision === position?.revision && message.record !== undefined);
  const revisions = seen.flatMap(({ record }) => (record ? [fromBinary(LogEntrySchema, record.entry).revision] : []));
  assert.deepEqual(
    revisions,
    Array.from({ length: Number(position?.revision ?? 0n) }, (_unused, index) => BigInt(index + 1)),
  );
  watch.abort.abort();
  const page = await audit.log.list({ afterRevision: 2n, pageSize: 2 });
  assert.deepEqual(
    page.records.map(({ entry }) => fromBinary(LogEntrySchema, entry).revision),
    [3n, 4n],
  );
  const beyond = new Reading((signal) => audit.log.watch({ after: { epoch: "epo_other", revision: 1n } }, { signal }));
  assert.equal((await refusal(beyond.next())).code, GrpcCode.OUT_OF_RANGE);
});

test("an auditor of one audience gets another's entries as hashes, and can still rebuild the tree", async () => {
  const policies = [
    { file: "one.yaml", text: policyText({ audience: "one" }).replace('"user:audit@test"', '"user:audit@test", "user:both@test"') },
    { file: "two.yaml", text: policyText({ audience: "two" }).replace('"user:audit@test"', '"user:both@test"') },
  ];
  await using authority = await startTestAuthority({ policies });
  const sam = await as(authority, "user:sam@test");
  for (const audience of ["one", "two"]) await sam.elevations.request({ requestId: requestId(), audience, method: REFUND });
  const audit = await as(authority, "user:audit@test");
  const { records, position } = await audit.log.list({ pageSize: 1000 });
  assert.deepEqual(
    records.map(({ revision }) => revision),
    records.map((_record, index) => BigInt(index + 1)),
  );
  assert.equal(position?.revision, BigInt(records.length));
  const read = records
    .filter(({ entry }) => entry.length > 0)
    .map((record) => ({ ...record, audience: fromBinary(LogEntrySchema, record.entry).audience }));
  assert.deepEqual(new Set(read.map(({ audience }) => audience)), new Set(["", "one"]));
  assert.ok(read.some(({ audience, openings }) => audience === "one" && openings.length > 0));
  assert.ok(
    read.every(({ audience, openings }) => audience === "one" || openings.length === 0),
    "names of people elsewhere are not opened",
  );
  const { checkpoint, verifierKey } = await audit.log.getCheckpoint({});
  const report = await verifyLog(from(records), { checkpoint, verifierKey });
  assert.deepEqual([report.ok, report.problems], [true, []]);
  assert.ok(report.unread > 0n);
  const whole = await as(authority, "user:both@test");
  const all = (await whole.log.list({ pageSize: 1000 })).records;
  assert.ok(
    all.every(({ entry }) => entry.length > 0) &&
      all.some(({ entry, openings }) => fromBinary(LogEntrySchema, entry).audience === "" && openings.length > 0),
  );
  assert.equal((await refusal(audit.log.list({ audience: "two" }))).reason, "ROLE_REQUIRED");
  assert.equal((await audit.log.getCheckpoint({})).position?.revision, (await audit.log.list({ pageSize: 1 })).position?.revision);
  assert.deepEqual((await audit.elevations.list({ filter: { audience: "two" } })).elevations, []);
});

test("a reader that does not keep up is cut, and what is urgent goes first", async () => {
  const slow = new Mailbox<{ n: number }>(3, () => new Error("too slow"));
  for (const n of [1, 2]) slow.push({ n });
  slow.push({ n: 0 }, { urgent: true });
  const read: number[] = [];
  for await (const { n } of slow) {
    read.push(n);
    if (read.length === 3) slow.close();
  }
  assert.deepEqual(read, [0, 1, 2]);
  const cut = new Mailbox<{ n: number }>(3, () => new Error("too slow"));
  for (let n = 0; n < 5; n += 1) cut.push({ n });
  await assert.rejects(async () => {
    for await (const item of cut) read.push(item.n);
  }, /too slow/);
  assert.equal(read.length, 3, "what waited is not sent any more");
  const long = new Mailbox<{ n: number }>(100_000, () => new Error("too slow"));
  for (let n = 0; n < 5000; n += 1) long.push({ n });
  let next = 0;
  for await (const { n } of long) {
    assert.equal(n, next);
    next += 1;
    if (next === 2500) for (let more = 5000; more < 6000; more += 1) long.push({ n: more });
    if (next === 6000) long.close();
  }
  assert.equal(next, 6000);
});

async function* from<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}
