// What passes through, unchanged.
import assert from "node:assert/strict";
import { once } from "node:events";
import { sensitiveHeaders } from "node:http2";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { Metadata, status } from "@grpc/grpc-js";
import { framed, metadataOf, pathOf, rawCall, rawConnect, rawHeaders, rawService, relay } from "../testdata/relay.ts";

const bytes = (value: Buffer): Buffer => value;
const METHODS = ["GetEntry", "Watch", "Import", "Chat"] as const;

test("metadata of every form reaches the service, and what it answers reaches the caller", async () => {
  const initial = new Metadata();
  initial.add("x-initial", "1");
  initial.add("x-initial", "2");
  initial.add("x-initial-bin", Buffer.from([0, 255]));
  const trailers = new Metadata();
  trailers.add("x-trailer", "end");
  trailers.add("x-trailer-bin", Buffer.from([1, 2, 3]));
  trailers.add("x-trailer-bin", Buffer.from([4]));
  await using at = await relay({
    handlers: {
      unary(call, done) {
        call.sendMetadata(initial);
        done(null, call.request, trailers);
      },
    },
  });
  const sent = metadataOf({ authorization: await at.as(), "x-one": "a", "brevet-grant": "nobody's", "brevet-other": "1" });
  sent.add("x-many", "a");
  sent.add("x-many", "b");
  sent.add("x-blob-bin", Buffer.from([0, 1, 2, 255]));
  sent.add("x-blob-bin", Buffer.from([9]));
  const run = await at.call("GetEntry", sent, [Buffer.from("hello")]);
  assert.equal(run.code, status.OK, run.message);
  const seen = at.handled[0]?.metadata;
  assert.deepEqual(seen?.get("x-one"), ["a"]);
  assert.equal(seen?.get("x-many").join(", "), "a, b");
  assert.deepEqual(seen?.get("x-blob-bin"), [Buffer.from([0, 1, 2, 255]), Buffer.from([9])]);
  assert.deepEqual(seen?.get("authorization"), sent.get("authorization"));
  assert.deepEqual(
    Object.keys(seen?.getMap() ?? {}).filter((name) => name.startsWith("brevet")),
    [],
  );
  assert.equal(run.initial?.get("x-initial").join(", "), "1, 2");
  assert.deepEqual(run.initial?.get("x-initial-bin"), [Buffer.from([0, 255])]);
  assert.deepEqual(run.trailers.get("x-trailer"), ["end"]);
  assert.deepEqual(run.trailers.get("x-trailer-bin"), [Buffer.from([1, 2, 3]), Buffer.from([4])]);
});

test("on the wire nothing is added, dropped, joined or recoded, either way", async () => {
  let received: readonly string[] = [];
  await using service = await rawService((stream, _headers, raw) => {
    received = raw;
    const answer = { ":status": 200, "content-type": "application/grpc", "x-two": ["1", "2"], "x-raw-bin": "AP8,//8=", "brevet-x": "no" };
    stream.respond({ ...answer, date: "Thu, 01 Jan 1970 00:00:00 GMT" }, { waitForTrailers: true });
    stream.on("wantTrailers", () =>
      stream.sendTrailers({
        "grpc-status": "5",
        "grpc-message": "gr%C3%BC%C3%9Fe 100%25",
        "x-bin": ["AA", "BB=="],
        "brevet-window-ends": "99999",
      }),
    );
    stream.end(framed(Buffer.from("answer")));
    stream.resume();
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const authorization = await at.as();
  const own = [
    "authorization",
    authorization,
    "x-a",
    "1",
    "x-bin",
    "AP8",
    "x-a",
    "2",
    "x-bin",
    "//8=,AA",
    "x-latin",
    "gr\u00fc\u00df",
    "grpc-timeout",
    "9S",
  ];
  const sent = [
    ...rawHeaders(pathOf("GetEntry"), ...own),
    "grpc-accept-encoding",
    "identity,zstd",
    "user-agent",
    "one",
    "user-agent",
    "two",
  ];
  // A first look at a token takes time, which is taken off the deadline.
  await rawCall(session, sent, framed(Buffer.from("first")));
  const answer = await rawCall(session, [...sent, "brevet-grant", "a", "brevet-grant", "b"], framed(Buffer.from("ask")));
  assert.deepEqual(received, sent);
  assert.deepEqual(answer.raw, [
    ":status",
    "200",
    "content-type",
    "application/grpc",
    "x-two",
    "1",
    "x-two",
    "2",
    "x-raw-bin",
    "AP8,//8=",
    "date",
    "Thu, 01 Jan 1970 00:00:00 GMT",
  ]);
  assert.deepEqual(Object.fromEntries(Object.entries(answer.trailers ?? {})), {
    "grpc-status": "5",
    "grpc-message": "gr%C3%BC%C3%9Fe 100%25",
    "x-bin": "AA, BB==",
  });
  assert.deepEqual(answer.body, framed(Buffer.from("answer")));
  session.close();
});

test("a header that the caller wants never to be indexed stays so, and only that one", async () => {
  let sensitive: unknown;
  await using service = await rawService((stream, headers) => {
    sensitive = Reflect.get(headers, sensitiveHeaders);
    stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "0" }, { endStream: true });
    stream.resume();
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const headers = [...rawHeaders(pathOf("GetEntry"), "authorization", await at.as(), "x-secret", "s", "x-open", "o")];
  const stream = session.request(Object.assign(headers, { [sensitiveHeaders]: ["x-secret"] }), { endStream: false });
  stream.end(framed(Buffer.from("x")));
  stream.resume();
  await once(stream, "close");
  // HTTP/2 libraries never index `authorization`, asked or not.
  assert.deepEqual(Array.isArray(sensitive) && sensitive.filter((name) => name !== "authorization"), ["x-secret"]);
  session.close();
});

test("statuses, their details and Trailers-Only responses pass as they are", async () => {
  await using service = await rawService((stream) => {
    stream.respond(
      {
        ":status": 200,
        "content-type": "application/grpc",
        "grpc-status": "9",
        "grpc-message": "no",
        "grpc-status-details-bin": "CAkSAm5v",
      },
      { endStream: true },
    );
    stream.resume();
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const run = await at.call("GetEntry", { authorization: await at.as() });
  assert.equal(run.code, status.FAILED_PRECONDITION);
  assert.equal(run.message, "no");
  assert.deepEqual(run.trailers.get("grpc-status-details-bin"), [Buffer.from("CAkSAm5v", "base64")]);
  assert.equal(run.initial, undefined, "still Trailers-Only");
});

test("a handler's error of any kind of call reaches the caller, before and after a message", async () => {
  await using at = await relay({
    handlers: {
      unary: (_call, done) => done({ code: status.ALREADY_EXISTS, details: "füll" }),
      watch(call) {
        call.write(call.request);
        call.emit("error", { code: status.DATA_LOSS, details: "later" });
      },
      import: (_call, done) => done({ code: status.OUT_OF_RANGE, details: "early" }),
      chat: (call) => call.emit("error", { code: status.ABORTED, details: "chat" }),
    },
  });
  const authorization = await at.as();
  at.authority.elevate({ entitlement: "streams", methods: ["Watch", "Import", "Chat"].map((name) => `test.v1.Ledger/${name}`) });
  await at.authority.settled();
  const outcomes = await Promise.all(METHODS.map((method) => at.call(method, { authorization }, [Buffer.from("a"), Buffer.from("b")])));
  assert.deepEqual(
    outcomes.map(({ code, message, messages }) => [code, message, messages.length]),
    [
      [status.ALREADY_EXISTS, "füll", 0],
      [status.DATA_LOSS, "later", 1],
      [status.OUT_OF_RANGE, "early", 0],
      [status.ABORTED, "chat", 0],
    ],
  );
});

test("a compressed message passes in the bytes that it came in", async () => {
  const packed = framed(gzipSync("hello"), true);
  const seen: Buffer[] = [];
  await using service = await rawService((stream, headers) => {
    assert.equal(headers["grpc-encoding"], "gzip");
    stream.on("data", (part: Buffer) => seen.push(part));
    stream.on("end", () => {
      stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-encoding": "gzip" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(packed);
    });
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("GetEntry"), "authorization", await at.as(), "grpc-encoding", "gzip");
  const answer = await rawCall(session, headers, packed);
  assert.deepEqual(Buffer.concat(seen), packed);
  assert.deepEqual(answer.body, packed);
  assert.equal(answer.headers["grpc-encoding"], "gzip");
  session.close();
});

test("messages of many megabytes pass, both ways, of a call and of a stream", async () => {
  await using at = await relay();
  const authorization = await at.as();
  at.authority.elevate({ entitlement: "streams", methods: ["Watch", "Import", "Chat"].map((name) => `test.v1.Ledger/${name}`) });
  await at.authority.settled();
  const large = Buffer.alloc(9 << 20, 7);
  const unary = await at.call("GetEntry", { authorization }, [large]);
  assert.equal(unary.code, status.OK, unary.message);
  assert.ok(unary.messages[0]?.equals(large));
  const chat = await at.call("Chat", { authorization }, [large, Buffer.from("small"), large]);
  assert.equal(chat.code, status.OK, chat.message);
  assert.deepEqual(
    chat.messages.map(({ length }) => length),
    [large.length, 5, large.length],
  );
});

test("a caller that stops reading holds the service back, and the proxy keeps next to nothing of it", async () => {
  const chunk = Buffer.alloc(64 << 10, 1);
  const total = 100 << 20;
  let written = 0;
  await using at = await relay({
    handlers: {
      watch(call) {
        const more = (): void => {
          while (written < total) {
            written += chunk.length;
            if (!call.write(chunk)) return void call.once("drain", more);
          }
          call.end();
        };
        more();
      },
    },
  });
  at.authority.elevate({ entitlement: "streams", methods: ["test.v1.Ledger/Watch"] });
  await at.authority.settled();
  const before = process.memoryUsage().rss;
  const call = at.client.makeServerStreamRequest(
    pathOf("Watch"),
    bytes,
    bytes,
    Buffer.from("x"),
    metadataOf({ authorization: await at.as() }),
  );
  let received = 0;
  call.once("data", (part: Buffer) => {
    received += part.length;
    call.pause();
  });
  await once(call, "data");
  // Until nothing moves any more.
  for (let last = -1; last !== written; ) {
    last = written;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok(written < 8 << 20, `${written} bytes were taken of a service whose caller does not read`);
  let most = 0;
  call.on("data", (part: Buffer) => {
    received += part.length;
    most = Math.max(most, process.memoryUsage().rss - before);
  });
  call.resume();
  const [ended] = (await once(call, "status")) as [{ code: number }];
  assert.equal(ended.code, status.OK);
  assert.equal(received, total);
  assert.ok(most < 80 << 20, `${most} bytes more for a stream of ${total}, client and service included`);
});

test("a service that stops reading holds the caller back", async () => {
  const held = Promise.withResolvers<() => void>();
  await using service = await rawService((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    held.resolve(() => {
      stream.resume();
      stream.on("end", () => stream.end());
    });
  });
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}` } });
  const session = rawConnect(at.proxy.port);
  const stream = session.request([...rawHeaders(pathOf("GetEntry"), "authorization", await at.as())], { endStream: false });
  let sent = 0;
  let full = false;
  const chunk = framed(Buffer.alloc(64 << 10));
  const release = await held.promise;
  while (!full && sent < 32 << 20) {
    sent += chunk.length;
    full = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(true), 300);
      stream.write(chunk, () => {
        clearTimeout(timer);
        resolve(false);
      });
    });
  }
  assert.ok(full && sent < 8 << 20, `${sent} bytes were taken for a service that does not read`);
  release();
  stream.end();
  stream.resume();
  await once(stream, "close");
  session.close();
});

test("the caller's half-close comes after its messages, and the service may answer before it", async () => {
  await using at = await relay({
    handlers: {
      chat(call) {
        call.write(Buffer.from("welcome"));
        let last = "";
        call.on("data", (part: Buffer) => (last = part.toString()));
        call.on("end", () => {
          call.write(Buffer.from(`last was ${last}`));
          call.end();
        });
      },
    },
  });
  at.authority.elevate({ entitlement: "streams", methods: ["test.v1.Ledger/Chat"] });
  await at.authority.settled();
  const call = at.client.makeBidiStreamRequest(pathOf("Chat"), bytes, bytes, metadataOf({ authorization: await at.as() }));
  const got: string[] = [];
  call.on("data", (part: Buffer) => {
    got.push(part.toString());
    if (got.length > 1) return;
    call.write(Buffer.from("one"));
    call.write(Buffer.from("two"));
    call.end();
  });
  const [ended] = (await once(call, "status")) as [{ code: number }];
  assert.equal(ended.code, status.OK);
  assert.deepEqual(got, ["welcome", "last was two"]);
});

test("a cancelled call is cancelled at the service, of every kind", async () => {
  const cancelled: string[] = [];
  const told = Promise.withResolvers<void>();
  const watch = (name: string) => (call: { on(event: "cancelled", listener: () => void): unknown }) => {
    started[name]?.();
    call.on("cancelled", () => {
      cancelled.push(name);
      if (cancelled.length === METHODS.length) told.resolve();
    });
  };
  const started: Record<string, () => void> = {};
  const begun = METHODS.map((name) => new Promise<void>((resolve) => (started[name] = resolve)));
  await using at = await relay({
    handlers: { unary: watch("GetEntry"), watch: watch("Watch"), import: watch("Import"), chat: watch("Chat") },
  });
  at.authority.elevate({ entitlement: "streams", methods: ["Watch", "Import", "Chat"].map((name) => `test.v1.Ledger/${name}`) });
  await at.authority.settled();
  const metadata = metadataOf({ authorization: await at.as() });
  const calls = [
    at.client.makeUnaryRequest(pathOf("GetEntry"), bytes, bytes, Buffer.from("x"), metadata, () => {}),
    at.client.makeServerStreamRequest(pathOf("Watch"), bytes, bytes, Buffer.from("x"), metadata),
    at.client.makeClientStreamRequest(pathOf("Import"), bytes, bytes, metadata, () => {}),
    at.client.makeBidiStreamRequest(pathOf("Chat"), bytes, bytes, metadata),
  ];
  for (const call of calls) call.on("error", () => {});
  await Promise.all(begun);
  for (const call of calls) call.cancel();
  await told.promise;
  assert.deepEqual(cancelled.toSorted(), METHODS.toSorted());
  while (at.proxy.status().calls > 0) await new Promise(setImmediate);
});

test("the caller's deadline passes on, and counts at the service", async () => {
  const deadlines: number[] = [];
  await using at = await relay({
    handlers: {
      unary: (call, done) => {
        deadlines.push(Number(call.getDeadline()) - Date.now());
        done(null, call.request);
      },
    },
  });
  const authorization = await at.as();
  for (let i = 0; i < 2; i += 1) {
    const run = await at.call("GetEntry", { authorization }, [Buffer.from("x")], { deadline: Date.now() + 7000 });
    assert.equal(run.code, status.OK, run.message);
  }
  for (const left of deadlines) assert.ok(left > 2000 && left <= 7000, `${left} ms`);
});

test("a thousand calls at once pass through few connections, whatever the service's limit of streams", async () => {
  let most = 0;
  let open = 0;
  await using service = await rawService(
    (stream) => {
      open += 1;
      most = Math.max(most, open);
      stream.resume();
      stream.on("close", () => (open -= 1));
      setTimeout(() => {
        if (stream.destroyed) return;
        stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "0" }, { endStream: true });
      }, 5);
    },
    { maxConcurrentStreams: 7 },
  );
  await using at = await relay({ proxy: { upstream: `127.0.0.1:${service.port}`, limits: { upstreamConnections: 3 } } });
  const session = rawConnect(at.proxy.port);
  const headers = rawHeaders(pathOf("GetEntry"), "authorization", await at.as());
  const answers = await Promise.all(Array.from({ length: 1000 }, () => rawCall(session, headers, framed(Buffer.from("x")))));
  assert.ok(answers.every((answer) => answer.headers["grpc-status"] === "0"));
  assert.ok(service.sessions.size <= 3 && most <= 21, `${most} at once on ${service.sessions.size} connections`);
  session.close();
});

test("a connection answers pings while it is idle", async () => {
  await using at = await relay();
  const session = rawConnect(at.proxy.port);
  await once(session, "connect");
  const answered = await new Promise((resolve) => session.ping((error) => resolve(error)));
  assert.equal(answered, null);
  session.close();
});
