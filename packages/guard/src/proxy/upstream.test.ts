// What becomes of calls when the service behind is away, ends connections, or takes back what it took.
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants, type ServerHttp2Stream } from "node:http2";
import { createServer, type Socket } from "node:net";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { framed, pathOf, rawCall, rawConnect, rawHeaders, rawService, relay } from "../testdata/relay.ts";

const ONE = framed(Buffer.from("x"));

/** Answers with OK and the request's bytes. */
function echo(stream: ServerHttp2Stream): void {
  const parts: Buffer[] = [];
  stream.on("data", (part: Buffer) => parts.push(part));
  stream.on("end", () => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(Buffer.concat(parts));
  });
}

test("a service that is away is UNAVAILABLE, without a reason of ours, and reached again by itself", async () => {
  const gone = await rawService(echo);
  const { port } = gone;
  await gone[Symbol.asyncDispose]();
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${port}` } });
  const authorization = await at.as();
  for (let i = 0; i < 3; i += 1) {
    const away = await at.call("GetEntry", { authorization });
    assert.equal(away.code, status.UNAVAILABLE);
    assert.equal(away.message, "the service behind the guard is not reached (ECONNREFUSED)");
    assert.equal(away.status.reason, undefined);
  }
  assert.equal(at.proxy.status().upstreamProblem, "ECONNREFUSED");
  assert.equal(at.lines.filter(({ message }) => message === "the service behind the proxy is not reached").length, 1, "said once");
  await using back = await rawService(echo, {}, port);
  let run = await at.call("GetEntry", { authorization });
  while (run.message !== "" && run.message !== "OK") {
    await new Promise((resolve) => setTimeout(resolve, 20));
    run = await at.call("GetEntry", { authorization });
  }
  assert.equal(run.code, status.OK, run.message);
  assert.equal(at.proxy.status().upstreamProblem, undefined);
  assert.ok(at.lines.some(({ message }) => message === "the service is reached again"));
  assert.equal(back.sessions.size, 1);
});

test("while a service is away it is tried seldom, not once for each call", async () => {
  let tries = 0;
  const refusing = createServer((socket: Socket) => {
    tries += 1;
    socket.destroy();
  });
  refusing.listen(0, "127.0.0.1");
  await once(refusing, "listening");
  const { port } = refusing.address() as { port: number };
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${port}` } });
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("GetEntry"), "authorization", await at.as());
  const until = performance.now() + 400;
  let calls = 0;
  while (performance.now() < until) {
    const answer = await rawCall(session, headers, ONE);
    assert.equal(answer.headers["grpc-status"], String(status.UNAVAILABLE));
    calls += 1;
  }
  assert.ok(calls > 20 && tries <= 5, `${tries} tries for ${calls} calls`);
  session.close();
  refusing.close();
});

test("a service that takes connections and says nothing is given up after a while", async () => {
  const silent = createServer((socket) => void socket.on("error", () => {}));
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as { port: number };
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${port}`, limits: { connectTimeoutMs: 50 } } });
  const away = await at.call("GetEntry", { authorization: await at.as() });
  assert.equal(away.code, status.UNAVAILABLE);
  assert.match(away.message, /no answer within 50 ms/);
  silent.close();
});

test("what is no HTTP/2 service is UNAVAILABLE, not a hang", async () => {
  const web = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  const { port } = web.address() as { port: number };
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${port}` } });
  assert.equal((await at.call("GetEntry", { authorization: await at.as() })).code, status.UNAVAILABLE);
  web.close();
});

test("a connection that breaks under a call is UNAVAILABLE, and the next call has a new one", async () => {
  let first = true;
  await using service = await rawService((stream) => {
    if (!first) return echo(stream);
    first = false;
    stream.session?.destroy();
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const authorization = await at.as();
  const broken = await at.call("GetEntry", { authorization });
  assert.equal(broken.code, status.UNAVAILABLE, broken.message);
  assert.equal((await at.call("GetEntry", { authorization })).code, status.OK);
});

test("a connection that breaks in the middle of an answer ends it with UNAVAILABLE, after what had come", async () => {
  await using service = await rawService((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.write(framed(Buffer.from("first")), () => setTimeout(() => stream.session?.destroy(), 20));
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  at.authority.elevate({ entitlement: "streams", methods: ["test.v1.Ledger/Watch"] });
  await at.authority.settled();
  const run = await at.call("Watch", { authorization: await at.as() });
  assert.equal(run.code, status.UNAVAILABLE);
  assert.deepEqual(run.messages.map(String), ["first"]);
});

test("a reset is told as gRPC maps it", async () => {
  let code = 0;
  await using service = await rawService((stream) => stream.close(code));
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("GetEntry"), "authorization", await at.as());
  for (const [reset, expected] of [
    [constants.NGHTTP2_NO_ERROR, status.INTERNAL],
    [constants.NGHTTP2_INTERNAL_ERROR, status.INTERNAL],
    [constants.NGHTTP2_CANCEL, status.CANCELLED],
    [constants.NGHTTP2_ENHANCE_YOUR_CALM, status.RESOURCE_EXHAUSTED],
    [constants.NGHTTP2_INADEQUATE_SECURITY, status.PERMISSION_DENIED],
    [constants.NGHTTP2_REFUSED_STREAM, status.UNAVAILABLE],
  ] as const) {
    code = reset;
    const answer = await rawCall(session, headers, ONE);
    assert.equal(answer.headers["grpc-status"], String(expected), `HTTP/2 ${reset}`);
  }
  session.close();
});

test("an answer that ends without a status is INTERNAL", async () => {
  await using service = await rawService((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    stream.end(framed(Buffer.from("answer")));
    stream.resume();
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const run = await at.call("GetEntry", { authorization: await at.as() });
  assert.equal(run.code, status.INTERNAL);
  assert.match(run.message, /without a status/);
});

test("an answer that is plain HTTP passes as it is", async () => {
  await using service = await rawService((stream) => {
    stream.respond({ ":status": 503, "content-type": "text/plain" });
    stream.end("overloaded");
    stream.resume();
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const answer = await rawCall(session, rawHeaders(pathOf("GetEntry"), "authorization", await at.as()), ONE);
  assert.deepEqual([answer.headers[":status"], answer.body.toString()], [503, "overloaded"]);
  session.close();
});

test("a call that the service surely never saw is sent again, whole: refused, or beyond a GOAWAY", async () => {
  for (const refuse of ["REFUSED_STREAM", "GOAWAY", "GOAWAY with an error"] as const) {
    let tries = 0;
    await using service = await rawService((stream) => {
      tries += 1;
      if (tries !== 2) return echo(stream);
      if (refuse === "REFUSED_STREAM") return stream.close(constants.NGHTTP2_REFUSED_STREAM);
      stream.session?.goaway(refuse === "GOAWAY" ? 0 : constants.NGHTTP2_ENHANCE_YOUR_CALM, 1);
      stream.resume();
    });
    await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
    const authorization = await at.as();
    for (let i = 1; i < 3; i += 1) {
      const run = await at.call("GetEntry", { authorization }, [Buffer.from("whole")]);
      assert.equal(run.code, status.OK, `${refuse}: ${run.message}`);
      assert.deepEqual(run.messages.map(String), ["whole"]);
    }
    assert.equal(tries, 3);
  }
});

test("a call whose request is too long to keep is not sent again", async () => {
  let tries = 0;
  await using service = await rawService((stream) => {
    tries += 1;
    let came = 0;
    stream.on("data", (part: Buffer) => {
      came += part.length;
      if (came > 200_000) stream.close(constants.NGHTTP2_REFUSED_STREAM);
    });
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const run = await at.call("GetEntry", { authorization: await at.as() }, [Buffer.alloc(300_000)]);
  assert.equal(run.code, status.UNAVAILABLE);
  assert.equal(tries, 1);
});

test("calls that run when the service says GOAWAY finish, and new ones take another connection", async () => {
  const streams: ServerHttp2Stream[] = [];
  await using service = await rawService((stream) => {
    streams.push(stream);
    if (streams.length > 1) echo(stream);
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("GetEntry"), "authorization", await at.as());
  const running = rawCall(session, headers, framed(Buffer.from("one")));
  while (streams.length === 0) await new Promise(setImmediate);
  const [held] = streams;
  assert.ok(held);
  held.session?.close();
  // The GOAWAY has come when a further call takes another connection.
  while (service.sessions.size < 2) assert.equal((await rawCall(session, headers, ONE)).trailers?.["grpc-status"], "0");
  echo(held);
  const answer = await running;
  assert.equal(answer.trailers?.["grpc-status"], "0");
  assert.deepEqual(answer.body, framed(Buffer.from("one")));
  session.close();
});

test("a service that answers before the request has ended ends the call for both", async () => {
  await using service = await rawService((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(framed(Buffer.from("enough")));
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const answer = await rawCall(session, rawHeaders(pathOf("GetEntry"), "authorization", await at.as()), ONE, true);
  assert.equal(answer.trailers?.["grpc-status"], "0");
  assert.deepEqual(answer.body, framed(Buffer.from("enough")));
  assert.equal(answer.rstCode, constants.NGHTTP2_NO_ERROR);
  while (at.proxy.status().calls > 0) await new Promise(setImmediate);
  session.close();
});
