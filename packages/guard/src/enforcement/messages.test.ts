// Streams judged message by message, and what is held until it can be.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { Decider } from "../core/decide.ts";
import { makeKeys, POLICY, requestOf } from "../testdata/facts.ts";
import { FIVE_AT_MOST, LiveWorld, policyWith } from "../testdata/live.ts";
import type { MethodName } from "../testdata/service.ts";
import { EnforcedCall } from "./call.ts";

const keys = await makeKeys();
const REQUEST_STREAMS = ["Import", "Chat"] satisfies MethodName[];

test("each request is judged before it is handed on; one that fails ends the call, and nothing behind it passes", async () => {
  for (const method of REQUEST_STREAMS) {
    const world = await LiveWorld.make(keys, policyWith(FIVE_AT_MOST));
    world.elevate();
    const call = world.open(method);
    assert.deepEqual([call.permitted, call.reading, call.enforced.reads], [false, true, true], "the handler is held");
    assert.equal(call.send(5), true);
    assert.deepEqual([call.permitted, call.enforced.supervised], [true, true]);
    assert.deepEqual([call.send(4), call.send(6), call.send(1)], [true, false, false]);
    call.halfClose();
    assert.deepEqual(call.passed, [5, 4]);
    assert.deepEqual([call.outcome, call.status?.pushback], ["CONDITION_NOT_MET", "-1"]);
  }
});

test("a first request that fails reaches no handler", async () => {
  for (const method of [...REQUEST_STREAMS, "Watch" as const]) {
    const world = await LiveWorld.make(keys, policyWith(FIVE_AT_MOST));
    world.elevate();
    const call = world.open(method);
    assert.equal(call.send(6), false);
    assert.deepEqual([call.permitted, call.outcome, world.streams.size], [false, "CONDITION_NOT_MET", 0]);
  }
});

test("a stream of nothing meets no condition", async () => {
  for (const mode of ["enforce", "observe"]) {
    const world = await LiveWorld.make(keys, `${policyWith(FIVE_AT_MOST)}\nmode: ${mode}\n`);
    world.elevate();
    const call = world.open("Import");
    call.halfClose();
    assert.equal(call.outcome, mode === "enforce" ? "CONDITION_NOT_MET" : "live");
    assert.deepEqual(call.passed, mode === "enforce" ? [] : ["half-close"]);
    assert.equal(call.permitted, mode === "observe");
  }
});

test("a handler starts at once where its elevation asks nothing of requests, though another entitlement does", async () => {
  const others = [
    "  others:",
    "    methods: [test.v1.Ledger/Chat]",
    '    requesters: ["group:support"]',
    "    condition: request.amount_cents <= 5",
    '    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }',
    "  streams:\n",
  ].join("\n");
  const world = await LiveWorld.make(keys, policyWith(["  streams:\n", others]));
  const methods = ["test.v1.Ledger/Chat"];
  assert.equal(world.open("Chat").reading, true, "without an elevation the request says whether one would help");
  world.known.elevate({ entitlement: "others", methods, endsInMs: 60_000 });
  assert.equal(world.open("Chat").reading, true);
  world.elevate({ endsInMs: 10_000 });
  const call = world.open("Chat");
  assert.deepEqual([call.permitted, call.reading, call.send(600)], [true, false, true]);
  world.advance(10_000);
  assert.deepEqual([call.enforced.reads, call.send(5)], [true, true], "from there on under the other one");
  assert.deepEqual([call.send(6), call.outcome], [false, "CONDITION_NOT_MET"]);
});

test("a message passes if one of the elevations lets it, whichever the one before rested on", async () => {
  const world = await LiveWorld.make(keys);
  const small = world.elevate({ condition: "request.amount_cents <= 5", endsInMs: 60_000 });
  world.elevate({ condition: "request.amount_cents >= 100", endsInMs: 30_000 });
  const call = world.open("Chat");
  for (const amount of [1, 200, 5, 100]) assert.equal(call.send(amount), true, String(amount));
  world.elevate({ id: small.id, state: ElevationState.REVOKED });
  assert.deepEqual([call.send(100), call.send(5), call.outcome], [true, false, "CONDITION_NOT_MET"]);
});

test("messages that come before the call is decided wait for it, are judged, and stay in order", async () => {
  const world = await LiveWorld.make(keys, policyWith(FIVE_AT_MOST));
  world.elevate();
  // A token that nobody has seen: its signature is checked first, and that takes a turn.
  const call = world.open("Chat", { authorization: [await world.known.as(undefined, { jti: "new" })] });
  assert.deepEqual([call.enforced.reads, call.send(1), call.send(2), call.send(6)], [true, false, false, false]);
  call.halfClose();
  while (call.status === undefined) await new Promise(setImmediate);
  assert.deepEqual([call.passed, call.outcome], [[1, 2], "CONDITION_NOT_MET"]);
});

test("the half-close of a call that waits comes behind its message", async () => {
  const world = await LiveWorld.make(keys, policyWith(FIVE_AT_MOST));
  const { id } = world.elevate({ state: ElevationState.SCHEDULED });
  const started = Promise.withResolvers<void>();
  world.known.use = async () => {
    await started.promise;
    return { ok: true, elevation: world.known.make({ id, entitlement: "streams", methods: ["test.v1.Ledger/Import"] }) };
  };
  const call = world.open("Import");
  call.send(3);
  call.halfClose();
  assert.deepEqual([call.passed, call.permitted], [[], false]);
  started.resolve();
  while (!call.permitted) await new Promise(setImmediate);
  assert.deepEqual(call.passed, [3, "half-close"]);
});

test("a caller who leaves while the first request is judged reaches no handler", async () => {
  const world = await LiveWorld.make(keys, policyWith(FIVE_AT_MOST));
  const { id } = world.elevate({ state: ElevationState.SCHEDULED });
  world.known.use = () =>
    Promise.resolve({ ok: true, elevation: world.known.make({ id, entitlement: "streams", methods: ["test.v1.Ledger/Import"] }) });
  const call = world.open("Import");
  call.send(3);
  call.enforced.ended(1);
  await new Promise(setImmediate);
  assert.deepEqual([call.passed, call.permitted, world.streams.size], [[], false, 0]);
});

test("an observing policy lets a request pass that fails, and says so once", async () => {
  const world = await LiveWorld.make(keys, `${policyWith(FIVE_AT_MOST)}\nmode: observe\n`);
  world.elevate();
  const call = world.open("Chat");
  assert.deepEqual([call.send(1), call.send(6), call.send(7), call.outcome], [true, true, true, "live"]);
  const observed = world.lines.filter(({ message }) => /only observes/.test(String(message))).map(({ reason }) => reason);
  assert.deepEqual(observed, ["CONDITION_NOT_MET"]);
});

test("what a policy that only observed began is settled by the one that is enforced by then", async () => {
  const observing = `${policyWith(FIVE_AT_MOST)}\nmode: observe\n`;
  for (const reads of [true, false]) {
    const world = await LiveWorld.make(keys, observing);
    const call = world.open("Chat", {}, (form) => {
      form.readAhead = () => {
        // Comes while the form is asked.
        if (!reads) world.known.applyPolicy(policyWith(FIVE_AT_MOST), 2n);
        return reads;
      };
    });
    world.known.applyPolicy(policyWith(FIVE_AT_MOST), 2n);
    call.halfClose();
    assert.deepEqual([call.permitted, call.passed, call.outcome], [false, [], reads ? "CONDITION_NOT_MET" : "POLICY_MISCONFIGURED"]);
  }
  for (let steps = 0; steps < 16; steps += 1) {
    const world = await LiveWorld.make(keys, `${POLICY}\nmode: observe\n`);
    world.elevate({ state: ElevationState.SCHEDULED });
    const enforce = (left: number): void => {
      if (left === 0) world.known.applyPolicy(POLICY, 2n);
      else queueMicrotask(() => enforce(left - 1));
    };
    world.known.use = () => {
      enforce(steps);
      return Promise.resolve({ ok: false, reason: "ELEVATION_REVOKED", problem: "it was revoked" });
    };
    const call = world.open("Chat");
    await new Promise(setImmediate);
    assert.deepEqual([call.outcome === "live", call.send(), call.answerWith()], [false, false, false], `${steps} steps`);
  }
});

test("a request whose bytes are not to be had ends the call, where they are to be judged", async () => {
  const world = await LiveWorld.make(keys, policyWith(FIVE_AT_MOST));
  world.elevate();
  const call = world.open("Chat");
  call.send(1);
  call.enforced.request(undefined, () => call.passed.push("unread"));
  assert.deepEqual([call.passed, call.outcome], [[1], "GUARD_FAULT"]);
});

test("identity and grants are judged at the start only", async () => {
  const world = await LiveWorld.make(
    keys,
    policyWith(["  streams:\n", "  streams:\n    present: grant\n    condition: request.amount_cents <= 5\n"]),
  );
  const elevation = world.elevate({ endsInMs: 3_600_000 });
  const token = await world.known.as(undefined, { exp: Math.floor(world.nowMs / 1000) + 60 });
  const call = world.open("Chat", { authorization: [token], grants: [world.known.grant(elevation)] });
  while (!call.reading) await new Promise(setImmediate);
  assert.equal(call.send(1), true);
  world.advance(3_000_000);
  assert.equal(call.send(2), true, "token and grant are over by now");
  assert.equal(world.open("Chat", { authorization: [token] }).outcome, "IDENTITY_EXPIRED");
});

test("health is not said to be good before there is a policy, where the form can say so", async () => {
  const world = await LiveWorld.make(keys, POLICY);
  const decider = new Decider({ authorityAudience: "brevet", now: () => undefined, use: () => Promise.reject(new Error("not asked")) });
  for (const [method, can, answered] of [
    ["grpc.health.v1.Health/Check", true, [[8, 2]]],
    ["grpc.health.v1.Health/Check", false, ["POLICY_UNAVAILABLE"]],
    ["grpc.health.v1.Health/Watch", true, ["POLICY_UNAVAILABLE"]],
    ["test.v1.Ledger/Ping", true, ["POLICY_UNAVAILABLE"]],
  ] as const) {
    const seen: unknown[] = [];
    const { recorder, decisions, streams } = world;
    const logger = { info() {}, warn() {}, error() {} };
    const port = {
      readAhead: () => false,
      permit: () => seen.push("permitted"),
      refuse: ({ message }: { message: string }) => seen.push(message.split(":")[0]),
      answer: (bytes: Uint8Array) => can && seen.push([...bytes]) > 0,
    };
    const incoming = {
      requestStream: false,
      responseStream: method.endsWith("Watch"),
      authorization: [],
      grants: [],
      peer: "",
      headersSeen: [],
      traceId: "",
    };
    const call = new EnforcedCall(
      { decider, recorder, decisions, logger, streams, endings: { used() {} }, now: () => undefined, probed: () => assert.fail() },
      { method, ...incoming },
      port,
    );
    call.begin();
    call.request(requestOf(1), () => seen.push("passed"));
    call.halfClose(() => seen.push("passed"));
    assert.deepEqual(seen, answered, method);
  }
});
