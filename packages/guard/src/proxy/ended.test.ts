// Calls that the guard ends in the middle: both sides are told, at once, and neither can keep the call by not reading.
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { status } from "@grpc/grpc-js";
import { metadataOf, pathOf, rawConnect, rawHeaders, relay } from "../testdata/relay.ts";

const bytes = (value: Buffer): Buffer => value;
const STREAMS = { entitlement: "streams", methods: ["test.v1.Ledger/Watch", "test.v1.Ledger/Chat"] };

test("a revoked elevation ends its open streams at once, with the reason, and the service is told", async () => {
  const cancelled = Promise.withResolvers<void>();
  await using at = await relay({
    handlers: {
      chat(call) {
        call.on("data", (part: Buffer) => call.write(part));
        call.on("cancelled", () => cancelled.resolve());
      },
    },
  });
  const { id } = at.authority.elevate(STREAMS);
  await at.authority.settled();
  const call = at.client.makeBidiStreamRequest(pathOf("Chat"), bytes, bytes, metadataOf({ authorization: await at.as() }));
  call.on("error", () => {});
  call.write(Buffer.from("hello"));
  await once(call, "data");
  at.authority.elevate({ ...STREAMS, id, state: ElevationState.REVOKED });
  const ended = await new Promise<{ code: number; details: string }>((resolve) => call.once("status", resolve));
  assert.equal(ended.code, status.PERMISSION_DENIED);
  assert.match(ended.details, /^ELEVATION_REVOKED: /);
  await cancelled.promise;
  while (at.proxy.status().calls > 0) await new Promise(setImmediate);
});

test("a caller that reads nothing does not keep a stream open that was ended", async () => {
  const cancelled = Promise.withResolvers<void>();
  await using at = await relay({
    handlers: {
      watch(call) {
        const chunk = Buffer.alloc(64 << 10);
        const more = (): void => {
          while (!call.cancelled && call.write(chunk));
        };
        call.on("drain", more);
        call.on("cancelled", () => cancelled.resolve());
        more();
      },
    },
  });
  const { id } = at.authority.elevate(STREAMS);
  await at.authority.settled();
  const session = rawConnect(at.proxy.port);
  const stream = session.request([...rawHeaders(pathOf("Watch"), "authorization", await at.as())], { endStream: false });
  stream.on("error", () => {});
  stream.end(Buffer.from([0, 0, 0, 0, 0]));
  await once(stream, "response");
  // Nobody reads: the windows are full after a while.
  await new Promise((resolve) => setTimeout(resolve, 200));
  at.authority.elevate({ ...STREAMS, id, state: ElevationState.REVOKED });
  await cancelled.promise;
  while (at.proxy.status().calls > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  stream.resume();
  if (!stream.destroyed) await new Promise<void>((resolve) => stream.once("close", resolve));
  assert.equal(stream.rstCode, constants.NGHTTP2_CANCEL);
  session.close();
});

test("what the guard itself throws ends the call as GUARD_FAULT, and the next one runs", async () => {
  const broken = { now: false };
  const clock = {
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
  await using at = await relay({ proxy: { clock } });
  const authorization = await at.as();
  broken.now = true;
  const refused = await at.call("GetEntry", { authorization });
  broken.now = false;
  assert.equal(refused.status.reason, "GUARD_FAULT");
  assert.equal((await at.call("GetEntry", { authorization })).code, status.OK);
});
