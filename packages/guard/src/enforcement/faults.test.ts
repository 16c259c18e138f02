// A throw anywhere inside the guard ends the call that it is for as GUARD_FAULT; nothing passes any more, and nothing is thrown at the form.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { makeKeys } from "../testdata/facts.ts";
import { FIVE_AT_MOST, LiveWorld, policyWith, type TestCall } from "../testdata/live.ts";
import type { MethodName } from "../testdata/service.ts";

const keys = await makeKeys();
const KINDS = ["Limited", "Watch", "Import", "Chat"] satisfies MethodName[];
type Kind = (typeof KINDS)[number];

/** A part of the guard that can be broken: what it is of, the name of what throws, and which calls cannot go on without it. */
interface Seam {
  readonly of: (world: LiveWorld, call: TestCall) => object;
  readonly name: string;
  readonly needed: "always" | "by streams" | "never";
}

const SEAMS: Readonly<Record<string, Seam>> = {
  "the decision": { of: ({ known }) => known.decider, name: "decide", needed: "always" },
  "a judgement of what runs": { of: ({ known }) => known.decider, name: "again", needed: "by streams" },
  "the time": { of: ({ known }) => known.decider, name: "now", needed: "by streams" },
  "the doubt of the time": { of: ({ known }) => known.decider, name: "settling", needed: "by streams" },
  "the patience": { of: ({ known }) => known.decider, name: "patientUntilMs", needed: "by streams" },
  "what is known": { of: ({ known }) => known.knowledge, name: "elevationsOf", needed: "always" },
  "the policy": { of: ({ known }) => known.knowledge, name: "policy", needed: "always" },
  "the clock": { of: ({ clock }) => clock, name: "after", needed: "by streams" },
  "the look at the clock": { of: ({ streams }) => streams, name: "check", needed: "by streams" },
  "the list of streams": { of: ({ streams }) => streams, name: "begin", needed: "by streams" },
  "letting through": { of: (_, call) => call, name: "permit", needed: "always" },
  "reading ahead": { of: (_, call) => call, name: "readAhead", needed: "always" },
  refusing: { of: (_, call) => call, name: "refuse", needed: "never" },
  "the record of a refusal": { of: ({ recorder }) => recorder, name: "refused", needed: "never" },
  "the record of denials": { of: ({ decisions }) => decisions, name: "denied", needed: "never" },
  "the record of permits": { of: ({ decisions }) => decisions, name: "permitted", needed: "never" },
  "who is told": { of: ({ recorder }) => recorder, name: "told", needed: "never" },
};

/** Breaks a seam; answers how often it was met, and how to mend it. */
function broken(of: object, name: string): { readonly met: () => number; readonly mend: () => void } {
  let met = 0;
  const fail = (): never => {
    met += 1;
    throw new Error(`${name} broke`);
  };
  let owner: unknown = of;
  while (typeof owner === "object" && owner !== null && !Object.hasOwn(owner, name)) owner = Object.getPrototypeOf(owner);
  const isGetter = Object.getOwnPropertyDescriptor(owner, name)?.get !== undefined;
  Object.defineProperty(of, name, isGetter ? { configurable: true, get: fail } : { configurable: true, writable: true, value: fail });
  return { met: () => met, mend: () => void Reflect.deleteProperty(of, name) };
}

const LIMITED = { entitlement: "limited", methods: ["test.v1.Ledger/Limited"], condition: "request.amount_cents <= 5", endsInMs: 60_000 };

async function world(): Promise<LiveWorld> {
  const made = await LiveWorld.make(keys, policyWith(FIVE_AT_MOST));
  made.known.elevate(LIMITED);
  made.elevate({ endsInMs: 60_000 });
  return made;
}

/** All that may come of a call and of the world, up to the call's end. */
function live(at: LiveWorld, call: TestCall, own: string): void {
  call.send(1);
  call.answerWith();
  call.send(2);
  call.halfClose();
  void call.enforced.windowEnds;
  at.clock.advance(5000);
  at.known.heard();
  at.streams.look();
  at.known.applyPolicy(policyWith(FIVE_AT_MOST, ["apiVersion", "# again\napiVersion"]), 2n);
  at.elevate({ id: own, state: ElevationState.REVOKED });
  call.enforced.ended(0);
}

function ownOf(at: LiveWorld): string {
  return at.known.knowledge.elevationsOf("user:sam@acme.test").open.find(({ entitlement }) => entitlement === "streams")?.id ?? "";
}

function assertClosed(call: TestCall, kind: Kind, met: number, seam: Seam, committed: boolean): void {
  assert.ok(call.enforced.over, kind);
  const { length } = call.passed;
  assert.deepEqual([call.send(), call.answerWith()], [false, false], "nothing passes any more");
  call.halfClose();
  assert.equal(call.passed.length, length);
  if (met === 0 || seam.needed === "never" || (seam.needed === "by streams" && kind === "Limited")) return;
  assert.match(call.status?.message ?? "", /^GUARD_FAULT/, kind);
  assert.equal(call.status?.pushback, "-1");
  if (!committed) assert.equal(call.permitted, false, `${kind}: the service has not seen it`);
}

/** Another policy wants another look at the token, and that takes a turn. */
async function assertNextRuns(at: LiveWorld): Promise<void> {
  const next = at.open("GetEntry");
  while (!next.permitted && next.status === undefined) await new Promise(setImmediate);
  assert.equal(next.outcome, "live", "the next call is none the worse");
}

for (const [what, seam] of Object.entries(SEAMS))
  test(`a throw of ${what} is the end of that call, and of no more`, async () => {
    let met = 0;
    for (const kind of KINDS) {
      const at = await world();
      const own = ownOf(at);
      let seamOf = { met: () => 0, mend: () => {} };
      const call = at.open(kind, {}, (form) => (seamOf = broken(seam.of(at, form), seam.name)));
      live(at, call, own);
      await new Promise(setImmediate);
      met += seamOf.met();
      // What breaks in letting through breaks behind the point of no return.
      assertClosed(call, kind, seamOf.met(), seam, seam.name === "check" || seam.name === "settling" || seam.name === "permit");
      seamOf.mend();
      await assertNextRuns(at);

      const later = await world();
      const its = ownOf(later);
      const running = later.open(kind);
      running.send(1);
      assert.equal(running.permitted, true);
      const then = broken(seam.of(later, running), seam.name);
      live(later, running, its);
      met += then.met();
      assertClosed(running, kind, running.status === undefined ? 0 : then.met(), seam, true);
      then.mend();
      later.streams.look();
      assert.equal(later.streams.size, 0);
      await assertNextRuns(later);
    }
    assert.ok(met > 0, "it was met at all");
  });
