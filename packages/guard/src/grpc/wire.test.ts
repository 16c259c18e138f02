import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { test } from "node:test";
import { ServerInterceptingCall, type ServerInterceptor, status } from "@grpc/grpc-js";
import { POLICY, requestOf, SAM } from "../testdata/facts.ts";
import { scene } from "../testdata/scene.ts";
import { TestService } from "../testdata/service.ts";

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
