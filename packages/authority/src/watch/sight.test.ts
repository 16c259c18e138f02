// What watchers see when policies change under them, and whether a position is of this very log. In process, on a real log.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ElevationServiceDenyRequestSchema,
  ElevationServiceRequestRequestSchema,
  ElevationServiceWatchRequestSchema,
  type ElevationServiceWatchResponse,
  ElevationState,
  LogPositionSchema,
} from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { openParts } from "../testdata/parts.ts";
import { policyText, REFUND, requestId } from "../testdata/scene.ts";
import { ElevationWatches } from "./elevations.ts";
import { isResumable } from "./position.ts";

const never = new AbortController().signal;

test("whoever loses sight of an elevation hears its end, and nothing of whose it was", async () => {
  await using parts = await openParts();
  const watches = new ElevationWatches({ ...parts, drain: never });
  const sam = await parts.callerAs("user:sam@test");
  const asked = await parts.elevations.request(
    sam,
    create(ElevationServiceRequestRequestSchema, { requestId: requestId(), method: REFUND, reason: "secret" }),
  );
  assert.ok(asked.ok);
  const { id } = asked.value.elevation;
  const stream = watches.watch(await parts.callerAs("user:ana@test"), create(ElevationServiceWatchRequestSchema), parts.gone);
  const next = async (wanted: (message: ElevationServiceWatchResponse) => boolean) => {
    for (;;) {
      const { value, done } = await stream.next();
      if (done === true) throw new Error("the watch ended");
      if (wanted(value)) return value;
    }
  };
  assert.equal((await next((message) => message.elevation !== undefined)).elevation?.reason?.text, "secret");
  await next((message) => message.caughtUp);
  await parts.apply(policyText().replace('"user:ana@test", "user:bo@test"', '"user:bo@test"'), 2n);
  const bo = await parts.callerAs("user:bo@test");
  assert.ok((await parts.elevations.deny(bo, create(ElevationServiceDenyRequestSchema, { requestId: requestId(), id }))).ok);
  const { elevation } = await next((message) => message.elevation !== undefined);
  assert.deepEqual([elevation?.id, elevation?.state], [id, ElevationState.DENIED]);
  assert.deepEqual([elevation?.requester, elevation?.reason, elevation?.votes, elevation?.method], [undefined, undefined, [], ""]);
});

test("a position with a root is resumed behind only if the log had that root there", async () => {
  await using parts = await openParts();
  const { position, root } = await parts.log.checkpoint();
  const { store } = parts.log;
  const sam = await parts.callerAs("user:sam@test");
  await parts.elevations.request(sam, create(ElevationServiceRequestRequestSchema, { requestId: requestId(), method: REFUND }));
  const head = parts.log.position();
  assert.ok(head.revision > position.revision);
  const at = (root?: Uint8Array) => create(LogPositionSchema, { ...position, ...(root ? { root } : {}) });
  assert.ok(await isResumable(at(), head, store));
  assert.ok(await isResumable(at(root), head, store));
  assert.ok(!(await isResumable(at(new Uint8Array(32)), head, store)));
  assert.ok(!(await isResumable(at((await parts.log.checkpoint()).root), head, store)));
});
