import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "@brevet/protocol";
import {
  type Elevation,
  ElevationSchema,
  type ElevationServiceWatchRequestSchema,
  type ElevationServiceWatchResponse,
  ElevationServiceWatchResponseSchema,
  ElevationState,
  LogPositionSchema,
} from "@brevet/protocol/brevet/v1/elevation";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { Outages } from "../connection/outage.ts";
import { until } from "../testdata/scene.ts";
import { Watch } from "./watch.ts";

type Request = MessageInitShape<typeof ElevationServiceWatchRequestSchema>;

/** Streams that the test feeds: what an authority may do, and when, is what these tests are about. */
class Streams {
  readonly opened: { readonly request: Request; readonly signal: AbortSignal; send(message: object): void; end(error?: Error): void }[] =
    [];

  readonly open = (request: Request, signal: AbortSignal): AsyncIterable<ElevationServiceWatchResponse> => {
    const stream = new TransformStream<ElevationServiceWatchResponse, ElevationServiceWatchResponse>(undefined, { highWaterMark: 100 });
    const writer = stream.writable.getWriter();
    const ignore = () => undefined;
    const end = (cause?: Error) => {
      if (cause === undefined) writer.close().catch(ignore);
      else writer.abort(cause).catch(ignore);
    };
    signal.addEventListener("abort", () => end(new ConnectError("aborted", Code.Canceled)));
    this.opened.push({
      request,
      signal,
      send: (message) => void writer.write(create(ElevationServiceWatchResponseSchema, message)).catch(ignore),
      end,
    });
    return stream.readable;
  };

  /** The nth stream, from 1. */
  nth(n: number) {
    return until(() => this.opened[n - 1]);
  }
}

function setUp() {
  const streams = new Streams();
  const watch = new Watch({
    open: streams.open,
    clock: systemClock,
    random: () => 0.1,
    logger: undefined,
    outages: new Outages(systemClock),
  });
  const heard: string[] = [];
  const waiter = (id: string) => ({
    id,
    onElevation: (elevation: Elevation) =>
      heard.push(`${id} ${ElevationState.PENDING === elevation.state ? "pending" : "other"} ${elevation.revision}`),
    onMissed: () => heard.push(`${id} missed`),
    onFailure: (failure: Error) => heard.push(`${id} ${failure.message}`),
  });
  return { streams, watch, heard, waiter };
}

const at = (revision: bigint, epoch = "epo_1") => create(LogPositionSchema, { epoch, revision });
const change = (id: string, revision: bigint, epoch?: string) => ({
  position: at(revision, epoch),
  elevation: create(ElevationSchema, { id, revision, state: ElevationState.PENDING }),
});

test("a broken watch resumes behind what was seen, and says again whom it waits for", async () => {
  const { streams, watch, heard, waiter } = setUp();
  const leave = watch.add(waiter("elv_a"), at(5n));
  const first = await streams.nth(1);
  assert.deepEqual([first.request.after, first.request.waitingFor], [at(5n), ["elv_a"]]);
  first.send({ caughtUp: true, position: at(6n) });
  first.send(change("elv_a", 7n));
  await until(() => heard.length === 1);
  first.end(new ConnectError("the authority is draining", Code.Unavailable));
  const second = await streams.nth(2);
  assert.deepEqual([second.request.after?.revision, second.request.waitingFor], [7n, ["elv_a"]]);
  leave(false);
  await until(() => !watch.open);
  assert.equal(second.signal.aborted, true);
});

test("a waiter who may have missed something is told so, and costs nobody else a thing", async () => {
  const { streams, watch, heard, waiter } = setUp();
  const leaves = [watch.add(waiter("elv_a"), at(5n)), watch.add(waiter("elv_b"), at(4n))];
  const first = await streams.nth(1);
  assert.deepEqual([first.request.after, first.request.waitingFor], [at(5n), ["elv_a", "elv_b"]]);
  assert.deepEqual(heard, ["elv_b missed"]);
  first.send({ caughtUp: true, position: at(20n) });
  first.send(change("elv_a", 21n));
  await until(() => heard.length === 2);
  leaves.push(watch.add(waiter("elv_c"), at(20n)), watch.add(waiter("elv_d"), at(21n, "epo_2")), watch.add(waiter("elv_e")));
  assert.deepEqual(heard.slice(2), ["elv_c missed", "elv_d missed", "elv_e missed"]);
  first.send(change("elv_c", 22n));
  await until(() => heard.at(-1) === "elv_c pending 22");
  assert.equal(streams.opened.length, 1);
  for (const leave of leaves) leave(true);
  await until(() => !watch.open);
});

test("who missed nothing is served by the open stream, and announced a little later", async () => {
  const { streams, watch, heard, waiter } = setUp();
  const leaves = [watch.add(waiter("elv_a"), at(5n))];
  const first = await streams.nth(1);
  first.send({ caughtUp: true, position: at(6n) });
  first.send(change("elv_a", 7n));
  await until(() => heard.length === 1);
  leaves.push(watch.add(waiter("elv_b"), at(7n)));
  first.send(change("elv_b", 8n));
  await until(() => heard.includes("elv_b pending 8"));
  assert.equal(streams.opened.length, 1);
  const second = await streams.nth(2);
  assert.deepEqual([second.request.after, second.request.waitingFor], [at(8n), ["elv_a", "elv_b"]]);
  for (const leave of leaves) leave(true);
  await until(() => !watch.open);
});

test("an elevation that is settled is left without a new opening", async () => {
  const { streams, watch, heard, waiter } = setUp();
  const leaveA = watch.add(waiter("elv_a"), at(5n));
  const leaveB = watch.add(waiter("elv_b"), at(5n));
  const first = await streams.nth(1);
  leaveA(true);
  first.send(change("elv_b", 9n));
  await until(() => heard.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 600));
  assert.equal(streams.opened.length, 1);
  leaveB(true);
  await until(() => !watch.open);
});

test("nobody is waited for any longer who has left", async () => {
  const { streams, watch, waiter } = setUp();
  const leaveA = watch.add(waiter("elv_a"), at(5n));
  const leaveB = watch.add(waiter("elv_b"), at(5n));
  await streams.nth(1);
  leaveB(false);
  assert.deepEqual((await streams.nth(2)).request.waitingFor, ["elv_a"]);
  leaveA(false);
  await until(() => !watch.open);
});

test("after a restore the whole state is read, and who is not in it is told", async () => {
  const { streams, watch, heard, waiter } = setUp();
  const leaves = [watch.add(waiter("elv_a"), at(50n)), watch.add(waiter("elv_b"), at(50n))];
  const first = await streams.nth(1);
  first.send({ reset: true, position: at(0n, "epo_2") });
  first.send(change("elv_a", 3n, "epo_2"));
  await until(() => heard.length === 1);
  first.end();
  // Cut in the middle of the state: nothing of it may be taken for complete.
  const second = await streams.nth(2);
  assert.equal(second.request.after, undefined);
  second.send(change("elv_a", 3n, "epo_2"));
  second.send({ caughtUp: true, position: at(9n, "epo_2") });
  await until(() => heard.includes("elv_b missed"));
  assert.ok(!heard.includes("elv_a missed"));
  second.end();
  assert.deepEqual((await streams.nth(3)).request.after?.revision, 9n);
  for (const leave of leaves) leave(false);
  await until(() => !watch.open);
});

test("an authority that refuses the watch fails all who wait, once", async () => {
  const { streams, watch, heard, waiter } = setUp();
  watch.add(waiter("elv_a"), at(5n));
  watch.add(waiter("elv_b"), at(5n));
  (await streams.nth(1)).end(new ConnectError("no such caller", Code.Unauthenticated));
  await until(() => !watch.open);
  assert.deepEqual(heard, ["elv_a no such caller", "elv_b no such caller"]);
  assert.equal(streams.opened.length, 1);
});
