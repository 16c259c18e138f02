// The first call's story by API, over real sockets: asked for, approved, ACTIVE, a grant, the end; who may see it; who wins a race.
import assert from "node:assert/strict";
import { test } from "node:test";
import { GrpcCode, keysOfJwks, STATUS_DETAILS_TRAILER, verifyGrant } from "@brevet/protocol";
import {
  ElevationServiceRequestRequestSchema,
  ElevationServiceRequestResponseSchema,
  ElevationState,
  ElevationStateSchema,
} from "@brevet/protocol/brevet/v1/elevation";
import { startTestAuthority, type TestAuthority, TestClock } from "@brevet/testing";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { AUDIENCE, clients, policyText, REFUND, Reading, refusal, requestId, transport } from "../testdata/scene.ts";

const as = async (authority: TestAuthority, principal: string, groups: readonly string[] = []) =>
  clients(transport(authority.url, await authority.token(principal, { groups })));

test("asked for, approved while the caller waits, ACTIVE, a grant, the end", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const ana = await as(authority, "user:ana@test");
  const ask = { requestId: requestId(), method: REFUND, reason: "OPS-1", duration: durationFromMs(60_000) };
  const { elevation: asked, existing, position } = await sam.elevations.request(ask);
  assert.equal(existing, false);
  assert.equal(asked?.state, ElevationState.PENDING);
  assert.equal(asked.audience, AUDIENCE, "the only audience that lists the method is meant");
  assert.deepEqual([asked.requester?.name, asked.reason?.text, asked.eligibleApprovers], ["user:sam@test", "OPS-1", 2]);
  const id = asked.id;
  const watch = new Reading((signal) =>
    sam.elevations.watch({ filter: { ids: [id] }, waitingFor: [id], ...(position ? { after: position } : {}) }, { signal }),
  );
  await watch.until((message) => message.caughtUp);
  const { elevation: shown } = await ana.elevations.get({ id });
  assert.deepEqual([shown?.mayDecide, shown?.reason?.text], [true, "OPS-1"]);
  const { elevation: approved } = await ana.elevations.approve({
    requestId: requestId(),
    id,
    comment: "go on",
    seenRevision: shown?.revision ?? 0n,
  });
  assert.equal(approved?.state, ElevationState.ACTIVE, "a waiting call starts the window");
  const seen = (await watch.until((message) => message.elevation?.state === ElevationState.ACTIVE)).at(-1)?.elevation;
  assert.deepEqual([seen?.votes[0]?.voter?.name, seen?.votes[0]?.comment?.text], ["user:ana@test", "go on"]);
  watch.abort.abort();

  const { grant, expireTime, windowEnd } = await sam.elevations.issueGrant({ requestId: requestId(), id });
  assert.ok(expireTime && windowEnd && timestampMs(expireTime) <= timestampMs(windowEnd));
  const jwks = await (await fetch(`${authority.url}/.well-known/jwks.json`)).text();
  const nowMs = timestampMs(expireTime) - 1000;
  const verdict = verifyGrant(grant, { keys: keysOfJwks(jwks), issuer: authority.url, audience: AUDIENCE, nowMs, errorMs: 0 });
  assert.ok(verdict.ok);
  assert.deepEqual([verdict.claims.sub, verdict.claims.elevation], ["user:sam@test", id]);

  assert.equal((await sam.elevations.end({ requestId: requestId(), id })).elevation?.state, ElevationState.ENDED);
  const late = await refusal(sam.elevations.issueGrant({ requestId: requestId(), id }));
  assert.deepEqual([late.code, late.reason], [GrpcCode.FAILED_PRECONDITION, "ELEVATION_ENDED"]);
});

test("an approval without a waiting call is SCHEDULED, and the first use starts the window", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const ana = await as(authority, "user:ana@test");
  const guard = await as(authority, `workload:guard-${AUDIENCE}`);
  const { elevation } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
  const id = elevation?.id ?? "";
  assert.equal((await ana.elevations.approve({ requestId: requestId(), id })).elevation?.state, ElevationState.SCHEDULED);
  assert.equal((await guard.elevations.start({ requestId: requestId(), id })).elevation?.state, ElevationState.ACTIVE);
});

test("a window ends by itself at its instant, and watchers hear of it", async () => {
  const clock = new TestClock();
  await using authority = await startTestAuthority({ policy: policyText(), clock });
  const sam = await as(authority, "user:sam@test");
  const ana = await as(authority, "user:ana@test");
  const ask = { requestId: requestId(), method: REFUND, waiting: true, duration: durationFromMs(5 * 60_000) };
  const { elevation: asked } = await sam.elevations.request(ask);
  const id = asked?.id ?? "";
  const { elevation: active } = await ana.elevations.approve({ requestId: requestId(), id });
  assert.equal(active?.state, ElevationState.ACTIVE, "a call that said it waits, and whose watch is about to come");
  assert.equal(active.windowEnd && timestampMs(active.windowEnd), clock.wallMs() + 5 * 60_000);
  const watch = new Reading((signal) => sam.elevations.watch({ filter: { ids: [id] } }, { signal }));
  await watch.until((message) => message.caughtUp);
  clock.advance(5 * 60_000 - 1);
  assert.equal((await sam.elevations.get({ id })).elevation?.state, ElevationState.ACTIVE);
  clock.advance(10);
  const [expired] = (await watch.until((message) => message.elevation?.state === ElevationState.EXPIRED)).slice(-1);
  assert.deepEqual(expired?.elevation?.endTime, active.windowEnd, "the end is the window's, however late it is written");
  const refused = await refusal(sam.elevations.issueGrant({ requestId: requestId(), id }));
  assert.equal(refused.reason, "ELEVATION_EXPIRED");
  watch.abort.abort();
});

test("nobody reads more than their own, what they may decide, and what a role shows", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const { elevation } = await sam.elevations.request({ requestId: requestId(), method: REFUND, reason: "secret plan" });
  const id = elevation?.id ?? "";
  for (const reader of ["user:sam@test", "user:ana@test", "user:admin@test", "user:audit@test"]) {
    const { elevations: list } = await (await as(authority, reader)).elevations.list({});
    assert.deepEqual(
      list.map((each) => each.id),
      [id],
      reader,
    );
  }
  for (const stranger of ["user:eve@test", "user:rita@test", `workload:guard-${AUDIENCE}`]) {
    const eve = await as(authority, stranger);
    assert.equal((await eve.elevations.list({})).elevations.length, 0, stranger);
    const absent = await refusal(eve.elevations.get({ id: id.replace(/.$/, (last) => (last === "0" ? "1" : "0")) }));
    const hidden = await refusal(eve.elevations.get({ id }));
    assert.deepEqual([hidden.code, hidden.reason], [GrpcCode.NOT_FOUND, "NOT_FOUND"], stranger);
    assert.equal(hidden.message.replace(id, ""), absent.message.replace(/elv_\w+/, ""), "what is hidden and what is not there look alike");
    assert.ok(!JSON.stringify(hidden).includes("sam"));
    assert.equal((await refusal(eve.elevations.approve({ requestId: requestId(), id }))).reason, "NOT_FOUND", stranger);
    assert.equal((await refusal(eve.log.list({}))).reason, "ROLE_REQUIRED", stranger);
    assert.equal((await refusal(eve.policies.get({ audience: AUDIENCE }))).reason, "NOT_FOUND", stranger);
    assert.equal((await eve.guards.list({})).guards.length, 0, stranger);
    const watch = new Reading((signal) => eve.elevations.watch({}, { signal }));
    assert.equal((await watch.until((message) => message.caughtUp)).filter((message) => message.elevation).length, 0, stranger);
    watch.abort.abort();
  }
});

test("an approve and a deny at the same moment have one winner, and the other is told", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const ana = await as(authority, "user:ana@test");
  const bo = await as(authority, "user:bo@test");
  const winners = new Set<string>();
  for (let round = 0; round < 15; round += 1) {
    const sam = await as(authority, `user:sam-${round}@test`, ["group:support"]);
    const { elevation } = await sam.elevations.request({ requestId: requestId(), method: REFUND });
    const id = elevation?.id ?? "";
    const racers = [
      () => ana.elevations.approve({ requestId: requestId(), id }),
      () => bo.elevations.deny({ requestId: requestId(), id }),
      () => sam.elevations.withdraw({ requestId: requestId(), id }),
    ];
    // In one process the order of arrival would be the same each time.
    const racing = racers.map(async (racer) => {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 8));
      return racer();
    });
    const ended = await Promise.allSettled(racing);
    assert.equal(ended.filter(({ status }) => status === "fulfilled").length, 1, `round ${round}`);
    const { elevation: after } = await sam.elevations.get({ id });
    winners.add(ElevationStateSchema.value[after?.state ?? 0]?.localName ?? "");
    for (const other of ended) {
      if (other.status === "rejected") assert.equal((await refusal(Promise.reject(other.reason as Error))).reason, "ALREADY_DECIDED");
    }
  }
  assert.ok(!winners.has("PENDING") && winners.size > 1, `it was a race: ${[...winners].join(", ")}`);
});

test("a refusal carries the whole answer for every client: Trailers-Only, equal inside and outside", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const token = await authority.token("user:sam@test");
  const client = new grpc.Client(new URL(authority.url).host, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const call = (message: Uint8Array) =>
    new Promise<{ answer?: Uint8Array; status: grpc.StatusObject; headers: grpc.Metadata | undefined }>((resolve) => {
      let headers: grpc.Metadata | undefined;
      let answer: Uint8Array | undefined;
      const unary = client.makeUnaryRequest(
        "/brevet.v1.ElevationService/Request",
        (value: Uint8Array) => Buffer.from(value),
        (value: Buffer) => new Uint8Array(value),
        message,
        metadata,
        (_error, value) => {
          answer = value;
        },
      );
      unary.on("metadata", (value: grpc.Metadata) => {
        headers = value;
      });
      unary.on("status", (status: grpc.StatusObject) => resolve({ ...(answer ? { answer } : {}), status, headers }));
    });
  try {
    const wrong = create(ElevationServiceRequestRequestSchema, { requestId: "short", method: REFUND });
    const { status, headers } = await call(toBinary(ElevationServiceRequestRequestSchema, wrong));
    assert.equal(status.code, GrpcCode.INVALID_ARGUMENT);
    assert.match(status.details, /^REQUEST_INVALID: request_id/);
    assert.equal(headers, undefined, "nothing is committed before a refusal");
    assert.deepEqual(status.metadata.get("grpc-retry-pushback-ms"), ["-1"]);
    assert.equal(status.metadata.get(STATUS_DETAILS_TRAILER).length, 1);
    const right = create(ElevationServiceRequestRequestSchema, { requestId: requestId(), method: REFUND });
    const good = await call(toBinary(ElevationServiceRequestRequestSchema, right));
    assert.equal(good.status.code, GrpcCode.OK);
    assert.equal(
      fromBinary(ElevationServiceRequestResponseSchema, good.answer ?? new Uint8Array()).elevation?.state,
      ElevationState.PENDING,
    );
  } finally {
    client.close();
  }
});

test("every field is checked, and the refusal names it", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const admin = await as(authority, "user:admin@test");
  const wrong: [string, () => Promise<unknown>][] = [
    ["request_id", () => sam.elevations.request({ requestId: "no spaces!", method: REFUND })],
    ["method", () => sam.elevations.request({ requestId: requestId(), method: "/payments.v1.Ledger/Refund" })],
    ["run", () => sam.elevations.request({ requestId: requestId(), method: REFUND, run: "r".repeat(129) })],
    ["filter.states", () => sam.elevations.list({ filter: { states: Array.from({ length: 10 }, () => ElevationState.PENDING) } })],
    [
      "filter.states",
      () => new Reading((signal) => sam.elevations.watch({ filter: { states: Array.from({ length: 10 }, () => 1) } }, { signal })).next(),
    ],
    ["filter.ids", () => sam.elevations.list({ filter: { ids: Array.from({ length: 101 }, () => "elv_x") } })],
    ["page_size", () => sam.elevations.list({ pageSize: -1 })],
    ["page_token", () => sam.elevations.list({ pageToken: "elsewhere" })],
    ["audience", () => sam.policies.get({})],
    ["document", () => admin.policies.check({ document: "x".repeat(256 * 1024 + 1) })],
  ];
  for (const [field, call] of wrong) {
    const refused = await refusal(call());
    assert.deepEqual([refused.code, refused.reason], [GrpcCode.INVALID_ARGUMENT, "REQUEST_INVALID"], field);
    assert.equal(refused.fieldViolations[0]?.field, field);
  }
});

test("what is not offered yet says UNIMPLEMENTED", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const admin = await as(authority, "user:admin@test");
  assert.equal((await refusal(admin.policies.rollback({ audience: AUDIENCE }))).code, GrpcCode.UNIMPLEMENTED);
  assert.equal((await refusal(admin.log.getProof({}))).code, GrpcCode.UNIMPLEMENTED);
});

test("the policy is read by its admins, with text and versions", async () => {
  const text = policyText();
  await using authority = await startTestAuthority({ policy: text });
  const admin = await as(authority, "user:admin@test");
  const { version } = await admin.policies.get({ audience: AUDIENCE });
  assert.deepEqual([version?.version, version?.document, version?.author], [1n, text, undefined]);
  const { versions, nextPageToken } = await admin.policies.listVersions({ audience: AUDIENCE });
  assert.deepEqual([versions.length, versions[0]?.document, nextPageToken], [1, "", ""]);
  const { findings } = await admin.policies.check({ document: "audience: 7", file: "x.yaml" });
  assert.ok(findings.length > 0 && findings.every(({ file }) => file === "x.yaml"));
});

test("only who has a role may have a policy checked, one at a time", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const sam = await as(authority, "user:sam@test");
  const refused = await refusal(sam.policies.check({ document: "audience: 7" }));
  assert.deepEqual([refused.code, refused.reason], [GrpcCode.PERMISSION_DENIED, "ROLE_REQUIRED"]);
  const auditor = await as(authority, "user:audit@test");
  const admin = await as(authority, "user:admin@test");
  const document = "audience: 7";
  const checks = Array.from({ length: 20 }, () => auditor.policies.check({ document }));
  const answers = await Promise.allSettled([...checks, admin.policies.check({ document })]);
  assert.equal(answers.at(-1)?.status, "fulfilled", "another caller's is another matter");
  const told = await Promise.all(answers.flatMap((each) => (each.status === "rejected" ? [refusal(Promise.reject(each.reason))] : [])));
  assert.ok(told.length > 0 && told.length < 20, `${told.length} of 20 refused`);
  assert.ok(told.every(({ code, reason }) => code === GrpcCode.RESOURCE_EXHAUSTED && reason === "REQUEST_QUOTA_EXCEEDED"));
  assert.ok((await auditor.policies.check({ document })).findings.length > 0, "and then the next");
});
