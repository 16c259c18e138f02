// Live streams on real sockets: what grpc-js makes of an end from outside.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { type Client, credentials, makeGenericClientConstructor, Server, ServerCredentials, status } from "@grpc/grpc-js";
import { GUARD_TOKEN } from "../testdata/authority.ts";
import { AUDIENCE } from "../testdata/facts.ts";
import { scene, type TestScene } from "../testdata/scene.ts";
import { type Guard, guard } from "./grpc.ts";

const METHODS = ["Watch", "Import", "Chat"].map((name) => `test.v1.Ledger/${name}`);
const bytes = (value: Buffer): Buffer => value;
const methodOf = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});

/** What a handler of a stream gets, whatever its kind. */
interface Handled {
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  write?(message: Buffer): boolean;
  end?(): void;
}

/** A server with one stream, guarded, whose handler the test gives. */
async function serve(of: Guard, kind: "Watch" | "Import" | "Chat", handler: (call: Handled, finish?: unknown) => void) {
  const server = new Server({ interceptors: [of.interceptor] });
  const definition = { [kind]: methodOf(`/test.v1.Ledger/${kind}`, kind !== "Watch", kind !== "Import") };
  server.addService(definition, { [kind]: handler });
  const port = await listen(server);
  return { port, [Symbol.dispose]: () => server.forceShutdown() };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
  });
}

/** One call on the wire: its frames of headers, as they come. */
function raw(port: number, method: string, authorization: string) {
  const session = connect(`http://127.0.0.1:${port}`);
  const stream = session.request({
    ":method": "POST",
    ":path": `/test.v1.Ledger/${method}`,
    "content-type": "application/grpc",
    te: "trailers",
    authorization,
  });
  const headers: IncomingHttpHeaders[] = [];
  stream.on("response", (one: IncomingHttpHeaders) => headers.push(one));
  stream.on("trailers", (one: IncomingHttpHeaders) => headers.push(one));
  stream.on("error", () => {});
  stream.resume();
  return { stream, headers, [Symbol.dispose]: () => session.destroy() };
}

const FRAME = Buffer.from([0, 0, 0, 0, 1, 120]);

async function elevated(at: TestScene) {
  const { id } = at.authority.elevate({ entitlement: "streams", methods: METHODS });
  await at.authority.settled();
  return { id, authorization: await at.as() };
}

for (const kind of ["Watch", "Import", "Chat"] as const)
  test(`a revocation ends a ${kind} before it is acknowledged, as a call that the service had, and the handler may do what it likes`, async () => {
    await using at = await scene();
    const { id, authorization } = await elevated(at);
    const cancelled = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    const wrong: unknown[] = [];
    const note = (error: unknown): void => void wrong.push(error);
    process.on("uncaughtException", note);
    let writing: NodeJS.Immediate | undefined;
    using server = await serve(at.guard, kind, (call, finish) => {
      call.on("data", () => {});
      started.resolve();
      call.on("cancelled", () => {
        // Everything that a handler may still try.
        call.write?.(Buffer.from("late"));
        call.end?.();
        if (typeof finish === "function") Reflect.apply(finish, undefined, [null, Buffer.from("late")]);
        if (typeof finish === "function") Reflect.apply(finish, undefined, [{ code: status.ABORTED, details: "late" }]);
        cancelled.resolve();
      });
      const goOn = (): void => {
        call.write?.(Buffer.from("on and on"));
        writing = setImmediate(goOn);
      };
      if (kind === "Chat") goOn();
    });
    using call = raw(server.port, kind, authorization);
    call.stream.write(FRAME);
    if (kind === "Watch") call.stream.end();
    await started.promise;
    assert.equal(at.guard.status().streams, 1);
    at.authority.elevate({ id, entitlement: "streams", methods: METHODS, state: ElevationState.REVOKED });
    await at.authority.settled();
    assert.equal(at.guard.status().streams, 0, "ended when it is acknowledged");
    // What still arrives is swallowed.
    if (kind !== "Watch") call.stream.write(FRAME);
    if (kind !== "Watch") call.stream.end();
    if (!call.stream.closed) await once(call.stream, "close");
    await cancelled.promise;
    await new Promise(setImmediate);
    clearImmediate(writing);
    process.off("uncaughtException", note);
    assert.deepEqual(wrong, []);
    const [head, end] = call.headers;
    assert.deepEqual([call.headers.length, head?.["grpc-status"]], [2, undefined], "headers, and then the status");
    assert.equal(end?.["grpc-status"], String(status.PERMISSION_DENIED));
    assert.match(decodeURI(String(end?.["grpc-message"])), /^ELEVATION_REVOKED/);
    assert.equal(end?.["grpc-retry-pushback-ms"], "-1");
    assert.equal((await at.service.call("GetEntry", { authorization })).code, status.OK);
  });

test("a caller that reads nothing more keeps no handler at work behind a revocation", async () => {
  await using at = await scene();
  const { id, authorization } = await elevated(at);
  const full = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<void>();
  using server = await serve(at.guard, "Watch", (call) => {
    call.on("cancelled", () => cancelled.resolve());
    // Until nothing more is taken: the flow control's window is full.
    while (call.write?.(Buffer.alloc(100_000)) === true);
    setTimeout(() => full.resolve(), 50);
  });
  using call = raw(server.port, "Watch", authorization);
  call.stream.pause();
  call.stream.end(FRAME);
  await full.promise;
  at.authority.elevate({ id, entitlement: "streams", methods: METHODS, state: ElevationState.REVOKED });
  await at.authority.settled();
  await cancelled.promise;
});

test("a stream ends within 100 ms of its window's end, and not before", async () => {
  await using at = await scene();
  const elevation = at.authority.elevate({ entitlement: "streams", methods: METHODS, endsInMs: 300 });
  await at.authority.settled();
  const endMs = Number(elevation.windowEnd?.seconds) * 1000 + Number(elevation.windowEnd?.nanos) / 1e6;
  using server = await serve(at.guard, "Chat", (call) => call.on("data", () => {}));
  using call = raw(server.port, "Chat", await at.as());
  await once(call.stream, "trailers");
  const lateMs = at.authority.nowMs() - endMs;
  assert.match(decodeURI(String(call.headers[1]?.["grpc-message"])), /^ELEVATION_EXPIRED/);
  assert.ok(lateMs > -100, `${lateMs} ms behind the end`);
  assert.ok(lateMs < 100, `${lateMs} ms behind the end`);
});

test("every kind of permitted call says when its window ends", async () => {
  await using at = await scene();
  const { authorization } = await elevated(at);
  at.authority.elevate();
  await at.authority.settled();
  for (const kind of ["Refund", "Watch", "Import", "Chat"] as const) {
    const answer = await at.service.call(kind, { authorization });
    assert.equal(answer.code, status.OK, `${kind} ${answer.message}`);
    const [ends] = answer.trailers.get("brevet-window-ends");
    assert.ok(Number(ends) > 3500 && Number(ends) <= 3600, `${kind}: ${String(ends)}`);
  }
  assert.deepEqual((await at.service.call("GetEntry", { authorization })).trailers.get("brevet-window-ends"), []);
});

test("health is NOT_SERVING until the guard is ready, and then what the service says", async () => {
  await using at = await scene();
  const logger = { info() {}, warn() {}, error() {} };
  const nobody = at.authority.url.replace(/\d+$/, "1");
  const asked = await healthServer(
    guard({ authority: nobody, audience: AUDIENCE, identity: () => "x", logger }),
    guard({ authority: at.authority.url, audience: AUDIENCE, identity: () => GUARD_TOKEN, logger }),
  );
  try {
    assert.deepEqual(await asked.check(0), [8, 2]);
    assert.equal(await asked.watch(0), status.UNAVAILABLE);
    await asked.ready;
    assert.deepEqual(await asked.check(1), [8, 1]);
    assert.equal(await asked.watch(1), status.OK);
  } finally {
    await asked.close();
  }
});

/** Two servers whose own health is good, one behind each guard. */
async function healthServer(...guards: readonly Guard[]) {
  const path = "/grpc.health.v1.Health";
  const service = { Check: methodOf(`${path}/Check`, false, false), Watch: methodOf(`${path}/Watch`, false, true) };
  const servers = guards.map(({ interceptor }) => new Server({ interceptors: [interceptor] }));
  const serving = { status: 1 };
  const encode = ({ status: is }: { status: number }): Buffer => Buffer.from([8, is]);
  for (const server of servers)
    server.addService(
      {
        // A service's own library serialises its own objects: the guard's answer must not pass through it.
        Check: { ...service.Check, responseSerialize: encode },
        Watch: { ...service.Watch, responseSerialize: encode },
      },
      {
        Check: (_: unknown, finish: (error: null, value: object) => void) => finish(null, serving),
        Watch: (call: { end(): void }) => call.end(),
      },
    );
  const ports = await Promise.all(servers.map(listen));
  const HealthClient = makeGenericClientConstructor({}, "Health");
  const clients: Client[] = ports.map((port) => new HealthClient(`127.0.0.1:${port}`, credentials.createInsecure()));
  const client = (which: number): Client => {
    const one = clients[which];
    if (one === undefined) throw new Error("no such server");
    return one;
  };
  return {
    ready: guards[1]?.ready(AbortSignal.timeout(10_000)),
    check: (which: number) =>
      new Promise<number[]>((resolve, reject) => {
        client(which).makeUnaryRequest(`${path}/Check`, bytes, bytes, Buffer.alloc(0), (error, value) =>
          error ? reject(error) : resolve([...(value ?? [])]),
        );
      }),
    watch: (which: number) =>
      new Promise<number>((resolve) => {
        const call = client(which).makeServerStreamRequest(`${path}/Watch`, bytes, bytes, Buffer.alloc(0));
        call.on("error", () => {});
        call.on("data", () => {});
        call.on("status", ({ code }: { code: number }) => resolve(code));
      }),
    async close() {
      for (const one of clients) one.close();
      for (const server of servers) server.forceShutdown();
      await Promise.all(guards.map((one) => one.close()));
    },
  };
}
