// One port for everything, in plaintext and over TLS; what is refused; and an end that lets calls finish and streams know.
import assert from "node:assert/strict";
import { request as secureRequest } from "node:https";
import { connect } from "node:net";
import { test } from "node:test";
import { catalogue, GrpcCode } from "@brevet/protocol";
import { ElevationService, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { GuardServiceSyncRequestSchema } from "@brevet/protocol/brevet/v1/guard";
import { startTestAuthority, TestCa } from "@brevet/testing";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { startAuthority } from "../authority.ts";
import { AUDIENCE, clients, policyText, REFUND, Reading, refusal, requestId, transport } from "../testdata/scene.ts";
import { html } from "./html.ts";
import { listen } from "./listen.ts";
import { notYet } from "./requests.ts";

test("gRPC, Connect over HTTP/1 and HTTP/2, gRPC-Web, JSON and pages share a port", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const token = await authority.token("user:sam@test");
  const identify = { interceptors: [transportIdentity(token)] };
  const transports = [
    transport(authority.url, token),
    createConnectTransport({ baseUrl: authority.url, httpVersion: "1.1", ...identify }),
    createConnectTransport({ baseUrl: authority.url, httpVersion: "2", useBinaryFormat: false, ...identify }),
    createGrpcWebTransport({ baseUrl: authority.url, httpVersion: "1.1", ...identify }),
  ];
  for (const [index, over] of transports.entries()) {
    const client = createClient(ElevationService, over);
    const { elevation } = await client.request({ requestId: requestId(), method: REFUND, run: `over-${index}` });
    assert.equal(elevation?.state, ElevationState.PENDING);
    const refused = await refusal(client.get({ id: "elv_none" }));
    assert.deepEqual([refused.code, refused.reason], [GrpcCode.NOT_FOUND, "NOT_FOUND"], `transport ${index}`);
  }
  const json = await fetch(`${authority.url}/brevet.v1.ElevationService/List`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: "{}",
  });
  assert.equal(((await json.json()) as { elevations: unknown[] }).elevations.length, transports.length);
  const nobody = await fetch(`${authority.url}/brevet.v1.ElevationService/List`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  assert.equal(nobody.status, 401);
});

test("pages say what to run, show nothing else, and echo nothing that was not asked for", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const id = "elv_00000000000000000000000000";
  const page = await fetch(`${authority.url}/e/${id}`);
  assert.match(await page.text(), new RegExp(`brevet approve ${id}`));
  assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'/);
  assert.match(await (await fetch(`${authority.url}/r/refund`)).text(), /brevet request METHOD --entitlement refund/);
  for (const path of ["/e/elv_x", "/e/%3Cscript%3E", "/r/%22%3E%3Cscript%3E", "/r/a/b", "/dev/nothing", "/.well-known/other", "/healthz"])
    assert.equal((await fetch(authority.url + path)).status, 404, path);
  const head = await fetch(`${authority.url}/`, { method: "HEAD" });
  assert.deepEqual([head.status, await head.text()], [200, ""]);
});

test("every reason has a page that says what the catalogue says, and no other name has one", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const list = await (await fetch(`${authority.url}/reasons`)).text();
  for (const { reason, operatorRemedy } of Object.values(catalogue)) {
    assert.match(list, new RegExp(`href="/reasons/${reason}"`));
    const page = await (await fetch(`${authority.url}/reasons/${reason}`)).text();
    const shown = page
      .replaceAll("&quot;", '"')
      .replaceAll("&#39;", "'")
      .replaceAll("&lt;", "<")
      .replaceAll("&gt;", ">")
      .replaceAll("&amp;", "&");
    assert.ok(shown.includes(operatorRemedy), reason);
  }
  for (const path of ["/reasons/NOPE", "/reasons/constructor", "/reasons/__proto__", "/reasons/", "/reasons/GRANT_EXPIRED/x"])
    assert.equal((await fetch(authority.url + path)).status, 404, path);
});

test("a value in a page is text, whatever stands in it", () => {
  const { text } = html`<p title="${"\"'"}">${"<script>&"}${[html`<i>${"<b>"}</i>`]}</p>`;
  assert.equal(text, '<p title="&quot;&#39;">&lt;script&gt;&amp;<i>&lt;b&gt;</i></p>');
});

test("what is no protocol at all is let go, and the next caller is served", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const { hostname, port } = new URL(authority.url);
  for (const bytes of [
    "\u0016\u0003\u0001garbage\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nnonsense, not a preface\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "PR",
  ]) {
    const closed = new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => socket.end(bytes, "latin1"));
      socket.on("error", () => {});
      socket.on("data", () => {});
      socket.on("close", () => resolve());
    });
    await closed;
  }
  assert.equal((await fetch(authority.url)).status, 200);
});

test("a connection that comes byte by byte is understood", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const { hostname, port } = new URL(authority.url);
  const text = await new Promise<string>((resolve, reject) => {
    let got = "";
    const bytes = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".split("");
    const socket = connect(Number(port), hostname, () => {
      const next = () => socket.write(bytes.shift() ?? "", () => bytes.length > 0 && setImmediate(next));
      next();
    });
    socket.on("data", (chunk: Buffer) => (got += chunk.toString("latin1")));
    socket.on("error", reject);
    socket.on("close", () => resolve(got));
  });
  assert.match(text, /^HTTP\/1\.1 200/);
});

test("TLS serves the same, to grpc-js too; plaintext beyond loopback is refused", async () => {
  const ca = await TestCa.create();
  const server = await ca.issue({ dns: ["localhost"], ip: ["127.0.0.1"] });
  await using authority = await startTestAuthority({ policy: policyText(), tls: { cert: server.cert, key: server.key } });
  assert.match(authority.url, /^https:/);
  const token = await authority.token("user:sam@test");
  const { elevations } = clients(transport(authority.url, token, { nodeOptions: { ca: ca.cert } }));
  assert.deepEqual((await elevations.list({})).elevations, []);
  const { port } = new URL(authority.url);
  const client = new grpc.Client(`localhost:${port}`, grpc.credentials.createSsl(Buffer.from(ca.cert)));
  const code = await new Promise<number>((resolve) => {
    const pass = (value: Buffer) => value;
    client.makeUnaryRequest("/grpc.health.v1.Health/Check", pass, pass, Buffer.alloc(0), (error) => resolve(error?.code ?? 0));
  });
  client.close();
  assert.equal(code, GrpcCode.OK);
  const http1 = await new Promise<number | undefined>((resolve, reject) => {
    const sent = secureRequest({ host: "localhost", port, path: "/", ca: ca.cert }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.on("error", reject);
    sent.end();
  });
  assert.equal(http1, 200);
  await assert.rejects(
    startAuthority({ data: authority.data.concat("-other"), logger: false, admin: false, listen: { host: "0.0.0.0", port: 0 } }),
    /without TLS/,
  );
});

test("health and reflection are open to everybody", async () => {
  await using authority = await startTestAuthority({ policy: policyText(), admin: { host: "127.0.0.1", port: 0 } });
  const client = new grpc.Client(new URL(authority.url).host, grpc.credentials.createInsecure());
  const pass = (value: Buffer) => value;
  const health = (service: string) =>
    new Promise<{ code: number; status: number | undefined }>((resolve) => {
      const name = Buffer.from(service);
      const message = Buffer.concat([Buffer.from([10, name.length]), name]);
      client.makeUnaryRequest("/grpc.health.v1.Health/Check", pass, pass, message, (error, value) =>
        resolve({ code: error?.code ?? 0, status: value?.[1] }),
      );
    });
  assert.deepEqual(await health("brevet.v1.ElevationService"), { code: 0, status: 1 });
  assert.equal((await health("no.such.Service")).code, GrpcCode.NOT_FOUND);
  const listed = await new Promise<string>((resolve, reject) => {
    const call = client.makeBidiStreamRequest("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", pass, pass);
    call.on("data", (value: Buffer) => {
      resolve(value.toString("latin1"));
      call.end();
    });
    call.on("error", reject);
    call.write(Buffer.from([58, 0]));
  });
  for (const service of [
    "brevet.v1.ElevationService",
    "brevet.v1.GuardService",
    "brevet.v1.LogService",
    "brevet.v1.PolicyService",
    "grpc.health.v1.Health",
  ])
    assert.ok(listed.includes(service), service);
  client.close();
  const { adminUrl } = authority.authority;
  assert.deepEqual(
    [(await fetch(`${adminUrl}/healthz`)).status, (await fetch(`${adminUrl}/readyz`)).status, (await fetch(`${adminUrl}/metrics`)).status],
    [200, 200, 404],
  );
});

test("draining: a call under way is answered, streams end with UNAVAILABLE, nothing new is taken", async () => {
  await using authority = await startTestAuthority({ policy: policyText(), admin: { host: "127.0.0.1", port: 0 } });
  const token = await authority.token("user:sam@test");
  const { elevations } = clients(transport(authority.url, token));
  const watch = new Reading((signal) => elevations.watch({}, { signal }));
  await watch.until((message) => message.caughtUp);
  const underWay = elevations.request({ requestId: requestId(), method: REFUND });
  await watch.until((message) => message.elevation !== undefined);
  const startMs = performance.now();
  const drained = authority.authority.drain();
  assert.equal((await refusal(watch.until(() => false))).code, GrpcCode.UNAVAILABLE);
  assert.equal((await underWay).elevation?.state, ElevationState.PENDING);
  assert.equal((await fetch(`${authority.authority.adminUrl}/readyz`)).status, 503);
  await drained;
  assert.ok(performance.now() - startMs < 2500);
  assert.equal((await refusal(elevations.list({}, { timeoutMs: 2000 }))).code, GrpcCode.UNAVAILABLE);
});

test("while it starts, callers are told that it is unavailable", async () => {
  const listener = await listen({ host: "127.0.0.1", port: 0 }, notYet);
  try {
    const refused = await refusal(clients(transport(listener.url)).elevations.list({}));
    assert.equal(refused.code, GrpcCode.UNAVAILABLE);
    const client = new grpc.Client(new URL(listener.url).host, grpc.credentials.createInsecure());
    const pass = (bytes: Buffer) => bytes;
    const code = await new Promise((resolve) =>
      client.makeUnaryRequest("/brevet.v1.ElevationService/List", pass, pass, Buffer.alloc(0), (error) => resolve(error?.code)),
    );
    client.close();
    assert.equal(code, GrpcCode.UNAVAILABLE);
    assert.equal((await fetch(listener.url)).status, 503);
  } finally {
    await listener.close(0);
  }
});

test("draining lets go of linked guards and watchers without waiting for their half, and tells them to come back", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const guards = await Promise.all(
    [1, 2, 3].map(async (place) => {
      const { guards: api } = clients(transport(authority.url, await authority.token(`workload:guard-${AUDIENCE}`)));
      async function* say() {
        yield create(GuardServiceSyncRequestSchema, {
          message: { case: "hello", value: { audience: AUDIENCE, instance: `gud_${place}` } },
        });
        // As a guard does: its half stays open.
        await new Promise<never>(() => {});
      }
      return new Reading((signal) => api.sync(say(), { signal }));
    }),
  );
  for (const guard of guards) await guard.until(({ message }) => message.case === "caughtUp");
  const { elevations } = clients(transport(authority.url, await authority.token("user:sam@test")));
  const watch = new Reading((signal) => elevations.watch({}, { signal }));
  await watch.until((message) => message.caughtUp);
  const startMs = performance.now();
  const drained = authority.authority.drain();
  for (const stream of [...guards, watch]) {
    const { code, reason } = await refusal(stream.until(() => false));
    assert.deepEqual([code, reason], [GrpcCode.UNAVAILABLE, "AUTHORITY_UNREACHABLE"]);
  }
  await drained;
  const tookMs = performance.now() - startMs;
  // A half that stays open would be waited for a second.
  assert.ok(tookMs < 900, `${Math.round(tookMs)} ms`);
});

function transportIdentity(token: string) {
  type Next = Parameters<NonNullable<Parameters<typeof createConnectTransport>[0]["interceptors"]>[number]>[0];
  return (next: Next): Next =>
    (request) => {
      request.header.set("authorization", `Bearer ${token}`);
      return next(request);
    };
}
