// A call that sends one request runs when that comes, however long after the permit: what lets it run is judged then.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { type ElevationFields, makeKeys, POLICY } from "../testdata/facts.ts";
import { DRAINS, LiveWorld, policyWith, type TestCall } from "../testdata/live.ts";

const keys = await makeKeys();
const METHODS = ["Refund", "Watch"] as const;
type Method = (typeof METHODS)[number];

function elevate(world: LiveWorld, method: Method, fields: ElevationFields = {}): string {
  return (method === "Refund" ? world.known.elevate(fields) : world.elevate(fields)).id;
}

/** A world with a call that was permitted, and whose request has not come. */
async function opened(method: Method, policy = POLICY): Promise<{ world: LiveWorld; call: TestCall; id: string }> {
  const world = await LiveWorld.make(keys, policy);
  const id = elevate(world, method, { endsInMs: 60_000 });
  const call = world.open(method);
  assert.deepEqual([call.permitted, call.enforced.awaitsRequest], [true, true]);
  return { world, call, id };
}

function assertRefused(call: TestCall, reason: string, what: string): void {
  assert.deepEqual([call.send(), call.passed, call.outcome, call.enforced.over], [false, [], reason, true], what);
}

const STALE = `${POLICY}\nwhenStale: { after: 10s, then: deny }\n`;
const ENDS: Readonly<Record<string, readonly [reason: string, (world: LiveWorld, method: Method, id: string) => void, policy?: string]>> = {
  "its window ended": ["ELEVATION_EXPIRED", (world) => world.advance(60_000)],
  "it was revoked": ["ELEVATION_REVOKED", (world, method, id) => elevate(world, method, { id, state: ElevationState.REVOKED })],
  "it was ended": ["ELEVATION_ENDED", (world, method, id) => elevate(world, method, { id, state: ElevationState.ENDED })],
  "the policy forbids it": [
    "METHOD_FORBIDDEN",
    (world) =>
      world.known.applyPolicy(
        policyWith(
          ["Refund: { access: elevated }", "Refund: { access: forbidden }"],
          ["Watch: { access: elevated }", "Watch: { access: forbidden }"],
          ["methods: [test.v1.Ledger/Refund]", "methods: [test.v1.Ledger/Shown]"],
          ["test.v1.Ledger/Watch, ", ""],
        ),
        2n,
      ),
  ],
  "the policy cannot be enforced": ["POLICY_MISCONFIGURED", (world) => world.known.knowledge.setPolicyProblem("of a later guard")],
  "the authority was silent for too long": ["POLICY_STALE", (world) => world.clock.advance(10_001), STALE],
  "the time is not known": ["POLICY_STALE", (world) => void (world.known.errorMs = 2001), STALE],
};

for (const [what, [reason, happens, policy]] of Object.entries(ENDS))
  test(`a request that comes late runs nothing if ${what}`, async () => {
    for (const method of METHODS) {
      const { world, call, id } = await opened(method, policy);
      happens(world, method, id);
      assertRefused(call, reason, method);
    }
  });

test("a request that comes late runs while all is well, also after changes that do not concern it", async () => {
  for (const method of METHODS) {
    const { world, call } = await opened(method);
    world.advance(59_000);
    elevate(world, method, { state: ElevationState.REVOKED, endedAgoMs: 0 });
    world.known.setKeys();
    assert.deepEqual([call.send(7), call.outcome, call.enforced.awaitsRequest], [true, "live", false], method);
    call.halfClose();
    assert.deepEqual(call.passed, [7, "half-close"]);
  }
});

test("a request that comes while the clock is in doubt waits, and its half-close behind it", async () => {
  for (const method of METHODS)
    for (const slept of [0, 60_000]) {
      const { world, call } = await opened(method);
      const doubt = Promise.withResolvers<void>();
      world.known.settling = doubt.promise;
      assert.equal(call.send(7), false);
      call.halfClose();
      assert.deepEqual([call.passed, call.outcome], [[], "live"]);
      world.known.nowMs += slept;
      world.known.heard();
      world.known.settling = undefined;
      doubt.resolve();
      await new Promise(setImmediate);
      assert.deepEqual(call.passed, slept === 0 ? [7, "half-close"] : [], method);
      assert.equal(call.outcome, slept === 0 ? "live" : "ELEVATION_EXPIRED");
    }
});

test("a stream that drains is one whose request had come by the end of its window", async () => {
  for (const early of [true, false]) {
    const world = await LiveWorld.make(keys, policyWith(DRAINS));
    world.elevate({ endsInMs: 10_000, drainMs: 30_000 });
    const call = world.open("Watch");
    if (early) call.send();
    world.advance(20_000);
    assert.equal(call.outcome, early ? "live" : "ELEVATION_EXPIRED");
    if (!early) assertRefused(call, "ELEVATION_EXPIRED", "late");
  }
});

test("a revocation between the decision and the permit lets no request pass, at whatever step it comes", async () => {
  for (let steps = 0; steps < 16; steps += 1) {
    const world = await LiveWorld.make(keys);
    const id = elevate(world, "Refund", { state: ElevationState.SCHEDULED });
    const revoke = (left: number): void => {
      if (left === 0) elevate(world, "Refund", { id, state: ElevationState.REVOKED });
      else queueMicrotask(() => revoke(left - 1));
    };
    world.known.use = () => {
      const elevation = world.known.make({ id });
      revoke(steps);
      return Promise.resolve({ ok: true, elevation });
    };
    const call = world.open("Refund");
    await new Promise(setImmediate);
    assertRefused(call, "ELEVATION_REVOKED", `${steps} steps`);
  }
});

test("a request that has come costs no judgement but the decision", async () => {
  const { world, call } = await opened("Refund");
  let judged = 0;
  world.known.decider.again = () => {
    judged += 1;
    throw new Error("not needed");
  };
  assert.deepEqual([call.send(), judged], [true, 0]);
});

test("what a policy only observed is judged when the request comes under one that is enforced", async () => {
  for (const method of METHODS) {
    const world = await LiveWorld.make(keys, `${POLICY}\nmode: observe\n`);
    const [late, same] = [world.open(method), world.open(method)];
    assert.deepEqual([late.permitted, same.send()], [true, true]);
    world.known.applyPolicy(POLICY, 2n);
    assertRefused(late, "ELEVATION_REQUIRED", method);
  }
});

test("a call that waits in its form is asked for again, also where a policy only observed it", async () => {
  const limited = { entitlement: "limited", methods: ["test.v1.Ledger/Limited"], condition: "request.amount_cents <= 5" };
  for (const mode of ["enforce", "observe"]) {
    const world = await LiveWorld.make(keys, `${POLICY}\nmode: ${mode}\n`);
    const { id } = world.known.elevate(limited);
    const [call, other] = [world.open("Limited"), world.open("Limited")];
    call.send(mode === "enforce" ? 5 : 6);
    other.send(5);
    assert.deepEqual([call.enforced.stands(), other.enforced.stands()], [true, true]);
    if (mode === "enforce") world.known.elevate({ ...limited, id, state: ElevationState.REVOKED });
    else world.known.applyPolicy(POLICY, 2n);
    assert.deepEqual([call.enforced.stands(), other.enforced.stands()], [false, mode === "observe"], mode);
    assert.equal(call.outcome, mode === "enforce" ? "ELEVATION_REVOKED" : "CONDITION_NOT_MET");
  }
});
