import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { requestOf } from "../testdata/facts.ts";
import { metadataOf, type RelayedMethod, relay } from "../testdata/relay.ts";

const STREAMS = ["Watch", "Import", "Chat"].map((name) => `test.v1.Ledger/${name}`);

test("a call without an elevation is refused with an offer, and with one it runs, of every kind", async () => {
  await using at = await relay();
  const authorization = await at.as();
  for (const method of ["Refund", "Watch", "Import", "Chat"] satisfies RelayedMethod[]) {
    const refused = await at.call(method, { authorization });
    assert.equal(refused.status.reason, "ELEVATION_REQUIRED", method);
    assert.equal(refused.trailers.get("grpc-retry-pushback-ms")[0], "-1");
    assert.equal(refused.initial, undefined, "Trailers-Only");
  }
  assert.equal(at.handled.length, 0);
  at.authority.elevate();
  at.authority.elevate({ entitlement: "streams", methods: STREAMS });
  await at.authority.settled();
  for (const [method, sent, got] of [
    ["Refund", ["a"], ["a"]],
    ["Watch", ["a"], ["a", "a", "a"]],
    ["Import", ["a", "b", "c"], ["abc"]],
    ["Chat", ["a", "b", "c"], ["a", "b", "c"]],
  ] as const) {
    const messages = sent.map((text) => Buffer.from(text));
    const run = await at.call(method, { authorization }, messages);
    assert.equal(run.code, status.OK, `${method}: ${run.message}`);
    assert.deepEqual(run.messages.map(String), got);
    assert.ok(Number(run.trailers.get("brevet-window-ends")[0]) > 3500, method);
  }
});

test("a condition reads the very bytes of the request, and lets exactly those through", async () => {
  await using at = await relay();
  at.authority.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"] });
  await at.authority.settled();
  const authorization = await at.as();
  const request = Buffer.concat([requestOf(500), Buffer.from([0x7a, 0x01, 0x42])]);
  const run = await at.call("Limited", metadataOf({ authorization }), [request]);
  assert.equal(run.code, status.OK, run.message);
  assert.deepEqual(run.messages, [request]);
  assert.equal((await at.call("Limited", { authorization }, [requestOf(501)])).status.reason, "CONDITION_NOT_MET");
  assert.equal((await at.call("Limited", { authorization }, [Buffer.from([0x0f])])).status.reason, "POLICY_MISCONFIGURED");
  assert.equal(at.handled.length, 1);
});
