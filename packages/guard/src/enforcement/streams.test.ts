// What else ends or changes live streams: the policy, silence, a clock in doubt; and what watching them costs.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { makeKeys, POLICY, requestOf, SAM } from "../testdata/facts.ts";
import { FIVE_AT_MOST, LiveWorld, policyWith } from "../testdata/live.ts";
import type { MethodName } from "../testdata/service.ts";

const keys = await makeKeys();
const KINDS = ["Watch", "Import", "Chat"] satisfies MethodName[];
const CHAT = "Chat: { access: elevated }";

test("a policy that forbids the method, or takes the entitlement away, ends its streams at once", async () => {
  const others = [
    "  others:",
    "    methods: [test.v1.Ledger/Chat]",
    '    requesters: ["group:support"]',
    '    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }',
    "  streams:\n",
  ].join("\n");
  for (const [changes, reason] of [
    [
      [
        [CHAT, "Chat: { access: forbidden }"],
        [", test.v1.Ledger/Chat]", "]"],
      ],
      "METHOD_FORBIDDEN",
    ],
    [
      [
        [", test.v1.Ledger/Chat]", "]"],
        ["  streams:\n", others],
      ],
      "ELEVATION_REQUIRED",
    ],
  ] as const) {
    const world = await LiveWorld.make(keys);
    world.elevate();
    const [chat, watch] = [world.open("Chat"), world.open("Watch")];
    world.known.applyPolicy(policyWith(...changes), 2n);
    assert.deepEqual([chat.outcome, chat.send(), watch.outcome], [reason, false, "live"]);
  }
});

test("a policy that changes nothing for a stream leaves it alone", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate();
  const calls = [...KINDS, "GetEntry" as const].map((kind) => world.open(kind));
  world.known.applyPolicy(`${POLICY}\nwhenStale: { after: 5s, then: deny }\n`, 2n);
  world.known.setKeys();
  for (const call of calls) assert.equal(call.outcome, "live");
  world.clock.advance(5001);
  for (const call of calls.slice(0, 3)) assert.equal(call.outcome, "POLICY_STALE", "but for what it says from now on");
});

test("a stream that needed no elevation is judged when a policy says that it does", async () => {
  const world = await LiveWorld.make(keys, policyWith([CHAT, "Chat: { access: authenticated }"], [", test.v1.Ledger/Chat]", "]"]));
  const [without, forbidden] = [world.open("Chat"), world.open("Chat")];
  assert.equal(world.streams.size, 2);
  forbidden.enforced.ended(0);
  world.known.applyPolicy(POLICY, 2n);
  assert.equal(without.outcome, "ELEVATION_REQUIRED");
  const covered = await LiveWorld.make(keys, policyWith([CHAT, "Chat: { access: authenticated }"], [", test.v1.Ledger/Chat]", "]"]));
  covered.elevate({ endsInMs: 1000 });
  const call = covered.open("Chat");
  covered.known.applyPolicy(POLICY, 2n);
  assert.equal(call.send(), true);
  covered.advance(1000);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("a stream of an open method has nobody to speak for it once the method is open no more", async () => {
  const world = await LiveWorld.make(keys, policyWith([CHAT, "Chat: { access: open }"], [", test.v1.Ledger/Chat]", "]"]));
  const call = world.open("Chat");
  world.known.applyPolicy(policyWith([CHAT, "Chat: { access: authenticated }"], [", test.v1.Ledger/Chat]", "]"]), 2n);
  assert.equal(call.outcome, "IDENTITY_MISSING");
});

test("a policy that cannot be enforced ends every stream", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate();
  const calls = KINDS.map((kind) => world.open(kind));
  world.known.knowledge.setPolicyProblem("written for a later guard");
  for (const call of calls) assert.equal(call.outcome, "POLICY_MISCONFIGURED");
  assert.equal(world.streams.size, 0);
});

test("a condition that a policy adds judges the messages from then on, where they are brought; a kept request at once", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate();
  const [chat, watch] = [world.open("Chat"), world.open("Watch")];
  watch.send(3);
  assert.equal(chat.send(600), true);
  world.known.applyPolicy(policyWith(FIVE_AT_MOST), 2n);
  assert.equal(watch.outcome, "CONDITION_NOT_MET", "its request was not kept: nothing says that it meets the condition");
  assert.equal(chat.enforced.reads, true);
  assert.deepEqual([chat.send(5), chat.send(6), chat.outcome], [true, false, "CONDITION_NOT_MET"]);
  const kept = await LiveWorld.make(keys, policyWith(FIVE_AT_MOST));
  kept.elevate();
  const streams = [3, 4].map((amount) => {
    const stream = kept.open("Watch");
    assert.equal(stream.reading, true);
    stream.send(amount);
    return stream;
  });
  kept.known.applyPolicy(policyWith(["  streams:\n", "  streams:\n    condition: request.amount_cents <= 3\n"]), 2n);
  assert.deepEqual(
    streams.map(({ outcome }) => outcome),
    ["live", "CONDITION_NOT_MET"],
  );
});

test("while stale the policy says what becomes of live streams, at the moment when it becomes so", async () => {
  for (const [whenStale, limitMs] of [
    ["{ after: 10s, then: deny }", 10_000],
    ["{ after: 10s, then: known, atMost: 25s }", 25_000],
  ] as const) {
    const world = await LiveWorld.make(keys, `${POLICY}\nwhenStale: ${whenStale}\n`);
    world.elevate();
    const calls = KINDS.map((kind) => world.open(kind));
    const other = world.open("GetEntry", { requestStream: true });
    world.clock.advance(limitMs);
    for (const call of calls) assert.equal(call.outcome, "live");
    world.clock.advance(1);
    for (const call of calls) assert.deepEqual([call.outcome, call.status?.pushback], ["POLICY_STALE", "-1"]);
    assert.equal(other.outcome, "live", "it needs no elevation");
  }
});

test("a guard that hears of the authority again in time ends nothing", async () => {
  const world = await LiveWorld.make(keys, `${POLICY}\nwhenStale: { after: 10s, then: deny }\n`);
  world.elevate();
  const call = world.open("Chat");
  for (let i = 0; i < 10; i += 1) {
    world.clock.advance(9999);
    world.known.heard();
    assert.equal(call.send(), true);
  }
});

test("a clock that is uncertain by more than a second ends streams where stale means deny", async () => {
  const world = await LiveWorld.make(keys, `${POLICY}\nwhenStale: { after: 10s, then: deny }\n`);
  world.elevate();
  const call = world.open("Chat");
  world.known.errorMs = 2001;
  assert.deepEqual([call.answerWith(), call.outcome], [false, "POLICY_STALE"]);
});

test("while the clock is in doubt messages wait, in order and in both directions, and the half-close behind them", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 60_000 });
  const call = world.open("Chat");
  const doubt = Promise.withResolvers<void>();
  world.known.settling = doubt.promise;
  assert.deepEqual([call.send(1), call.answerWith("first")], [false, false]);
  call.halfClose();
  call.answerWith("second");
  assert.deepEqual(call.passed, []);
  world.known.settling = undefined;
  doubt.resolve();
  await doubt.promise;
  await new Promise(setImmediate);
  assert.deepEqual(
    call.passed.filter((one) => one !== "first" && one !== "second"),
    [1, "half-close"],
  );
  assert.deepEqual(
    call.passed.filter((one) => typeof one === "string" && one !== "half-close"),
    ["first", "second"],
  );
});

test("a machine that slept over the end of a window lets nothing pass once the time is known", async () => {
  const world = await LiveWorld.make(keys);
  world.elevate({ endsInMs: 60_000 });
  const call = world.open("Chat");
  const doubt = Promise.withResolvers<void>();
  world.known.settling = doubt.promise;
  world.known.nowMs += 3_600_000;
  world.known.errorMs = 1001;
  world.streams.look();
  assert.deepEqual([call.send(), call.answerWith(), call.outcome], [false, false, "live"], "nothing is said on what the time may be");
  world.known.errorMs = 1;
  world.known.settling = undefined;
  world.known.heard();
  doubt.resolve();
  await new Promise(setImmediate);
  assert.deepEqual([call.passed, call.outcome], [[], "ELEVATION_EXPIRED"]);
});

test("a revocation that comes while the clock is in doubt ends the stream, and what waits is swallowed", async () => {
  const world = await LiveWorld.make(keys);
  const { id } = world.elevate();
  const call = world.open("Chat");
  const doubt = Promise.withResolvers<void>();
  world.known.settling = doubt.promise;
  call.send(1);
  world.elevate({ id, state: ElevationState.REVOKED });
  assert.equal(call.outcome, "ELEVATION_REVOKED");
  world.known.settling = undefined;
  doubt.resolve();
  await new Promise(setImmediate);
  assert.deepEqual(call.passed, []);
});

test("a policy that only observes ends no stream, and says once what it would have ended", async () => {
  const world = await LiveWorld.make(keys, `${POLICY}\nmode: observe\n`);
  world.elevate({ endsInMs: 1000 });
  const call = world.open("Chat");
  world.advance(60_000);
  assert.equal(call.send(), true);
  const observed = world.lines.filter(({ message }) => /only observes/.test(String(message)));
  assert.deepEqual(
    observed.map(({ reason }) => reason),
    ["ELEVATION_EXPIRED"],
  );
  world.known.applyPolicy(POLICY, 2n);
  assert.equal(call.outcome, "ELEVATION_EXPIRED", "until one is enforced");
});

test("a stream that an observing policy let through without an elevation ends when the policy is enforced", async () => {
  const world = await LiveWorld.make(keys, `${POLICY}\nmode: observe\n`);
  const call = world.open("Chat");
  assert.equal(call.permitted, true);
  world.known.applyPolicy(POLICY, 2n);
  assert.equal(call.outcome, "ELEVATION_REQUIRED");
});

test("a revocation costs its own streams only, and all streams have one timer", async () => {
  const world = await LiveWorld.make(keys);
  const { decider } = world.known;
  const elevations = Array.from({ length: 500 }, (_, i) =>
    world.known.elevate({
      entitlement: "streams",
      methods: ["test.v1.Ledger/Chat"],
      principal: `user:u${i}@acme.test`,
      endsInMs: 1_000_000 - i,
    }),
  );
  const tokens = await Promise.all(elevations.map(({ requester }) => world.known.as(requester?.name)));
  const calls = await Promise.all(
    tokens.map(async (token) => {
      const call = world.open("Chat", { authorization: [token] });
      while (!call.permitted) await new Promise(setImmediate);
      return call;
    }),
  );
  assert.deepEqual([world.streams.size, world.clock.pending], [500, 1]);
  let judged = 0;
  const again = decider.again.bind(decider);
  decider.again = (...args) => {
    judged += 1;
    return again(...args);
  };
  const [first, second] = [elevations[7], calls[7]];
  const of = { id: first?.id ?? "", principal: first?.requester?.name ?? "", entitlement: "streams", methods: first?.methods ?? [] };
  world.known.elevate({ ...of, state: ElevationState.REVOKED });
  assert.deepEqual([second?.outcome, judged, world.streams.size, world.clock.pending], ["ELEVATION_REVOKED", 1, 499, 1]);
  judged = 0;
  for (const call of calls) call.answerWith();
  assert.equal(judged, 0, "and a message costs a look at the clock");
});

test("what ends a stream is written down as a refusal, and its permit once, with what it rested on", async () => {
  const world = await LiveWorld.make(keys);
  const { id } = world.elevate();
  const call = world.open("Chat");
  world.elevate({ id, state: ElevationState.REVOKED });
  call.enforced.ended(1);
  assert.deepEqual(
    world.told.filter(({ method }) => method.endsWith("Chat")).map(({ permitted, elevation, reason }) => [permitted, elevation, reason]),
    [
      [false, undefined, "ELEVATION_REVOKED"],
      [true, id, undefined],
    ],
  );
  const batch = world.decisions.take();
  assert.deepEqual(
    batch?.decisions.map(({ permitted, elevation, principal, count, callStatus }) => [permitted, elevation, principal, count, callStatus]),
    [
      [true, id, SAM, 1n, 7],
      [false, id, SAM, 1n, 0],
    ],
  );
  const line = world.lines.find(({ reason }) => reason === "ELEVATION_REVOKED");
  assert.equal(line?.decisionId, batch?.decisions[1]?.decisionId);
});

test("a revocation between the decision and the start of a stream ends it, at whatever step it comes", async () => {
  for (let steps = 0; steps < 12; steps += 1) {
    const world = await LiveWorld.make(keys);
    const { id } = world.elevate({ state: ElevationState.SCHEDULED });
    const revoke = (left: number): void => {
      if (left === 0) world.elevate({ id, state: ElevationState.REVOKED });
      else queueMicrotask(() => revoke(left - 1));
    };
    world.known.use = () => {
      const elevation = world.known.make({ id, entitlement: "streams", methods: ["test.v1.Ledger/Chat"] });
      revoke(steps);
      return Promise.resolve({ ok: true, elevation });
    };
    const call = world.open("Chat");
    await new Promise(setImmediate);
    assert.equal(call.outcome, "ELEVATION_REVOKED", `${steps} steps`);
  }
});

test("an approval of one exact request covers the stream that used it up, and ends with its window", async () => {
  const bound = policyWith(["Watch: { access: elevated }", "Watch: { access: elevated, bind: payload }"]);
  const world = await LiveWorld.make(keys, bound);
  const payloadDigest = createHash("sha256").update(requestOf(1)).digest();
  const elevation = world.elevate({ endsInMs: 60_000, payloadDigest });
  world.known.use = () =>
    Promise.resolve({
      ok: true,
      elevation: { ...elevation, payloadUseTime: timestampFromMs(world.nowMs), revision: elevation.revision + 1n },
    });
  const call = world.open("Watch");
  call.send(1);
  await new Promise(setImmediate);
  assert.deepEqual([call.permitted, call.passed, call.outcome], [true, [1], "live"]);
  world.known.applyPolicy(`${bound}\n`, 2n);
  assert.equal(call.answerWith(), true);
  world.advance(60_000);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});

test("a grant that is ahead of what is known carries a stream to the grant's end, or until the push comes", async () => {
  const world = await LiveWorld.make(keys);
  const elevation = world.known.make({ entitlement: "streams", methods: ["test.v1.Ledger/Chat"], endsInMs: 3_600_000 });
  const grants = [world.known.grant(elevation)];
  const [alone, pushed] = [world.open("Chat", { grants }), world.open("Chat", { grants })];
  assert.deepEqual([alone.outcome, pushed.outcome], ["live", "live"]);
  world.clock.advance(30_000);
  assert.equal(alone.send(), true);
  pushed.enforced.ended(0);
  world.known.errorMs = 0;
  for (let i = 0; i < 59; i += 1) {
    world.clock.advance(10_000);
    // Heard of, and not of the elevation.
    world.known.knowledge.heard(world.nowMs);
  }
  assert.equal(alone.outcome, "GRANT_EXPIRED");
  const after = await LiveWorld.make(keys);
  const known = after.known.make({ entitlement: "streams", methods: ["test.v1.Ledger/Chat"], endsInMs: 3_600_000 });
  const call = after.open("Chat", { grants: [after.known.grant(known)] });
  after.known.knowledge.setElevation(known);
  after.known.heard();
  after.advance(3_599_999);
  assert.equal(call.send(), true);
  after.advance(1);
  assert.equal(call.outcome, "ELEVATION_EXPIRED");
});
