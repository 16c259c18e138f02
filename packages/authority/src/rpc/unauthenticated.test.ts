// What health and reflection, which are open to everybody, cost at most: bytes, streams, connections.
import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { GrpcCode } from "@brevet/protocol";
import { startTestAuthority } from "@brevet/testing";
import * as grpc from "@grpc/grpc-js";
import { listen } from "../http/listen.ts";
import { policyText } from "../testdata/scene.ts";

const CHECK = "/grpc.health.v1.Health/Check";
const WATCH = "/grpc.health.v1.Health/Watch";
const REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const pass = (value: Buffer) => value;

/** A message of gRPC's framing, compressed. */
function compressed(message: Buffer): Buffer {
  const body = gzipSync(message);
  const head = Buffer.alloc(5);
  head.writeUInt8(1, 0);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

function statusOf(url: string, path: string, body: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(url);
    session.on("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      "grpc-encoding": "gzip",
      te: "trailers",
    });
    let status = -1;
    const read = (headers: Record<string, unknown>) => {
      if (headers["grpc-status"] !== undefined) status = Number(headers["grpc-status"]);
    };
    stream.on("response", read);
    stream.on("trailers", read);
    stream.on("error", reject);
    stream.on("close", () => {
      session.close();
      resolve(status);
    });
    stream.resume();
    stream.end(body);
  });
}

test("without an identity nobody makes the authority unpack a large body", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const name = (bytes: number) => {
    const service = Buffer.alloc(bytes, "x");
    return Buffer.concat([Buffer.from([10]), varint(service.length), service]);
  };
  assert.equal(await statusOf(authority.url, CHECK, compressed(name(1000))), GrpcCode.NOT_FOUND);
  for (const bytes of [5000, 4_000_000])
    assert.equal(await statusOf(authority.url, CHECK, compressed(name(bytes))), GrpcCode.RESOURCE_EXHAUSTED, `${bytes} bytes to health`);
  assert.equal(await statusOf(authority.url, WATCH, compressed(name(4_000_000))), GrpcCode.RESOURCE_EXHAUSTED);
  assert.equal(await statusOf(authority.url, REFLECT, compressed(name(4_000_000))), GrpcCode.RESOURCE_EXHAUSTED);
});

test("streams without an identity are bounded, and a place that is left is free again", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const client = new grpc.Client(new URL(authority.url).host, grpc.credentials.createInsecure());
  const watch = () => {
    const call = client.makeServerStreamRequest(WATCH, pass, pass, Buffer.alloc(0));
    const answered = new Promise<number>((resolve) => {
      call.on("data", () => resolve(GrpcCode.OK));
      call.on("error", (error: grpc.ServiceError) => resolve(error.code));
    });
    return { call, answered };
  };
  const reflect = () => {
    const call = client.makeBidiStreamRequest(REFLECT, pass, pass);
    const answered = new Promise<number>((resolve) => {
      call.on("data", () => resolve(GrpcCode.OK));
      call.on("error", (error: grpc.ServiceError) => resolve(error.code));
    });
    call.write(Buffer.from([58, 0]));
    return { call, answered };
  };
  for (const open of [watch, reflect]) {
    const within = Array.from({ length: 100 }, open);
    assert.deepEqual(new Set(await Promise.all(within.map(({ answered }) => answered))), new Set([GrpcCode.OK]), open.name);
    assert.equal(await open().answered, GrpcCode.RESOURCE_EXHAUSTED, open.name);
    const checked = await new Promise<number>((resolve) =>
      client.makeUnaryRequest(CHECK, pass, pass, Buffer.alloc(0), (error) => resolve(error?.code ?? GrpcCode.OK)),
    );
    assert.equal(checked, GrpcCode.OK, "who asks once is answered meanwhile");
    within[0]?.call.cancel();
    for (;;) if ((await open().answered) === GrpcCode.OK) break;
  }
  const startMs = performance.now();
  await authority.authority.drain();
  assert.ok(performance.now() - startMs < 4000, "drained within the grace");
  client.close();
});

test("connections are bounded, and one that is left makes room", async () => {
  const listener = await listen({ host: "127.0.0.1", port: 0, mostConnections: 2 }, (_request, response) => {
    response.statusCode = 204;
    response.end();
  });
  const { hostname, port } = new URL(listener.url);
  const open = () =>
    new Promise<Socket>((resolve) => {
      const socket = connect(Number(port), hostname, () => resolve(socket));
      socket.on("error", () => {});
    });
  const asked = (socket: Socket) =>
    new Promise<boolean>((resolve) => {
      socket.once("data", () => resolve(true));
      socket.once("close", () => resolve(false));
      socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    });
  const held = [await open(), await open()];
  assert.deepEqual(await Promise.all(held.map(asked)), [true, true]);
  assert.equal(await asked(await open()), false);
  held[0]?.destroy();
  for (;;) {
    const next = await open();
    const answered = await asked(next);
    next.destroy();
    if (answered) break;
  }
  held[1]?.destroy();
  await listener.close(0);
});

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}
