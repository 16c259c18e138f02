// A call that waits, for its own request or for room at the service, runs only if it still may then, and takes no more than its share.
import assert from "node:assert/strict";
import type { ServerHttp2Stream } from "node:http2";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { status } from "@grpc/grpc-js";
import { requestOf } from "../testdata/facts.ts";
import { framed, pathOf, type RelayedMethod, rawCall, rawConnect, rawHeaders, rawService, relay } from "../testdata/relay.ts";

const ONE = framed(requestOf(1));

function ok(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "0" }, { endStream: true });
}

/** A service that keeps its calls, and their paths. */
async function keeping(limit: number) {
  const kept: ServerHttp2Stream[] = [];
  const seen: string[] = [];
  const service = await rawService(
    (stream, headers) => {
      seen.push(String(headers[":path"]));
      kept.push(stream);
      stream.resume();
    },
    { maxConcurrentStreams: limit },
  );
  return { service, kept, seen, [Symbol.asyncDispose]: () => service[Symbol.asyncDispose]() };
}

const turn = (): Promise<void> => new Promise(setImmediate);

for (const method of ["Refund", "Watch"] as const) {
  test(`${method}: an elevated call whose request comes after the end of its elevation never reaches the service`, async () => {
    await using held = await keeping(100);
    await using at = await relay({ proxy: { upstream: `127.0.0.1:${held.service.port}` } });
    const entitlement = method === "Refund" ? "refunds" : "streams";
    const fields = { entitlement, methods: [pathOf(method).slice(1)] };
    const { id } = at.authority.elevate(fields);
    await at.authority.settled();
    const session = rawConnect(at.proxy.port);
    const stream = session.request([...rawHeaders(pathOf(method), "authorization", await at.as())], { endStream: false });
    const ended = new Promise<unknown>((resolve) => stream.once("trailers", (trailers) => resolve(trailers["grpc-status"])));
    stream.resume();
    stream.on("error", () => {});
    while (at.proxy.status().calls === 0) await turn();
    at.authority.elevate({ ...fields, id, state: ElevationState.REVOKED });
    await at.authority.settled();
    stream.end(ONE);
    assert.equal(await ended, String(status.PERMISSION_DENIED));
    assert.deepEqual(held.seen, []);
    session.close();
  });
}

test("an elevated call whose request does not come in time is ended", async () => {
  await using at = await relay({ proxy: { limits: { requestTimeoutMs: 60 } } });
  at.authority.elevate();
  await at.authority.settled();
  const session = rawConnect(at.proxy.port);
  const answer = await rawCall(session, rawHeaders(pathOf("Refund"), "authorization", await at.as()), ONE.subarray(0, 3), true);
  const said = answer.trailers ?? answer.headers;
  assert.equal(said["grpc-status"], String(status.DEADLINE_EXCEEDED));
  assert.equal(at.handled.length, 0);
  session.close();
});

test("an elevated call without a request, or with two, does not run", async () => {
  await using at = await relay();
  at.authority.elevate();
  await at.authority.settled();
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("Refund"), "authorization", await at.as());
  for (const body of [undefined, Buffer.concat([ONE, ONE])]) {
    const answer = await rawCall(session, headers, body);
    assert.equal((answer.trailers ?? answer.headers)["grpc-status"], String(status.UNIMPLEMENTED));
  }
  session.close();
});

test("an elevated request larger than what is ever held passes whole", async () => {
  await using at = await relay({ proxy: { limits: { maxMessageBytes: 100_000 } } });
  at.authority.elevate();
  await at.authority.settled();
  const large = Buffer.alloc(1_000_000, 7);
  const run = await at.call("Refund", { authorization: await at.as() }, [large]);
  assert.equal(run.code, status.OK, run.message);
  assert.deepEqual(run.messages, [large]);
});

test("a call that waits for room is judged again before it goes", async () => {
  for (const [method, entitlement] of [
    ["Refund", "refunds"],
    ["Limited", "limited"],
  ] as const satisfies readonly (readonly [RelayedMethod, string])[]) {
    await using held = await keeping(2);
    await using at = await relay({ proxy: { upstream: `127.0.0.1:${held.service.port}`, limits: { upstreamConnections: 1 } } });
    const fields = { entitlement, methods: [pathOf(method).slice(1)] };
    const { id } = at.authority.elevate(fields);
    await at.authority.settled();
    const others = [rawConnect(at.proxy.port), rawConnect(at.proxy.port)];
    for (const other of others) void rawCall(other, rawHeaders(pathOf("Ping")), ONE);
    while (held.seen.length < 2) await turn();
    const session = rawConnect(at.proxy.port);
    const headers = rawHeaders(pathOf(method), "authorization", await at.as());
    const waiting = rawCall(session, headers, ONE);
    while (at.proxy.status().waiting !== 1) await turn();
    at.authority.elevate({ ...fields, id, state: ElevationState.REVOKED });
    await at.authority.settled();
    for (const stream of held.kept) ok(stream);
    const answer = await waiting;
    assert.equal((answer.trailers ?? answer.headers)["grpc-status"], String(status.PERMISSION_DENIED), method);
    assert.deepEqual(held.seen, [pathOf("Ping"), pathOf("Ping")], method);
    for (const each of [...others, session]) each.close();
  }
});

test("one caller's connection takes no more than half of the room, and waits for no longer than a while", async (t) => {
  await using held = await keeping(4);
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${held.service.port}`, limits: { upstreamConnections: 1 } } });
  const greedy = rawConnect(at.proxy.port);
  const answers = Array.from({ length: 5 }, () => rawCall(greedy, rawHeaders(pathOf("Ping")), ONE));
  while (at.proxy.status().waiting !== 3) await turn();
  const other = rawConnect(at.proxy.port);
  const authorization = await at.as();
  const mine = rawCall(other, rawHeaders(pathOf("GetEntry"), "authorization", authorization), ONE);
  while (held.seen.length < 3) await turn();
  assert.deepEqual(held.seen, [pathOf("Ping"), pathOf("Ping"), pathOf("GetEntry")]);
  t.diagnostic("the rest waits its time out");
  const late = (await Promise.race(answers)).headers;
  assert.equal(late["grpc-status"], String(status.UNAVAILABLE));
  assert.match(decodeURI(String(late["grpc-message"])), /no room for further calls/);
  for (const stream of held.kept) ok(stream);
  await Promise.all([mine, ...answers]);
  greedy.close();
  other.close();
});
