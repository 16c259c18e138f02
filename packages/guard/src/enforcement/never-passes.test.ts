// Invariant: no message of a call passes at a time when no elevation covers it, and no stream ends that one covers. Whatever happens in
// whatever order, judged by an oracle that knows nothing of how calls are watched. Requests come whenever they come, also where they are one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { makeKeys } from "../testdata/facts.ts";
import { DRAINS, LiveWorld, policyWith, type TestCall } from "../testdata/live.ts";

const keys = await makeKeys();
const PATIENCE_MS = 3000;
const KINDS = ["Refund", "Watch", "Import", "Chat"] as const;
type Kind = (typeof KINDS)[number];
/** One elevation covers them all. */
const METHODS = KINDS.map((kind) => `test.v1.Ledger/${kind}`);
const COVERED = ["methods: [test.v1.Ledger/Watch,", "methods: [test.v1.Ledger/Refund, test.v1.Ledger/Watch,"] as const;
const POLICY = `${policyWith(DRAINS, COVERED)}\nwhenStale: { after: 3s, then: deny }\n`;

type Op =
  | { readonly op: "wait"; readonly ms: number }
  | { readonly op: "heard" | "request" | "response" }
  | { readonly op: "open"; readonly kind: Kind }
  | { readonly op: "elevate"; readonly endsInMs: number; readonly drainMs: number }
  | { readonly op: "extend"; readonly which: number; readonly endsInMs: number }
  | { readonly op: "revoke" | "end" | "close"; readonly which: number }
  | { readonly op: "drift"; readonly byMs: number }
  | { readonly op: "doubt"; readonly errorMs: number };

const which = fc.nat(5);
const short = fc.integer({ min: 1, max: 2500 });
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant("wait" as const), ms: short }) },
  { weight: 6, arbitrary: fc.record({ op: fc.constantFrom("request", "response", "heard", "heard") }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("open" as const), kind: fc.constantFrom(...KINDS) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("elevate" as const), endsInMs: short, drainMs: fc.constantFrom(0, 0, 400, 2000) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("extend" as const), which, endsInMs: short }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constantFrom("revoke", "end", "close"), which }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("drift" as const), byMs: fc.integer({ min: -700, max: 700 }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("doubt" as const), errorMs: fc.integer({ min: 0, max: 900 }) }) },
);

/** An elevation as the oracle sees it. */
interface Fact {
  readonly id: string;
  endMs: number;
  readonly drainMs: number;
  state: ElevationState;
}

/** A call as the oracle sees it: a stream is covered at every instant since it began, or over; any other counts when its request comes. */
interface Followed {
  readonly call: TestCall;
  readonly kind: Kind;
  /** Since when its handler may run; Infinity while it waits for the one request. */
  sinceMs: number;
  alive: boolean;
}

/** All that happened, and what follows from it. Every time here is the latest that it can be. */
class Oracle {
  readonly facts: Fact[] = [];
  readonly calls: Followed[] = [];
  heardMs = 0;

  covers(sinceMs: number, nowMs: number): boolean {
    if (nowMs - this.heardMs > PATIENCE_MS) return false;
    return this.facts.some(({ endMs, drainMs, state }) => {
      if (state !== ElevationState.ACTIVE && state !== ElevationState.EXPIRED) return false;
      return (state === ElevationState.ACTIVE && nowMs < endMs) || (sinceMs < endMs && nowMs < endMs + drainMs);
    });
  }

  look(nowMs: number): void {
    for (const call of this.calls) if (call.kind !== "Refund") call.alive &&= this.covers(call.sinceMs, nowMs);
  }
}

function apply(world: LiveWorld, oracle: Oracle, step: Op): void {
  const { known } = world;
  const latestMs = (): number => known.nowMs + known.errorMs;
  const heard = (): number => (oracle.heardMs = Math.max(oracle.heardMs, known.nowMs));
  oracle.look(latestMs());
  const fact = "which" in step ? oracle.facts[step.which % Math.max(1, oracle.facts.length)] : undefined;
  const over = fact !== undefined && fact.state !== ElevationState.ACTIVE;
  switch (step.op) {
    case "wait":
      world.clock.advance(step.ms);
      break;
    case "heard":
      known.heard();
      heard();
      break;
    case "drift":
      known.nowMs += step.byMs;
      world.streams.look();
      break;
    case "doubt":
      known.errorMs = step.errorMs;
      world.streams.look();
      break;
    case "open": {
      // A new call: only a window that is open counts.
      const admitted = oracle.covers(Infinity, latestMs());
      const { kind } = step;
      const call = world.open(kind);
      assert.equal(call.permitted, admitted, call.outcome);
      const waits = kind === "Refund" || kind === "Watch";
      if (admitted) oracle.calls.push({ call, kind, sinceMs: waits ? Infinity : latestMs(), alive: true });
      break;
    }
    case "request":
      for (const followed of oracle.calls) {
        const { call, kind, sinceMs, alive } = followed;
        const one = kind === "Refund" || kind === "Watch";
        if (one && sinceMs !== Infinity) continue;
        if (one && alive) followed.alive = oracle.covers(Infinity, latestMs());
        if (one && followed.alive) followed.sinceMs = latestMs();
        assert.equal(call.send(), followed.alive, kind);
      }
      break;
    case "response":
      for (const { call, kind, alive } of oracle.calls) if (kind !== "Refund") assert.equal(call.answerWith(), alive);
      break;
    case "elevate": {
      const { id } = world.elevate({ ...step, methods: METHODS });
      oracle.facts.push({ id, endMs: known.nowMs + step.endsInMs, drainMs: step.drainMs, state: ElevationState.ACTIVE });
      heard();
      break;
    }
    case "extend": {
      if (fact === undefined || over || latestMs() >= fact.endMs + fact.drainMs) break;
      fact.endMs = known.nowMs + step.endsInMs;
      const { id, drainMs } = fact;
      world.elevate({ id, endsInMs: step.endsInMs, drainMs, startedAgoMs: 10_000, methods: METHODS });
      heard();
      break;
    }
    case "revoke":
    case "end":
      if (fact === undefined || over) break;
      fact.state = step.op === "revoke" ? ElevationState.REVOKED : ElevationState.ENDED;
      world.elevate({ id: fact.id, state: fact.state, endedAgoMs: 0, methods: METHODS });
      heard();
      break;
    case "close": {
      if (fact === undefined || over || known.nowMs < fact.endMs) break;
      fact.state = ElevationState.EXPIRED;
      const elevation = known.make({ id: fact.id, entitlement: "streams", methods: METHODS, drainMs: fact.drainMs });
      const closed = { state: ElevationState.EXPIRED, windowEnd: timestampFromMs(fact.endMs), endTime: timestampFromMs(known.nowMs) };
      known.knowledge.setElevation({ ...elevation, ...closed });
      known.heard();
      heard();
      break;
    }
  }
  oracle.look(latestMs());
}

test("a message passes exactly while an elevation covers its call, whatever happens", async () => {
  const made = await LiveWorld.make(keys, POLICY);
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 5, maxLength: 60 }), async (steps) => {
      const world = await LiveWorld.again(made);
      const oracle = new Oracle();
      // Whole milliseconds, so that both sides mean the same instants.
      world.known.nowMs = Math.round(world.known.nowMs);
      world.known.heard();
      oracle.heardMs = world.known.nowMs;
      const first: Op[] = [{ op: "elevate", endsInMs: 2000, drainMs: 400 }, ...KINDS.map((kind) => ({ op: "open" as const, kind }))];
      for (const step of [...first, ...steps]) {
        apply(world, oracle, step);
        for (const { call, kind, alive } of oracle.calls)
          assert.equal(call.outcome === "live", alive, `${kind} after ${JSON.stringify(step)}: ${call.outcome}`);
      }
      assert.equal(world.streams.size, oracle.calls.filter(({ kind, alive }) => kind !== "Refund" && alive).length);
    }),
    { numRuns: 300 },
  );
});
