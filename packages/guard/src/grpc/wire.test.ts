import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, constants, type IncomingHttpHeaders } from "node:http2";
import { test } from "node:test";
import { ErrorInfoSchema } from "@brevet/protocol/google/rpc/error_details";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { fromBinary } from "@bufbuild/protobuf";
import { ServerInterceptingCall, type ServerInterceptor, status } from "@grpc/grpc-js";
import { METHODS, POLICY, requestOf, SAM } from "../testdata/facts.ts";
import { scene } from "../testdata/scene.ts";
import { type MethodName, TestService } from "../testdata/service.ts";

/** The HTTP/2 headers and trailers of one call, as they come. */
async function raw(
  port: number,
  method: string,
  headers: Record<string, string>,
): Promise<{ headers: IncomingHttpHeaders; flags: number; frames: number }> {
  const session = connect(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request({
      ":method": "POST",
      ":path": `/test.v1.Ledger/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const message = Buffer.from([0, 0, 0, 0, 1, 120]);
    stream.end(message);
    let frames = 1;
    stream.on("trailers", () => {
      frames += 1;
    });
    stream.resume();
    const [responded, flags] = (await once(stream, "response")) as [IncomingHttpHeaders, number];
    await once(stream, "close");
    return { headers: responded, flags, frames };
  } finally {
    session.destroy();
  }
}

test("a denial is Trailers-Only for all four kinds, with the same code and message inside and outside", async () => {
  await using at = await scene();
  for (const method of ["Refund", "Watch", "Import", "Chat", "Limited"] satisfies MethodName[]) {
    const authorization = await at.as();
    const { headers, flags, frames } = await raw(at.service.port, method, { authorization });
    assert.equal(frames, 1, method);
    assert.ok((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0, method);
    assert.equal(headers["grpc-status"], String(status.PERMISSION_DENIED), method);
    assert.equal(headers["grpc-retry-pushback-ms"], "-1");
    const details = fromBinary(StatusSchema, Buffer.from(String(headers["grpc-status-details-bin"]), "base64"));
    assert.equal(details.code, status.PERMISSION_DENIED);
    assert.equal(details.message, decodeURI(String(headers["grpc-message"])));
    const info = fromBinary(ErrorInfoSchema, details.details[0]?.value ?? new Uint8Array(0));
    assert.equal(info.domain, "brevet.dev");
    assert.equal(info.metadata.method, `test.v1.Ledger/${method}`);
  }
  assert.equal(at.service.handled.length, 0);
});

test("an unknown caller is told nothing of the policy", async () => {
  await using at = await scene();
  for (const method of Object.keys(METHODS) as MethodName[]) {
    if (method === "Ping") continue;
    const refused = await at.service.call(method, { "x-custom": "1" });
    assert.equal(refused.status.reason, "IDENTITY_MISSING");
    assert.equal(refused.status.offer, undefined);
    assert.deepEqual(refused.status.help, []);
    assert.deepEqual(Object.keys(refused.status.metadata).toSorted(), ["decisionId", "headersSeen", "method", "serverTime"]);
    assert.equal(refused.status.metadata.headersSeen, "x-custom,user-agent");
  }
});

test("handlers see no brevet metadata, and all of the rest", async () => {
  await using at = await scene();
  const elevation = at.authority.elevate();
  await at.authority.settled();
  const headers = {
    authorization: await at.as(),
    "brevet-grant": at.authority.grant(elevation),
    "brevet-other": "1",
    "brevet-x": "AA",
    "x-mine": "2",
  };
  assert.equal((await at.service.call("Refund", headers)).code, status.OK);
  assert.equal((await at.service.call("Ping", headers)).code, status.OK);
  for (const { metadata } of at.service.handled) {
    assert.deepEqual(
      Object.keys(metadata).filter((name) => name.startsWith("brevet-")),
      [],
    );
    assert.equal(metadata["x-mine"], "2");
  }
});

test("streams of every kind run under an elevation", async () => {
  await using at = await scene();
  at.authority.elevate({ entitlement: "streams", methods: ["Watch", "Import", "Chat"].map((name) => `test.v1.Ledger/${name}`) });
  await at.authority.settled();
  for (const method of ["Watch", "Import", "Chat"] satisfies MethodName[]) {
    const run = await at.service.call(method, { authorization: await at.as() });
    assert.equal(run.code, status.OK, `${method}: ${run.message}`);
  }
});

test("a condition reads the very bytes of the request, and lets exactly those through", async () => {
  await using at = await scene();
  at.authority.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  await at.authority.settled();
  const authorization = await at.as();
  // An unknown field behind the amount: re-encoding might lose it.
  const request = Buffer.concat([requestOf(500), Buffer.from([0x7a, 0x01, 0x42])]);
  const run = await at.service.call("Limited", { authorization }, request);
  assert.equal(run.code, status.OK, run.message);
  assert.deepEqual(run.response, request);
  const refused = await at.service.call("Limited", { authorization }, requestOf(501));
  assert.equal(refused.status.reason, "CONDITION_NOT_MET");
  assert.match(refused.message, /request\.amount_cents <= 500/);
  assert.equal((await at.service.call("Limited", { authorization }, Buffer.from([0x0f]))).status.reason, "POLICY_MISCONFIGURED");
  assert.equal(at.service.handled.length, 1);
});

test("a condition holds for the one request of a server stream, and for the first of a stream of requests before the handler runs", async () => {
  await using at = await scene();
  const methods = ["Watch", "Import", "Chat"].map((name) => `test.v1.Ledger/${name}`);
  at.authority.elevate({ entitlement: "streams", methods, condition: "request.amount_cents <= 5" });
  await at.authority.settled();
  const authorization = await at.as();
  assert.equal((await at.service.call("Watch", { authorization }, requestOf(5))).code, status.OK);
  assert.equal((await at.service.call("Watch", { authorization }, requestOf(6))).status.reason, "CONDITION_NOT_MET");
  for (const method of ["Import", "Chat"] satisfies MethodName[]) {
    assert.equal((await at.service.call(method, { authorization }, requestOf(5))).code, status.OK);
    assert.equal((await at.service.call(method, { authorization }, requestOf(6))).status.reason, "CONDITION_NOT_MET");
  }
  assert.deepEqual(
    at.service.handled.map(({ method }) => method),
    ["Watch", "Import", "Chat"],
  );
});

test("a call that closes without a request is refused as such, and no rule is blamed", async () => {
  await using at = await scene();
  at.authority.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  await at.authority.settled();
  const session = connect(`http://127.0.0.1:${at.service.port}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/test.v1.Ledger/Limited",
    "content-type": "application/grpc",
    te: "trailers",
    authorization: await at.as(),
  });
  stream.end();
  stream.resume();
  const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
  assert.equal(headers["grpc-status"], String(status.UNIMPLEMENTED));
  assert.match(decodeURI(String(headers["grpc-message"])), /no request message/);
  session.destroy();
  assert.equal(at.service.handled.length, 0);
  assert.ok(!at.lines.some(({ reason }) => reason !== undefined), "nothing was refused");
});

test("a guard that does not stand first refuses what it cannot read, and nothing else", async () => {
  await using at = await scene();
  const before: ServerInterceptor = (_method, call) => new ServerInterceptingCall(call);
  await using behind = await TestService.start([before, at.guard.interceptor]);
  at.authority.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  at.authority.elevate();
  await at.authority.settled();
  const authorization = await at.as();
  assert.equal((await behind.call("Refund", { authorization })).code, status.OK);
  const refused = await behind.call("Limited", { authorization }, requestOf(1));
  assert.equal(refused.status.reason, "POLICY_MISCONFIGURED");
  assert.match(refused.message, /stand first/);
  assert.equal(refused.status.metadata.principal, SAM, "and says whom");
  at.authority.applyPolicy(`${POLICY}\nmode: observe\n`);
  at.authority.elevate();
  await at.authority.settled();
  assert.equal((await behind.call("Limited", { authorization }, requestOf(1))).code, status.OK);
  const line = at.lines.findLast(({ reason }) => reason === "POLICY_MISCONFIGURED");
  assert.deepEqual([line?.principal, /only observes/.test(String(line?.message))], [SAM, true]);
});

test("whatever is thrown inside the guard is GUARD_FAULT, and the process lives", async () => {
  await using at = await scene({ guard: { clock: brokenClock() } });
  const authorization = await at.as();
  broken.now = true;
  const refused = await at.service.call("GetEntry", { authorization });
  broken.now = false;
  assert.equal(refused.code, status.INTERNAL);
  assert.equal(refused.status.reason, "GUARD_FAULT");
  assert.ok(at.lines.some(({ message, error }) => message === "the guard failed" && /the clock fell off the wall/.test(String(error))));
  assert.equal((await at.service.call("GetEntry", { authorization })).code, status.OK);
});

const broken = { now: false };

function brokenClock() {
  return {
    wallMs: () => Date.now(),
    monotonicMs: () => {
      if (broken.now && new Error().stack?.includes("Decider.decide")) throw new Error("the clock fell off the wall");
      return performance.now();
    },
    after(delayMs: number, callback: () => void) {
      const timer = setTimeout(callback, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
  };
}

test("a logger or a listener that throws changes no answer", async () => {
  const logger = {
    info() {},
    warn() {
      throw new Error("no disk");
    },
    error() {
      throw new Error("no disk");
    },
  };
  await using at = await scene({
    guard: {
      logger,
      onDecision() {
        throw new Error("not my day");
      },
    },
  });
  const refused = await at.service.call("Refund", { authorization: await at.as() });
  assert.equal(refused.status.reason, "ELEVATION_REQUIRED");
  assert.equal(at.service.handled.length, 0);
  assert.equal((await at.service.call("Ping")).code, status.OK);
});

test("a listener that rejects, and a logger that does, take nothing down", async () => {
  const told: string[] = [];
  const rejecting: () => unknown = () => Promise.reject(new Error("no disk"));
  const onDecision: (event: { reason?: string }) => unknown = (event) => {
    told.push(event.reason ?? "permit");
    return Promise.reject(new Error("not my day"));
  };
  const lost: unknown[] = [];
  const lose = (error: unknown): void => void lost.push(error);
  process.on("unhandledRejection", lose);
  try {
    await using at = await scene({ guard: { onDecision } });
    assert.equal((await at.service.call("Refund", { authorization: await at.as() })).status.reason, "ELEVATION_REQUIRED");
    assert.equal((await at.service.call("Ping")).code, status.OK);
    assert.ok(at.lines.some(({ message, error }) => message === "onDecision failed" && /not my day/.test(String(error))));
    await using other = await scene({ guard: { logger: { info: rejecting, warn: rejecting, error: rejecting }, onDecision } });
    assert.equal((await other.service.call("Refund", { authorization: await other.as() })).status.reason, "ELEVATION_REQUIRED");
    await new Promise(setImmediate);
  } finally {
    process.off("unhandledRejection", lose);
  }
  assert.deepEqual(lost, []);
  assert.deepEqual(told, ["ELEVATION_REQUIRED", "permit", "ELEVATION_REQUIRED"]);
});

test("a call with two authorization headers is refused, from the first call of a connection on", async () => {
  await using at = await scene();
  const [mine, other] = [await at.as(), await at.as("user:eve@acme.test")];
  const lenient = { maxSendHeaderBlockLength: 65_536, strictSingleValueFields: false };
  const session = connect(`http://127.0.0.1:${at.service.port}`, lenient);
  try {
    for (const [authorization, code, reason] of [
      [[mine, other], status.UNAUTHENTICATED, /^IDENTITY_MALFORMED: .*more than once/],
      [[mine, mine], status.UNAUTHENTICATED, /^IDENTITY_MALFORMED: .*more than once/],
      [[mine], status.PERMISSION_DENIED, /^ELEVATION_REQUIRED/],
      [[mine, other], status.UNAUTHENTICATED, /^IDENTITY_MALFORMED: .*more than once/],
    ] as const) {
      const names = [":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/test.v1.Ledger/Refund", "te", "trailers"];
      const twice = authorization.flatMap((value) => ["authorization", value]);
      const stream = session.request([...names, "content-type", "application/grpc", ...twice]);
      stream.end(Buffer.from([0, 0, 0, 0, 1, 120]));
      stream.resume();
      const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
      assert.equal(headers["grpc-status"], String(code));
      assert.match(decodeURI(String(headers["grpc-message"])), reason);
    }
  } finally {
    session.destroy();
  }
  assert.equal(at.service.handled.length, 0);
});
