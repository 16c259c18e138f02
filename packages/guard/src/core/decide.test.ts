import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { AUDIENCE, elevationOf, makeKeys, POLICY, requestOf, SAM } from "../testdata/facts.ts";
import { Known, NOON } from "../testdata/known.ts";
import { Decider } from "./decide.ts";
import { Knowledge } from "./knowledge.ts";

const keys = await makeKeys();
const STATES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] satisfies ElevationState[];
const REFUND = "test.v1.Ledger/Refund";

test("the method's rule decides before any elevation", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  assert.equal(await known.outcome("Ping"), "permit");
  assert.equal(await known.outcome("GetEntry", { authorization }), "permit");
  assert.equal(await known.outcome("Hidden", { authorization }), "METHOD_FORBIDDEN");
  assert.equal(await known.outcome("Refund", { authorization, method: "test.v1.Other/Unlisted" }), "METHOD_FORBIDDEN");
  assert.equal(await known.outcome("Refund", { authorization }), "ELEVATION_REQUIRED");
  assert.equal(await known.outcome("Refund", { authorization: [await known.as(SAM, { groups: [] })] }), "NOT_ELIGIBLE");
});

test("a guard without a policy refuses everything, and says that it is not the caller's fault", async () => {
  const decider = new Decider({
    authorityAudience: "brevet",
    now: () => ({ authorityMs: NOON, errorMs: 1 }),
    use: () => Promise.reject(new Error("not asked")),
  });
  const call = { method: REFUND, requestStream: false, authorization: [], grants: [], peer: "" };
  for (const knowledge of [undefined, new Knowledge(AUDIENCE)]) {
    if (knowledge !== undefined) decider.adopt(knowledge);
    const decision = await decider.decide(call);
    assert.ok(decision.kind === "refuse");
    assert.equal(decision.reason, "POLICY_UNAVAILABLE");
    assert.ok((decision.retryDelayMs ?? 0) > 0);
  }
});

test("a policy that this guard cannot enforce refuses everything", async () => {
  const known = new Known(keys);
  known.knowledge.setPolicyProblem("written for a later guard");
  assert.equal(await known.outcome("Ping"), "POLICY_MISCONFIGURED");
  known.applyPolicy(POLICY, 2n);
  assert.equal(await known.outcome("Ping"), "permit");
});

test("overlapping windows never cut each other short", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  known.elevate({ endsInMs: 1000 });
  const long = known.elevate({ endsInMs: 60_000 });
  known.elevate({ state: ElevationState.REVOKED });
  known.nowMs += 2000;
  known.heard();
  const decision = await known.decide("Refund", { authorization });
  assert.ok(decision.kind === "permit");
  assert.equal(decision.elevation?.id, long.id);
  assert.equal(decision.endsMs, NOON + 60_000);
});

test("an end is judged at now + error, a start at now - error", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  known.elevate({ startedAgoMs: -1000, endsInMs: 10_000 });
  known.errorMs = 50;
  known.nowMs = NOON + 1049;
  assert.equal(await known.outcome("Refund", { authorization }), "ELEVATION_SCHEDULED");
  known.nowMs = NOON + 1050;
  assert.equal(await known.outcome("Refund", { authorization }), "permit");
  known.nowMs = NOON + 9949;
  assert.equal(await known.outcome("Refund", { authorization }), "permit");
  known.nowMs = NOON + 9950;
  assert.equal(await known.outcome("Refund", { authorization }), "ELEVATION_EXPIRED");
});

test("while stale, the policy says what goes on", async () => {
  for (const [rule, silentMs, outcome] of [
    ["{ after: 60s, then: known, atMost: 15m }", 60_000, "permit"],
    ["{ after: 60s, then: known, atMost: 15m }", 900_000, "permit"],
    ["{ after: 60s, then: known, atMost: 15m }", 900_001, "POLICY_STALE"],
    ["{ after: 60s, then: deny }", 60_000, "permit"],
    ["{ after: 60s, then: deny }", 60_001, "POLICY_STALE"],
  ] as const) {
    const known = new Known(keys, `${POLICY}\nwhenStale: ${rule}\n`);
    known.elevate({ endsInMs: 3_600_000 });
    known.errorMs = 0;
    known.nowMs += silentMs;
    assert.equal(await known.outcome("Refund", { authorization: [await known.as()] }), outcome, `${rule} after ${silentMs} ms`);
    assert.equal(await known.outcome("GetEntry", { authorization: [await known.as()] }), "permit");
  }
});

test("a clock that may be off by more than a second is as good as none", async () => {
  const known = new Known(keys, `${POLICY}\nwhenStale: { after: 60s, then: deny }\n`);
  known.elevate();
  known.errorMs = 2100; // Half of it is left once the authority was heard of.
  assert.equal(await known.outcome("Refund", { authorization: [await known.as()] }), "POLICY_STALE");
});

test("the silence of the authority is judged at its longest, and with no time at all nothing elevated is permitted", async () => {
  const known = new Known(keys, `${POLICY}\nwhenStale: { after: 60s, then: known, atMost: 15m }\n`);
  known.elevate({ endsInMs: 3_600_000 });
  const authorization = [await known.as()];
  known.nowMs += 890_000;
  for (const [errorMs, outcome] of [
    [10_000, "permit"],
    [10_001, "POLICY_STALE"],
    [Infinity, "POLICY_STALE"],
  ] as const) {
    known.errorMs = errorMs;
    assert.equal(await known.outcome("Refund", { authorization: [await known.as()] }), outcome, `${errorMs}`);
    assert.equal(await known.outcome("GetEntry", { authorization: [await known.as()] }), "permit");
    assert.equal(await known.outcome("Ping"), "permit");
  }
  known.nowMs = NOON;
  assert.equal(await known.outcome("Refund", { authorization }), "POLICY_STALE", "not even where the authority was heard of just now");
});

test("while the clock is in doubt elevated calls wait for a sample, and are judged by it; others do not wait", async () => {
  const known = new Known(keys);
  known.elevate({ endsInMs: 60_000 });
  const authorization = [await known.as()];
  const { promise, resolve } = Promise.withResolvers<void>();
  known.settling = promise;
  const refund = known.outcome("Refund", { authorization });
  assert.equal(await known.outcome("GetEntry", { authorization }), "permit");
  assert.equal(await known.outcome("Ping"), "permit");
  known.settling = undefined;
  known.nowMs += 120_000;
  known.heard();
  resolve();
  assert.equal(await refund, "ELEVATION_EXPIRED");
});

test("an observing policy lets everything pass, and says what it would have refused", async () => {
  const known = new Known(keys, `${POLICY}\nmode: observe\n`);
  const decision = await known.decide("Refund", { authorization: [await known.as()] });
  assert.ok(decision.kind === "permit");
  assert.equal(decision.observed?.reason, "ELEVATION_REQUIRED");
  const unknown = await known.decide("Refund");
  assert.ok(unknown.kind === "permit");
  assert.equal(unknown.observed?.reason, "IDENTITY_MISSING");
});

test("a condition wants the request first, and only once it is known who asks", async () => {
  const known = new Known(keys);
  known.elevate({ entitlement: "limited", methods: ["test.v1.Ledger/Limited"], condition: "request.amount_cents <= 500" });
  const authorization = [await known.as()];
  assert.equal(await known.outcome("Limited"), "IDENTITY_MISSING");
  const wanted = await known.decide("Limited", { authorization });
  assert.ok(wanted.kind === "request");
  assert.equal(wanted.principal.name, SAM);
  assert.equal(await known.outcome("Limited", { authorization, request: requestOf(500) }), "permit");
  assert.equal(await known.outcome("Limited", { authorization, request: requestOf(501) }), "CONDITION_NOT_MET");
  assert.equal(await known.outcome("Limited", { authorization, request: Uint8Array.of(0xff) }), "POLICY_MISCONFIGURED");
});

test("asking for one elevation takes nothing away from another that is live", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  known.elevate({ entitlement: "streams", methods: ["test.v1.Ledger/Import"] });
  assert.equal(await known.outcome("Import", { authorization, requestStream: true }), "permit");
  known.elevate({
    entitlement: "limited",
    methods: ["test.v1.Ledger/Limited"],
    condition: "request.amount_cents <= 500",
    state: ElevationState.PENDING,
  });
  assert.equal(await known.outcome("Import", { authorization, requestStream: true }), "permit");
});

test("an approval of one exact request is used up by that request, once", async () => {
  const known = new Known(keys);
  const request = requestOf(7);
  const payloadDigest = createHash("sha256").update(request).digest();
  const elevation = known.elevate({ entitlement: "bound", methods: ["test.v1.Ledger/Bound"], payloadDigest });
  const used: string[] = [];
  known.use = (id, digest) => {
    used.push(`${id} ${Buffer.from(digest ?? []).toString("hex")}`);
    const now = known.make({ id, entitlement: "bound", methods: ["test.v1.Ledger/Bound"], payloadDigest });
    return Promise.resolve({ ok: true, elevation: { ...now, payloadUseTime: now.createTime } } as const);
  };
  const authorization = [await known.as()];
  assert.equal(await known.outcome("Bound", { authorization, request: requestOf(8) }), "GRANT_PAYLOAD_MISMATCH");
  assert.equal(await known.outcome("Bound", { authorization, request }), "permit");
  assert.deepEqual(used, [`${elevation.id} ${payloadDigest.toString("hex")}`]);
  assert.equal(await known.outcome("Bound", { authorization, request }), "GRANT_PAYLOAD_MISMATCH");
});

test("no permit without a live elevation that covers principal, method, audience and time", async () => {
  const people = [SAM, "user:eve@acme.test"] as const;
  const known0 = new Known(keys);
  const bearers = new Map<string, string>();
  for (const name of people) bearers.set(name, await known0.as(name, { exp: NOON / 1000 + 100_000 }));
  const methods = ["Refund", "Watch"] as const;
  const fields = fc.record({
    principal: fc.constantFrom(...people),
    entitlement: fc.constantFrom("refunds", "streams", "gone"),
    methods: fc.constantFrom(["test.v1.Ledger/Refund", "test.v1.Ledger/Watch"], ["test.v1.Ledger/Refund"], ["test.v1.Ledger/Watch"], []),
    state: fc.oneof({ weight: 5, arbitrary: fc.constant(ElevationState.ACTIVE) }, { weight: 1, arbitrary: fc.constantFrom(...STATES) }),
    startedAgoMs: fc.integer({ min: -3000, max: 5000 }),
    endsInMs: fc.integer({ min: 0, max: 9000 }),
    audience: fc.constantFrom(AUDIENCE, AUDIENCE, AUDIENCE, "payments-prod"),
  });
  const calls = fc.record({
    principal: fc.constantFrom(...people),
    method: fc.constantFrom(...methods),
    atMs: fc.integer({ min: 0, max: 6000 }),
    errorMs: fc.integer({ min: 0, max: 900 }),
  });
  let permits = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fields, { maxLength: 6 }), fc.array(calls, { minLength: 1, maxLength: 6 }), async (held, made) => {
      const known = new Known(keys);
      const elevations = held.map((each, index) => {
        const { audience, ...rest } = each;
        return { ...elevationOf({ id: `elv_${index}`, ...rest }, NOON, BigInt(20 + index)), audience };
      });
      for (const elevation of elevations) known.knowledge.setElevation(elevation);
      for (const call of made) {
        known.nowMs = NOON + call.atMs;
        known.errorMs = call.errorMs;
        const decision = await known.decide(call.method, { authorization: [bearers.get(call.principal) ?? ""] });
        if (decision.kind !== "permit") continue;
        permits += 1;
        const covering = elevations.filter(
          (each) =>
            each.state === ElevationState.ACTIVE &&
            each.audience === AUDIENCE &&
            each.requester?.name === call.principal &&
            each.methods.includes(`test.v1.Ledger/${call.method}`) &&
            each.entitlement === (call.method === "Refund" ? "refunds" : "streams") &&
            each.windowStart !== undefined &&
            timestampMs(each.windowStart) <= known.nowMs &&
            each.windowEnd !== undefined &&
            known.nowMs + call.errorMs < timestampMs(each.windowEnd),
        );
        assert.ok(covering.some(({ id }) => id === decision.elevation?.id));
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(permits > 10, "the property saw permits");
});
