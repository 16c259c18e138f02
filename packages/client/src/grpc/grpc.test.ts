import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http2";
import { test } from "node:test";
import { type Clock, systemClock } from "@brevet/protocol";
import { type CallerReport, CallerReportSchema, ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { toJson } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { Metadata, status } from "@grpc/grpc-js";
import { AUDIENCE, call, REFUND, required, Scene, stream, until } from "../testdata/scene.ts";

test("a refused call asks, waits for a person, and runs: the program sees one call", async () => {
  await using scene = await Scene.open();
  const made = call(scene.client({ reason: "OPS-7" }));
  const { elevation } = await scene.event("waiting");
  assert.equal(scene.seen.length, 1);
  await scene.approve(elevation);
  const answer = await made.answer;
  assert.equal(answer.code, status.OK, answer.message);
  assert.equal(answer.response, "done 12.50");
  assert.deepEqual(
    scene.seen.map(({ elevations, messages }) => ({ elevations, messages })),
    [
      { elevations: [], messages: ["12.50"] },
      // This service has not heard of the approval until it is shown the grant.
      { elevations: [], messages: ["12.50"] },
      { elevations: [elevation], messages: ["12.50"] },
    ],
  );
  const [mine] = await scene.mine();
  assert.deepEqual([mine?.id, mine?.method, mine?.entitlement, mine?.reason?.text], [elevation, REFUND, "refund", "OPS-7"]);
});

test("the program hears who is waited for, since when, who approved, and how long it has", async () => {
  await using scene = await Scene.open();
  const made = call(scene.client());
  const waiting = await scene.event("waiting");
  await scene.approve(waiting.elevation);
  await made.answer;
  assert.deepEqual(
    scene.events.map(({ kind }) => kind),
    ["asked", "waiting", "approved", "running", "window"],
  );
  assert.deepEqual([waiting.approvers, waiting.eligibleApprovers, waiting.quorum], [["group:oncall"], 2, 1]);
  assert.ok(Date.parse(waiting.since ?? "") <= Date.parse(waiting.until ?? ""));
  const approved = await scene.event("approved");
  assert.deepEqual(approved.by, ["user:ana@test"]);
  assert.ok(Date.parse(approved.windowEnd ?? "") > 0);
  assert.deepEqual(scene.events.at(-1), { kind: "window", method: REFUND, secondsLeft: 540 });
  assert.equal((await scene.event("asked")).decisionId, "dec_1");
  JSON.stringify(scene.events);
});

test("a call that needs nothing opens no connection and asks for no token of the authority", async () => {
  await using scene = await Scene.open();
  scene.rule = () => undefined;
  const answer = await call(scene.client({ authority: "http://127.0.0.1:1" })).answer;
  assert.equal(answer.code, status.OK);
  assert.deepEqual(scene.audiences, ["payments-test"]);
  assert.match(String(scene.seen[0]?.metadata.authorization), /^Bearer ey/);
  assert.deepEqual(scene.lines, []);
});

test("what the service says itself comes through as it is", async () => {
  await using scene = await Scene.open();
  scene.rule = () => ({ code: status.NOT_FOUND, details: "no such charge" });
  const answer = await call(scene.client()).answer;
  assert.deepEqual([answer.code, answer.message, answer.status.reason], [status.NOT_FOUND, "no such charge", undefined]);
  assert.deepEqual(await scene.mine(), []);
});

test("a denial reaches the caller with the approver's words, as a denial", async () => {
  await using scene = await Scene.open();
  const made = call(scene.client());
  const { elevation } = await scene.event("waiting");
  await scene.deny(elevation, "not this customer");
  const answer = await made.answer;
  assert.equal(answer.code, status.PERMISSION_DENIED);
  assert.equal(answer.status.reason, "ELEVATION_DENIED");
  assert.match(answer.message, /refused by user:ana@test: "not this customer"\. Run: brevet show elv_/);
  assert.deepEqual(
    [answer.status.metadata.elevation, answer.status.metadata.decisionId, answer.status.metadata.state],
    [elevation, "dec_1", "DENIED"],
  );
  assert.equal(scene.seen.length, 1);
});

test("withdrawn and revoked are told apart from denied", async () => {
  await using scene = await Scene.open();
  const sam = await scene.as("user:sam@test");
  const admin = await scene.as("user:admin@test");
  const ends = {
    ELEVATION_WITHDRAWN: (id: string) => sam.withdraw({ id, requestId: "withdraw-1" }),
    ELEVATION_REVOKED: (id: string) => admin.revoke({ target: { case: "id", value: id }, requestId: "revoke-01" }),
  };
  for (const [reason, end] of Object.entries(ends)) {
    const from = scene.events.length;
    const made = call(scene.client());
    await end((await scene.event("waiting", from)).elevation);
    const answer = await made.answer;
    assert.deepEqual([answer.code, answer.status.reason], [status.PERMISSION_DENIED, reason]);
  }
});

test("a wait that runs out leaves the request open and names it, and the next call joins it", async () => {
  await using scene = await Scene.open();
  const answer = await call(scene.client({ wait: 1000 })).answer;
  assert.deepEqual([answer.code, answer.status.reason], [status.DEADLINE_EXCEEDED, "APPROVAL_WAIT_TIMEOUT"]);
  const { elevation } = answer.status.metadata;
  assert.match(answer.message, new RegExp(`Run: brevet show ${elevation}`));
  assert.ok(Number(answer.status.metadata.waitedMs) >= 1000);
  scene.rule = ({ elevations }) =>
    elevations.length > 0 ? undefined : required({ reason: "ELEVATION_PENDING", metadata: { elevation: elevation ?? "" }, offers: [] });
  const again = call(scene.client());
  await scene.event("waiting", scene.events.length);
  await scene.approve(elevation ?? "");
  assert.equal((await again.answer).code, status.OK);
  assert.equal((await scene.mine()).length, 1);
});

test("a call can be cancelled while it is parked, and is not issued again", async () => {
  await using scene = await Scene.open();
  const made = call(scene.client());
  const { elevation } = await scene.event("waiting");
  made.cancel();
  const answer = await made.answer;
  assert.deepEqual([answer.code, answer.message], [status.CANCELLED, "Cancelled on client"]);
  await scene.approve(elevation);
  assert.equal(scene.seen.length, 1);
});

test("the deadline is the call's and not the wait's: it goes on with the time that it had left", async () => {
  await using scene = await Scene.open();
  const made = call(scene.client(), "Refund", "12.50", { deadline: Date.now() + 400 });
  const { elevation } = await scene.event("waiting");
  await new Promise((resolve) => setTimeout(resolve, 600));
  await scene.approve(elevation);
  assert.equal((await made.answer).code, status.OK);
  const [first, second] = scene.seen;
  assert.ok(first && second);
});

test("a parked call survives a restart of the authority", async () => {
  await using scene = await Scene.open();
  const made = call(scene.client());
  const { elevation } = await scene.event("waiting");
  await scene.authority.restart();
  await scene.approve(elevation);
  assert.equal((await made.answer).code, status.OK);
  assert.equal((await scene.mine()).length, 1);
});

test("a call waits for an authority that is away as it waits for a person, not only for a moment", async () => {
  await using scene = await Scene.open();
  // Twenty times as fast, so that the session's five seconds of patience are over soon.
  const clock: Clock = {
    wallMs: () => systemClock.wallMs(),
    monotonicMs: () => systemClock.monotonicMs() * 20,
    after: (ms, callback, options) => systemClock.after(ms / 20, callback, options),
  };
  const client = scene.client({ wait: "10m", clock });
  let made: ReturnType<typeof call> | undefined;
  await scene.authority.restart(async () => {
    made = call(client);
    const began = clock.monotonicMs();
    await until(() => clock.monotonicMs() - began > 15_000);
  });
  await scene.approve((await scene.event("waiting")).elevation);
  assert.equal((await made?.answer)?.code, status.OK);
  assert.equal((await scene.mine()).length, 1);
  assert.ok(scene.lines.some(({ message }) => message === "brevet: the authority is away; the call waits for it"));
});

test("the authority receives the caller's half of the refusal with the request", async () => {
  await using scene = await Scene.open();
  const received: CallerReport[] = [];
  // An authority that keeps what it is sent, and then has had enough.
  const server = createServer(
    connectNodeAdapter({
      routes: (router) =>
        router.service(ElevationService, {
          request: ({ report }) => {
            if (report !== undefined) received.push(report);
            throw new ConnectError("not today", Code.ResourceExhausted);
          },
        }),
    }),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  await using cleanup = new AsyncDisposableStack();
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const metadata = new Metadata();
  metadata.set("traceparent", `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`);
  const began = Date.now();
  const token = await scene.authority.token("user:sam@test", { audience: AUDIENCE });
  const closing = new AbortController();
  cleanup.defer(() => {
    closing.abort();
    server.close();
  });
  const client = scene.client({ authority: `http://127.0.0.1:${address.port}`, identity: () => token, signal: closing.signal });
  await call(client, "Refund", "12.50", {}, metadata).answer;
  const [report, ...others] = received;
  assert.ok(report !== undefined && others.length === 0);
  assert.deepEqual(
    [report.decisionId, report.code, report.reason, report.method, report.traceId],
    ["dec_1", status.PERMISSION_DENIED, "ELEVATION_REQUIRED", REFUND, "ab".repeat(16)],
  );
  assert.deepEqual(report.headersSent.toSorted(), ["authorization", "traceparent"]);
  assert.ok(report.callerTime !== undefined && timestampMs(report.callerTime) >= began);
  assert.ok(!JSON.stringify(toJson(CallerReportSchema, report)).includes(token), "names of headers, never their values");
});

test("concurrent calls of one question make one request, and all run", async () => {
  await using scene = await Scene.open();
  const client = scene.client();
  const made = [call(client, "Refund", "1"), call(client, "Refund", "2"), call(scene.client(), "Refund", "3")];
  const waiting = await until(() => scene.events.filter(({ kind }) => kind === "waiting").length === 3 && scene.events.at(-1));
  assert.equal(waiting.kind, "waiting");
  const [only, ...others] = await scene.mine();
  assert.equal(others.length, 0);
  assert.equal(only?.holds, 1);
  await scene.approve(only.id);
  const answers = await Promise.all(made.map(({ answer }) => answer));
  assert.deepEqual(answers.map(({ response }) => response).toSorted(), ["done 1", "done 2", "done 3"]);
});

test("a guard that has not heard of the approval yet is shown the grant, once", async () => {
  await using scene = await Scene.open();
  scene.rule = ({ elevations }) => (elevations.length > 0 ? undefined : required());
  const made = call(scene.client());
  const { elevation } = await scene.event("waiting");
  await scene.approve(elevation);
  assert.equal((await made.answer).code, status.OK);
  assert.deepEqual(
    scene.seen.map(({ elevations }) => elevations),
    [[], [], [elevation]],
  );
});

test("a refusal that is about the approved elevation itself is passed on at once", async () => {
  await using scene = await Scene.open();
  const made = call(scene.client());
  const { elevation } = await scene.event("waiting");
  scene.rule = () => required({ reason: "ELEVATION_EXPIRED", metadata: { elevation } });
  await scene.approve(elevation);
  assert.deepEqual([(await made.answer).status.reason, scene.seen.length], ["ELEVATION_EXPIRED", 2]);
});

test("a refusal after the approval and the grant is passed on", async () => {
  await using scene = await Scene.open();
  scene.rule = () => required();
  const made = call(scene.client());
  await scene.approve((await scene.event("waiting")).elevation);
  const answer = await made.answer;
  assert.deepEqual([answer.status.reason, scene.seen.length], ["ELEVATION_REQUIRED", 3]);
});

test("a channel that was closed while the call was parked ends it as UNAVAILABLE", async () => {
  await using scene = await Scene.open();
  const client = scene.client();
  const made = call(client);
  const { elevation } = await scene.event("waiting");
  client.close();
  await scene.approve(elevation);
  const answer = await made.answer;
  assert.equal(answer.code, status.UNAVAILABLE);
  assert.match(answer.message, /could not be issued: /);
});

test("an authority that cannot be reached is said to be unreachable", async () => {
  await using scene = await Scene.open();
  const answer = await call(scene.client({ authority: "http://127.0.0.1:1", wait: 500 })).answer;
  assert.deepEqual([answer.code, answer.status.reason], [status.UNAVAILABLE, "AUTHORITY_UNREACHABLE"]);
  assert.match(answer.message, /http:\/\/127\.0\.0\.1:1 did not answer/);
});

test("a call that waits for the authority itself says so, once per outage, since when and why, and that it is over", async () => {
  await using scene = await Scene.open();
  const made = [call(scene.client({ reason: "one" })), call(scene.client({ reason: "two" }))];
  await until(() => scene.events.filter(({ kind }) => kind === "waiting").length === 2);
  const began = Date.now();
  await scene.authority.restart(async () => {
    await until(() => scene.events.filter(({ kind }) => kind === "unreachable").length === 2);
  });
  await until(() => scene.events.filter(({ kind }) => kind === "reachable").length === 2);
  const outage = await scene.event("unreachable");
  assert.deepEqual([outage.method, outage.authority], [REFUND, scene.authority.url]);
  assert.ok(Date.parse(outage.since) >= began && Date.parse(outage.since) <= Date.now());
  assert.ok(outage.problem.length > 0);
  for (const { id } of await scene.mine()) await scene.approve(id);
  for (const { answer } of made) assert.equal((await answer).code, status.OK);
  assert.equal(scene.events.filter(({ kind }) => kind === "unreachable").length, 2);
});

test("an authority that was never there is said to be away while the call waits for it, not only when the wait is over", async () => {
  await using scene = await Scene.open();
  const made = call(scene.client({ authority: "http://127.0.0.1:1", wait: "1m" }));
  const { authority, problem } = await scene.event("unreachable");
  assert.equal(authority, "http://127.0.0.1:1");
  assert.match(problem, /ECONNREFUSED/);
  made.cancel();
  assert.equal((await made.answer).code, status.CANCELLED);
});

test("streams of every kind get the identity", async () => {
  await using scene = await Scene.open();
  const client = scene.client({ identity: async (audience) => scene.identity(audience) });
  scene.rule = () => undefined;
  for (const [method, messages, expected] of [
    ["List", ["a"], "done a"],
    ["Import", ["a", "b", "c"], "done a+b+c"],
    ["Chat", ["a", "b", "c"], "done a+done b+done c"],
  ] as const) {
    const answer = await stream(client, method, messages);
    assert.deepEqual([answer.code, answer.response], [status.OK, expected], method);
    assert.match(String(scene.seen.at(-1)?.metadata.authorization), /^Bearer ey/);
  }
});
