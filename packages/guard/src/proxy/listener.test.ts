// The callers' side: TLS and who they are, where plaintext is taken, how many, how long, and how it ends.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { TestCa } from "@brevet/testing";
import { Client, credentials, Metadata, Server, ServerCredentials, type ServiceError, status } from "@grpc/grpc-js";
import { framed, metadataOf, pathOf, rawConnect, rawHeaders, relay } from "../testdata/relay.ts";
import { type ProxyOptions, proxy } from "./proxy.ts";

const bytes = (value: Buffer): Buffer => value;
const ONE = framed(Buffer.from("x"));

test("a verified client certificate is an identity, one that leads nowhere is none, and the call is answered all the same", async () => {
  const [trusted, other] = await Promise.all([TestCa.create(), TestCa.create("CN=Other CA")]);
  const server = await trusted.issue({ dns: ["localhost"], ip: ["127.0.0.1"] });
  await using at = await relay({
    proxy: { listenTls: { ...server, clientCa: trusted.cert } },
    credentials: credentials.createSsl(Buffer.from(trusted.cert)),
  });
  const call = async (certificate?: { cert: string; key: string }): Promise<string> => {
    const own = certificate && [Buffer.from(certificate.key), Buffer.from(certificate.cert)];
    const client = new Client(`localhost:${at.proxy.port}`, credentials.createSsl(Buffer.from(trusted.cert), own?.[0], own?.[1]));
    const error = await new Promise<ServiceError | null>((resolve) => {
      client.makeUnaryRequest(pathOf("GetEntry"), bytes, bytes, Buffer.from("x"), new Metadata(), { deadline: Date.now() + 5000 }, resolve);
    });
    client.close();
    return error === null ? "OK" : `${status[error.code]} ${error.details.split(":")[0]}`;
  };
  assert.equal(await call(await trusted.issue({ uri: ["spiffe://acme.test/billing"] })), "OK");
  assert.equal(await call(await trusted.issue({ uri: ["spiffe://evil.test/billing"] })), "UNAUTHENTICATED IDENTITY_MISSING");
  assert.equal(await call(await other.issue({ uri: ["spiffe://acme.test/billing"] })), "UNAUTHENTICATED IDENTITY_MISSING");
  assert.equal(await call(), "UNAUTHENTICATED IDENTITY_MISSING");
  assert.equal(at.handled.length, 1);
  // A library that offers HTTP/1 only is told in words.
  const socket = connectTls({
    port: at.proxy.port,
    host: "127.0.0.1",
    ca: trusted.cert,
    ALPNProtocols: ["http/1.1"],
    servername: "localhost",
  });
  let said = "";
  socket.on("data", (part: Buffer) => (said += part.toString()));
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(socket, "close");
  assert.match(said, /^HTTP\/1\.1 505 /);
});

test("without a client CA nobody is known by a certificate", async () => {
  const ca = await TestCa.create();
  const server = await ca.issue({ dns: ["localhost"], ip: ["127.0.0.1"] });
  const own = await ca.issue({ uri: ["spiffe://acme.test/billing"] });
  await using at = await relay({ proxy: { listenTls: server } });
  const client = new Client(
    `localhost:${at.proxy.port}`,
    credentials.createSsl(Buffer.from(ca.cert), Buffer.from(own.key), Buffer.from(own.cert)),
  );
  const error = await new Promise<ServiceError | null>((resolve) => {
    client.makeUnaryRequest(pathOf("GetEntry"), bytes, bytes, Buffer.from("x"), new Metadata(), { deadline: Date.now() + 5000 }, resolve);
  });
  assert.match(error?.details ?? "", /^IDENTITY_MISSING/);
  client.close();
});

test("TLS to the service is verified, by its name, and shows the proxy's own certificate", async () => {
  const [ca, other] = await Promise.all([TestCa.create(), TestCa.create("CN=Other CA")]);
  const [server, own] = await Promise.all([ca.issue({ dns: ["ledger.test"] }), ca.issue({ uri: ["spiffe://acme.test/proxy"] })]);
  const service = new Server();
  const definition = {
    path: pathOf("GetEntry"),
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  } as const;
  service.addService(
    { GetEntry: definition },
    { GetEntry: (call: { request: Buffer }, done: (error: null, value: Buffer) => void) => done(null, call.request) },
  );
  const pair = { private_key: Buffer.from(server.key), cert_chain: Buffer.from(server.cert) };
  const port = await new Promise<number>((resolve, reject) => {
    service.bindAsync("127.0.0.1:0", ServerCredentials.createSsl(Buffer.from(ca.cert), [pair], true), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  try {
    for (const [tls, expected] of [
      [{ ca: ca.cert, ...own, serverName: "ledger.test" }, /^(OK)?$/],
      [{ ca: other.cert, ...own, serverName: "ledger.test" }, /not reached \(.*(SELF_SIGNED|UNABLE)/],
      [{ ca: ca.cert, ...own, serverName: "other.test" }, /not reached \(ERR_TLS_CERT_ALTNAME_INVALID/],
    ] as const) {
      await using at = await relay({ proxy: { upstream: `127.0.0.1:${port}`, upstreamTls: tls } });
      const run = await at.call("GetEntry", { authorization: await at.as() });
      assert.match(run.message, expected);
    }
  } finally {
    service.forceShutdown();
  }
});

test("both sides may be Unix sockets", async () => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-proxy-"));
  try {
    const path = join(folder, "listen.sock");
    await using at = await relay({ proxy: { listen: `unix:${path}` }, target: () => `unix:${path}` });
    assert.equal(at.proxy.address, `unix:${path}`);
    assert.equal((await at.call("GetEntry", { authorization: await at.as() })).code, status.OK);
    // Another in front of it.
    await using front = await relay({ proxy: { upstream: `unix:${path}` } });
    const refused = await front.call("GetEntry", { authorization: await front.as() });
    assert.match(refused.message, /^IDENTITY_/, "the one behind answers: it has another authority");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("plaintext stays on the machine unless that is asked for by name", async () => {
  const options: ProxyOptions = {
    authority: "http://127.0.0.1:1",
    audience: "a",
    identity: () => "",
    listen: "127.0.0.1:0",
    upstream: "127.0.0.1:1",
    logger: { info() {}, warn() {}, error() {} },
  };
  for (const [change, words] of [
    [{ listen: "0.0.0.0:0" }, /listen: plaintext/],
    [{ listen: "[::]:0" }, /listen: plaintext/],
    [{ upstream: "ledger.acme.test:80" }, /upstream: plaintext/],
    [{ upstream: "nowhere" }, /upstream is not host:port/],
    [{ listen: "127.0.0.1" }, /listen is not host:port/],
    [{ authority: "http://acme.test" }, /plaintext to acme.test/],
  ] as const) {
    await assert.rejects(proxy({ ...options, ...change }), (error) => error instanceof TypeError && words.test(error.message));
  }
  const open = await proxy({
    ...options,
    listen: "0.0.0.0:0",
    insecureListen: true,
    upstream: "ledger.acme.test:80",
    insecureUpstream: true,
  });
  await open.close();
});

test("an address that is taken is told, and nothing stays behind", async () => {
  await using at = await relay();
  const options = {
    authority: at.authority.url,
    audience: "payments-test",
    identity: () => "",
    upstream: "127.0.0.1:1",
    logger: { info() {}, warn() {}, error() {} },
  };
  await assert.rejects(proxy({ ...options, listen: at.proxy.address }), { code: "EADDRINUSE" });
});

test("a caller holds no more streams than it may, and a connection without calls is closed", async () => {
  await using at = await relay({
    handlers: { unary: () => {} },
    proxy: { limits: { maxConcurrentStreams: 2, idleMs: 100, maxConnections: 2 } },
  });
  const session = rawConnect(at.proxy.port);
  const [settings] = (await once(session, "remoteSettings")) as [{ maxConcurrentStreams: number }];
  assert.equal(settings.maxConcurrentStreams, 2);
  const idle = rawConnect(at.proxy.port);
  await once(idle, "connect");
  const third = connectSocket(at.proxy.port, "127.0.0.1");
  third.on("error", () => {});
  await once(third, "close");
  const headers = rawHeaders(pathOf("GetEntry"), "authorization", await at.as());
  const call = session.request([...headers], { endStream: false });
  call.on("error", () => {});
  call.write(ONE);
  await once(idle, "close");
  assert.ok(!session.closed, "the one with a call stays");
  session.destroy();
});

test("close lets calls in hand finish, takes no new ones, and ends what does not finish with UNAVAILABLE", async () => {
  const finish: (() => void)[] = [];
  const handlers = {
    unary: (call: { request: Buffer }, done: (error: null, value: Buffer) => void) => void finish.push(() => done(null, call.request)),
  };
  for (const patient of [true, false]) {
    finish.length = 0;
    await using at = await relay({ handlers, proxy: { limits: { drainMs: patient ? 10_000 : 50 } } });
    const metadata = metadataOf({ authorization: await at.as() });
    const running = at.call("GetEntry", metadata);
    while (finish.length === 0) await new Promise(setImmediate);
    const closing = at.proxy.close();
    const late = connect(`http://127.0.0.1:${at.proxy.port}`);
    const [error] = (await once(late, "error")) as [{ code: string }];
    assert.equal(error.code, "ECONNREFUSED");
    if (patient) finish[0]?.();
    const ended = await running;
    await closing;
    assert.equal(ended.code, patient ? status.OK : status.UNAVAILABLE);
    if (!patient) assert.match(ended.message, /shutting down/);
    assert.equal(at.proxy.status().calls, 0);
  }
});

test("a connection that never says anything does not keep close waiting", async () => {
  const ca = await TestCa.create();
  const server = await ca.issue({ dns: ["localhost"] });
  for (const tls of [{}, { listenTls: server }]) {
    await using at = await relay({ proxy: { ...tls, limits: { drainMs: 50 } } });
    const silent = connectSocket(at.proxy.port, "127.0.0.1");
    silent.on("error", () => {});
    await once(silent, "connect");
    await new Promise(setImmediate);
    const gone = new Promise<void>((resolve) => silent.once("close", () => resolve()));
    await at.proxy.close();
    await gone;
  }
});
