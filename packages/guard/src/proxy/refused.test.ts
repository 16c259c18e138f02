// What the proxy cannot read in one way only is refused, with words, and never reaches the service.
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { connect } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import { ErrorInfoSchema } from "@brevet/protocol/google/rpc/error_details";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { fromBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { POLICY, requestOf } from "../testdata/facts.ts";
import { framed, pathOf, type RawAnswer, rawCall, rawConnect, rawHeaders, rawService, relay } from "../testdata/relay.ts";

const ONE = framed(requestOf(1));

function codeAndMessage({ headers }: RawAnswer): [number, string] {
  return [Number(headers["grpc-status"]), decodeURI(String(headers["grpc-message"]))];
}

test("a denial is Trailers-Only, the same inside and outside, and closes a stream that its caller leaves open", async () => {
  await using at = await relay();
  const session = rawConnect(at.proxy.port);
  for (const method of ["Refund", "Watch", "Import", "Chat", "Limited"] as const) {
    const headers = rawHeaders(pathOf(method), "authorization", await at.as());
    const answer = await rawCall(session, headers, ONE, true);
    assert.ok((answer.flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0, method);
    assert.equal(answer.rstCode, constants.NGHTTP2_NO_ERROR);
    const [code, message] = codeAndMessage(answer);
    assert.equal(answer.headers[":status"], 200);
    assert.equal(answer.headers["content-type"], "application/grpc+proto");
    assert.equal(answer.headers["grpc-retry-pushback-ms"], "-1");
    const packed = String(answer.headers[STATUS_DETAILS_TRAILER]);
    assert.doesNotMatch(packed, /=/, "unpadded");
    const details = fromBinary(StatusSchema, Buffer.from(packed, "base64"));
    assert.deepEqual([details.code, details.message], [code, message]);
    assert.equal(code, status.PERMISSION_DENIED);
    const info = fromBinary(ErrorInfoSchema, details.details[0]?.value ?? new Uint8Array(0));
    assert.equal(info.reason, "ELEVATION_REQUIRED");
    assert.equal(info.metadata.method, `test.v1.Ledger/${method}`);
  }
  assert.equal(at.handled.length, 0);
  session.close();
});

test("two thousand refused calls on one connection, none of them half-closed, leave nothing behind", async () => {
  await using at = await relay();
  const session = rawConnect(at.proxy.port);
  const goaway: number[] = [];
  session.on("goaway", (code) => goaway.push(code));
  for (let batch = 0; batch < 20; batch += 1) {
    const answers = await Promise.all(Array.from({ length: 100 }, () => rawCall(session, rawHeaders(pathOf("Refund")), ONE, true)));
    assert.ok(answers.every(({ headers }) => headers["grpc-status"] === "16"));
  }
  assert.deepEqual(goaway, []);
  assert.equal(at.proxy.status().calls, 0);
  assert.ok(!session.closed);
  session.close();
});

test("a call is what HTTP says a gRPC call is", async () => {
  await using at = await relay();
  const session = rawConnect(at.proxy.port);
  const authorization = await at.as();
  const path = pathOf("GetEntry");
  const plain = rawHeaders(path, "authorization", authorization);
  const swap = (name: string, value: string): string[] => {
    const headers = [...plain];
    headers[headers.indexOf(name) + 1] = value;
    return headers;
  };
  for (const [what, headers, expected] of [
    ["GET", swap(":method", "GET"), 405],
    ["PUT", swap(":method", "PUT"), 405],
    ["CONNECT", [":method", "CONNECT", ":authority", "x:1"], 405],
    ["grpc-web", swap("content-type", "application/grpc-web"), 415],
    ["grpc-web+proto", swap("content-type", "application/grpc-web+proto"), 415],
    ["json", swap("content-type", "application/json"), 415],
    ["grpc+json", swap("content-type", "application/grpc+json"), 415],
    ["any other form", swap("content-type", "application/grpc+thrift"), 415],
    ["parameters", swap("content-type", "application/grpc;x=y"), 415],
    ["parameters of proto", swap("content-type", "application/grpc+proto; charset=utf-8"), 415],
    ["a body that is compressed", [...plain, "content-encoding", "gzip"], 415],
    ["two encodings of the body", [...plain, "content-encoding", "identity", "content-encoding", "br"], 415],
    ["capitals", swap("content-type", "Application/GRPC"), 415],
    ["no content type", plain.filter((_, i) => i !== plain.indexOf("content-type") && i !== plain.indexOf("content-type") + 1), 415],
    ["two content types", [...plain, "content-type", "application/grpc"], 415],
  ] as const) {
    const answer = await rawCall(session, headers, what === "CONNECT" ? undefined : ONE);
    assert.equal(answer.headers[":status"], expected, what);
    assert.match(answer.body.toString(), /gRPC/, what);
  }
  assert.equal(at.handled.length, 0);
  for (const type of ["application/grpc", "application/grpc+proto"]) {
    const answer = await rawCall(session, [...swap("content-type", type), "content-encoding", "identity"], ONE);
    assert.equal(answer.trailers?.["grpc-status"], "0", type);
  }
  assert.equal(at.handled.length, 2);
  session.close();
});

test("a path is literal, or it is refused", async () => {
  await using at = await relay();
  const session = rawConnect(at.proxy.port);
  const authorization = await at.as();
  for (const path of [
    "/test.v1.Ledger/Get%45ntry",
    "//test.v1.Ledger/GetEntry",
    "/test.v1.Ledger//GetEntry",
    "/test.v1.Ledger/GetEntry/",
    "/test.v1.Ledger/GetEntry?x=1",
    "/test.v1.Ledger/GetEntry#x",
    "/test.v1.Ledger/../test.v1.Ledger/GetEntry",
    "/./test.v1.Ledger/GetEntry",
    "/test.v1.Ledger/GetEntry;v=1",
    "/test.v1..Ledger/GetEntry",
    "/test.v1.Ledger\\GetEntry",
    "http://x/test.v1.Ledger/GetEntry",
    "*",
    "/",
    `/test.v1.Ledger/${"x".repeat(250)}`,
  ]) {
    const answer = await rawCall(session, rawHeaders(path, "authorization", authorization), ONE);
    // Some are no paths to HTTP/2 itself.
    if (answer.rstCode === constants.NGHTTP2_PROTOCOL_ERROR) continue;
    assert.equal(codeAndMessage(answer)[0], status.UNIMPLEMENTED, path);
    assert.match(codeAndMessage(answer)[1], /literal/);
  }
  for (const path of ["/test.v1.Ledger/getentry", "/test.v1.Ledger/Nothing", "/test.v1.Other/GetEntry"]) {
    const answer = await rawCall(session, rawHeaders(path, "authorization", authorization), ONE);
    assert.match(codeAndMessage(answer)[1], /^METHOD_FORBIDDEN: /, path);
  }
  assert.equal(at.handled.length, 0);
  session.close();
});

test("two authorization headers are refused, from the first call of a connection on", async () => {
  await using at = await relay();
  const [mine, other] = [await at.as(), await at.as("user:eve@acme.test")];
  const session = rawConnect(at.proxy.port);
  for (const [values, code, reason] of [
    [[mine, other], status.UNAUTHENTICATED, /^IDENTITY_MALFORMED: .*more than once/],
    [[mine, mine], status.UNAUTHENTICATED, /^IDENTITY_MALFORMED: .*more than once/],
    [[mine], status.PERMISSION_DENIED, /^ELEVATION_REQUIRED/],
  ] as const) {
    const answer = await rawCall(session, rawHeaders(pathOf("Refund"), ...values.flatMap((value) => ["authorization", value])), ONE);
    assert.equal(codeAndMessage(answer)[0], code);
    assert.match(codeAndMessage(answer)[1], reason);
  }
  session.close();
});

test("metadata beyond the limit is refused with its size, and far beyond it at once", async () => {
  await using at = await relay();
  const session = rawConnect(at.proxy.port);
  const authorization = await at.as();
  const answer = await rawCall(session, rawHeaders(pathOf("GetEntry"), "authorization", authorization, "x-large", "a".repeat(20_000)), ONE);
  assert.equal(codeAndMessage(answer)[0], status.RESOURCE_EXHAUSTED);
  assert.match(codeAndMessage(answer)[1], /metadata is 2\d{4} bytes, more than 16384/);
  const many = Array.from({ length: 100 }, (_, i) => [`x-${i}`, ""]).flat();
  assert.equal(
    (await rawCall(session, rawHeaders(pathOf("GetEntry"), "authorization", authorization, ...many), ONE)).trailers?.["grpc-status"],
    "0",
  );
  const larger = await rawCall(session, rawHeaders(pathOf("GetEntry"), "x-large", "a".repeat(64_000)), ONE);
  assert.equal(larger.rstCode, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  assert.equal(at.handled.length, 1);
  session.close();
});

test("a deadline, an encoding that cannot be read in one way is refused", async () => {
  await using at = await relay();
  const session = rawConnect(at.proxy.port);
  const authorization = await at.as();
  for (const more of [
    ["grpc-timeout", "soon"],
    ["grpc-timeout", "1S", "grpc-timeout", "1S"],
    ["grpc-encoding", "gzip", "grpc-encoding", "identity"],
  ]) {
    const answer = await rawCall(session, rawHeaders(pathOf("GetEntry"), "authorization", authorization, ...more), ONE);
    assert.equal(codeAndMessage(answer)[0], status.INTERNAL, more.join(" "));
  }
  assert.equal(at.handled.length, 0);
  session.close();
});

test("a request with trailers is refused, and the service's call with it", async () => {
  const cancelled = Promise.withResolvers<void>();
  await using at = await relay({ handlers: { import: (call) => call.on("cancelled", () => cancelled.resolve()) } });
  at.authority.elevate({ entitlement: "streams", methods: ["test.v1.Ledger/Import"] });
  await at.authority.settled();
  const session = rawConnect(at.proxy.port);
  const stream = session.request([...rawHeaders(pathOf("Import"), "authorization", await at.as())], {
    endStream: false,
    waitForTrailers: true,
  });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-late": "authorization" }));
  stream.write(ONE);
  while (at.handled.length === 0) await new Promise(setImmediate);
  stream.end();
  stream.resume();
  const [headers] = (await once(stream, "response")) as [Record<string, string>];
  assert.equal(headers["grpc-status"], String(status.INTERNAL));
  assert.match(decodeURI(String(headers["grpc-message"])), /no trailers/);
  await cancelled.promise;
  session.close();
});

test("whoever speaks HTTP/1 is told in words", async () => {
  await using at = await relay();
  for (const words of [
    "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "POST /test.v1.Ledger/GetEntry HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\n\r\n",
    "PRIVATE",
  ]) {
    const socket = connect(at.proxy.port, "127.0.0.1");
    let said = "";
    socket.on("data", (part) => (said += part.toString()));
    socket.write(words);
    await once(socket, "close");
    assert.match(said, /^HTTP\/1\.1 505 [\s\S]*HTTP\/2 only/, words);
  }
  assert.equal(at.handled.length, 0);
});

test("a preface that comes byte by byte is waited for", async () => {
  await using at = await relay();
  const socket = connect(at.proxy.port, "127.0.0.1");
  socket.setNoDelay(true);
  await once(socket, "connect");
  const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
  for (const byte of Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), settings])) {
    socket.write(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.equal(answer[3], 4, "SETTINGS");
  socket.destroy();
});

test("a judged request is judged in what it decompresses to, and passes in what it came in", async () => {
  await using at = await relay();
  at.authority.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  await at.authority.settled();
  const session = rawConnect(at.proxy.port);
  const headers = (encoding: string) => rawHeaders(pathOf("Limited"), "authorization", authorization, "grpc-encoding", encoding);
  const authorization = await at.as();
  const run = await rawCall(session, headers("gzip"), framed(gzipSync(requestOf(500)), true));
  assert.equal(run.trailers?.["grpc-status"], "0");
  assert.deepEqual(run.body, framed(requestOf(500)), "the service decompressed it");
  for (const [what, encoding, body, code, words] of [
    ["too much", "gzip", framed(gzipSync(requestOf(501)), true), status.PERMISSION_DENIED, /^CONDITION_NOT_MET/],
    [
      "two members",
      "gzip",
      framed(Buffer.concat([gzipSync(requestOf(900)), gzipSync(requestOf(5))]), true),
      status.INTERNAL,
      /decompressed/,
    ],
    ["a bomb", "gzip", framed(gzipSync(Buffer.alloc(64 << 20)), true), status.RESOURCE_EXHAUSTED, /larger than the 4194304/],
    ["an unknown encoding", "zstd", framed(Buffer.from("x"), true), status.UNIMPLEMENTED, /encoding zstd/],
    ["compressed by nothing", "identity", framed(requestOf(5), true), status.INTERNAL, /decompressed/],
    ["a flag of its own", "identity", Buffer.from([3, 0, 0, 0, 0]), status.INTERNAL, /unknown flag/],
    ["too large", "identity", Buffer.from([0, 0, 0x80, 0, 1, 1]), status.RESOURCE_EXHAUSTED, /8388609 bytes is larger/],
    ["a part of a message", "identity", Buffer.from([0, 0, 0, 0, 9, 1]), status.INTERNAL, /within a message/],
    ["no message", "identity", Buffer.alloc(0), status.UNIMPLEMENTED, /no request message/],
    ["two messages", "identity", Buffer.concat([framed(requestOf(5)), framed(requestOf(900))]), status.UNIMPLEMENTED, /more than one/],
  ] as const) {
    const answer = await rawCall(session, headers(encoding), body);
    const said = answer.trailers ?? answer.headers;
    assert.equal(Number(said["grpc-status"]), code, what);
    assert.match(decodeURI(String(said["grpc-message"])), words, what);
  }
  assert.equal(at.handled.length, 1);
  session.close();
});

test("a second message behind one that was judged ends the call, whenever it comes", async () => {
  await using at = await relay({ handlers: { unary: () => {} } });
  at.authority.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  await at.authority.settled();
  const session = rawConnect(at.proxy.port);
  const stream = session.request([...rawHeaders(pathOf("Limited"), "authorization", await at.as())], { endStream: false });
  stream.write(framed(requestOf(5)));
  while (at.proxy.status().calls === 0) await new Promise(setImmediate);
  await new Promise((resolve) => setTimeout(resolve, 20));
  stream.write(framed(requestOf(900)));
  stream.resume();
  const [headers] = (await once(stream, "response")) as [Record<string, string>];
  assert.equal(headers["grpc-status"], String(status.UNIMPLEMENTED));
  session.close();
});

test("a payload binding covers what the message decompresses to", async () => {
  await using at = await relay();
  const { createHash } = await import("node:crypto");
  const payloadDigest = createHash("sha256").update(requestOf(7)).digest();
  at.authority.elevate({ entitlement: "bound", methods: ["test.v1.Ledger/Bound"], payloadDigest });
  await at.authority.settled();
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("Bound"), "authorization", await at.as(), "grpc-encoding", "gzip");
  const other = await rawCall(session, headers, framed(gzipSync(requestOf(8)), true));
  assert.match(codeAndMessage(other)[1], /^GRANT_PAYLOAD_MISMATCH/);
  const run = await rawCall(session, headers, framed(gzipSync(requestOf(7)), true));
  assert.equal(run.trailers?.["grpc-status"], "0");
  const again = await rawCall(session, headers, framed(gzipSync(requestOf(7)), true));
  assert.match(codeAndMessage(again)[1], /^GRANT_PAYLOAD_MISMATCH/);
  assert.equal(at.handled.length, 1);
  session.close();
});

test("without descriptors a method that has to be read is refused, and others pass", async () => {
  const policy = POLICY.replace("descriptors: ledger.binpb\n", "").replace("    condition: request.amount_cents <= 500\n", "");
  await using at = await relay({ policy, descriptors: new Uint8Array(0) });
  const payloadDigest = new Uint8Array(32);
  at.authority.elevate({ entitlement: "bound", methods: ["test.v1.Ledger/Bound"], payloadDigest });
  at.authority.elevate();
  await at.authority.settled();
  const authorization = await at.as();
  assert.equal((await at.call("Refund", { authorization })).code, status.OK);
  const refused = await at.call("Bound", { authorization });
  assert.equal(refused.status.reason, "POLICY_MISCONFIGURED");
});

test("a request that cannot be read goes on as it came where the policy only observes, and that is written down", async () => {
  const seen: Buffer[] = [];
  await using service = await rawService((stream) => {
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("end", () => {
      seen.push(Buffer.concat(parts));
      stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "0" }, { endStream: true });
    });
  });
  const policy = POLICY.replace("audience:", "mode: observe\naudience:");
  await using at = await relay({ policy, proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("Limited"), "authorization", await at.as());
  at.authority.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  await at.authority.settled();
  for (const [what, more, body] of [
    ["an unknown encoding", ["grpc-encoding", "zstd"], framed(requestOf(1), true)],
    ["broken", ["grpc-encoding", "gzip"], framed(requestOf(1), true)],
    ["over 4 MiB", [], framed(Buffer.alloc(5 << 20))],
    ["over 4 MiB after decompression", ["grpc-encoding", "gzip"], framed(gzipSync(Buffer.alloc(5 << 20)), true)],
  ] as const) {
    at.lines.length = 0;
    const answer = await rawCall(session, [...headers, ...more], body);
    assert.equal(answer.headers["grpc-status"], "0", what);
    assert.ok(seen.pop()?.equals(body), what);
    const [line, ...none] = at.lines.filter(({ message }) => /only observes/.test(String(message)));
    assert.equal(line?.reason, "CONDITION_NOT_MET", what);
    assert.equal(none.length, 0);
  }
  session.close();
});

test("a caller that does not send its request does not hold a call for ever", async () => {
  await using at = await relay({ proxy: { limits: { requestTimeoutMs: 60 } } });
  at.authority.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  await at.authority.settled();
  const session = rawConnect(at.proxy.port);
  const answer = await rawCall(session, rawHeaders(pathOf("Limited"), "authorization", await at.as()), Buffer.from([0, 0, 0]), true);
  assert.equal(codeAndMessage(answer)[0], status.DEADLINE_EXCEEDED);
  assert.match(codeAndMessage(answer)[1], /before the request came/);
  session.close();
});

test("a deadline that passes while the guard holds the call is told by the proxy, and what is left goes on", async () => {
  const left: number[] = [];
  await using at = await relay({
    handlers: {
      unary(call, done) {
        left.push(Number(call.getDeadline()) - Date.now());
        done(null, call.request);
      },
    },
  });
  const { ElevationState } = await import("@brevet/protocol/brevet/v1/elevation");
  const elevation = at.authority.elevate({ state: ElevationState.SCHEDULED });
  await at.authority.settled();
  const start = at.authority.onStart;
  const authorization = await at.as();
  assert.equal((await at.call("GetEntry", { authorization })).code, status.OK);
  left.length = 0;
  const never = Promise.withResolvers<typeof elevation>();
  at.authority.onStart = () => never.promise;
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("Refund"), "authorization", authorization);
  const late = await rawCall(session, [...headers, "grpc-timeout", "50m"], ONE);
  assert.equal(codeAndMessage(late)[0], status.DEADLINE_EXCEEDED);
  assert.match(codeAndMessage(late)[1], /while the guard held/);
  never.reject(new Error("gone"));
  at.authority.onStart = async (request) => {
    await new Promise((resolve) => setTimeout(resolve, 150));
    return start(request);
  };
  while (left.length === 0) {
    const run = await rawCall(session, [...headers, "grpc-timeout", "5S"], ONE);
    if (run.headers["grpc-status"] !== undefined) continue;
    assert.equal(run.trailers?.["grpc-status"], "0");
  }
  assert.ok((left[0] ?? 0) <= 4860 && (left[0] ?? 0) > 1000, `${left[0]} ms of 5000 are left after 150`);
  session.close();
});

test("health is answered by the guard until there is a policy, and by the service from then on", async () => {
  await using at = await relay();
  const session = rawConnect(at.proxy.port);
  const path = "/grpc.health.v1.Health/Check";
  const ready = await rawCall(session, rawHeaders(path), framed(Buffer.alloc(0)));
  assert.equal(ready.headers["grpc-status"] ?? ready.trailers?.["grpc-status"], String(status.UNIMPLEMENTED), "the service has no health");
  session.close();
  const { proxy } = await import("./proxy.ts");
  await using waiting = await proxy({
    authority: "http://127.0.0.1:1",
    audience: "payments-test",
    identity: () => "",
    listen: "127.0.0.1:0",
    upstream: "127.0.0.1:1",
    logger: { info() {}, warn() {}, error() {} },
  });
  const early = rawConnect(waiting.port);
  const answer = await rawCall(early, rawHeaders(path), framed(Buffer.alloc(0)));
  assert.deepEqual(answer.body, framed(Buffer.from([8, 2])), "NOT_SERVING");
  assert.equal(answer.trailers?.["grpc-status"], "0");
  const refused = await rawCall(early, rawHeaders(pathOf("GetEntry")), ONE);
  assert.match(codeAndMessage(refused)[1], /^POLICY_UNAVAILABLE/);
  early.close();
});
