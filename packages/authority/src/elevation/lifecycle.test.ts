// The lifecycle against an independent model: any commands by anybody, in any order, with time passing.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { evaluate } from "@brevet/policy";
import { type Elevation, ElevationSchema, ElevationState, VoteKind } from "@brevet/protocol/brevet/v1/elevation";
import { clone, equals } from "@bufbuild/protobuf";
import { durationMs, type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import type { Outcome } from "./decide.ts";
import { stateName } from "./refusal.ts";
import { isOpen, Model, type Modelled } from "./testdata/model.ts";
import { ENTITLEMENTS, type EntitlementName, PEOPLE } from "./testdata/people.ts";
import { METHOD, MINUTE, minutes, PAYOUT, START, World } from "./testdata/world.ts";

type Step =
  | { do: "request"; who: string; entitlement: EntitlementName; asked: number | undefined; startIn: number | undefined; waiting: boolean }
  | { do: "approve"; who: string; at: number; narrow: number | undefined }
  | { do: "deny" | "withdraw" | "start" | "revoke" | "review"; who: string; at: number }
  | { do: "end"; who: string; at: number; all: boolean }
  | { do: "extend"; who: string; at: number; by: number }
  | { do: "wait"; at: number }
  | { do: "pass"; minutes: number };

const who = fc.constantFrom(...PEOPLE);
const requester = fc.constantFrom("user:rita@test", "user:sam@test", "user:sre@test", "ci:run", "user:ana@test");
const voter = fc.constantFrom("user:ana@test", "user:bo@test", "user:cy@test", "user:rita@test", "user:sam@test", "ci:run");
const at = fc.constantFrom(0, 0, 0, 1, 1, 2);
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
const asking = fc.record({
  do: fc.constant("request" as const),
  who: requester,
  entitlement: fc.constantFrom("refund" as const, "pair" as const, "slow" as const, "glass" as const),
  asked: maybe(fc.constantFrom(5, 10, 20, 25)),
  startIn: maybe(fc.constantFrom(1, 20, 40)),
  waiting: fc.boolean(),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: asking },
  { weight: 10, arbitrary: fc.record({ do: fc.constant("approve" as const), who: voter, at, narrow: maybe(fc.constantFrom(2, 5, 12)) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("deny" as const), who: voter, at }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("withdraw" as const), who: requester, at }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("start" as const, "revoke" as const, "review" as const), who, at }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("start" as const), who: fc.constantFrom("workload:guard", "user:rita@test"), at }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("review" as const), who: fc.constant("user:admin@test"), at }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("end" as const), who: requester, at, all: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("extend" as const), who: requester, at, by: fc.constantFrom(1, 10, 45) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("wait" as const), at }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("pass" as const), minutes: fc.constantFrom(0.5, 1, 5, 10, 15, 30) }) },
);
/** Where the long way leads: active, and an extension asked for. */
const extending: Step[] = [
  { do: "request", who: "user:rita@test", entitlement: "refund", asked: 20, startIn: undefined, waiting: true },
  { do: "wait", at: 0 },
  { do: "approve", who: "user:ana@test", at: 0, narrow: undefined },
  { do: "approve", who: "user:bo@test", at: 0, narrow: undefined },
  { do: "extend", who: "user:rita@test", at: 0, by: 10 },
];
/** One that nobody answers in time, in either stage. */
const escalating: Step[] = [
  { do: "request", who: "user:sam@test", entitlement: "slow", asked: 20, startIn: undefined, waiting: true },
  { do: "wait", at: 0 },
  { do: "pass", minutes: 10 },
  { do: "approve", who: "user:bo@test", at: 0, narrow: undefined },
  { do: "pass", minutes: 5 },
  { do: "approve", who: "user:ana@test", at: 0, narrow: undefined },
  { do: "extend", who: "user:sam@test", at: 0, by: 10 },
];
const opening: fc.Arbitrary<Step[]> = fc.oneof(
  { weight: 3, arbitrary: fc.array(asking, { minLength: 2, maxLength: 3 }) },
  { weight: 1, arbitrary: fc.constant(extending) },
  { weight: 1, arbitrary: fc.constant(extending.slice(0, 1).concat(extending.slice(0, 4))) },
  { weight: 2, arbitrary: fc.nat({ max: escalating.length }).map((length) => escalating.slice(0, length)) },
);
const steps: fc.Arbitrary<Step[]> = fc
  .tuple(opening, fc.array(step, { minLength: 5, maxLength: 50, size: "max" }))
  .map(([first, rest]) => [...first, ...rest]);

const reached = new Set<string>();
const happened = new Set<string>();

test("the rules and the model agree on every command, and the promises hold after each", () => {
  fc.assert(
    fc.property(steps, (run) => {
      const world = new World();
      const model = new Model();
      world.initiators.set("ci:run", "user:cy@test");
      for (const step of run) play(step, world, model);
    }),
    { numRuns: 500 },
  );
});

after(() => {
  const all = ["PENDING", "SCHEDULED", "ACTIVE", "DENIED", "WITHDRAWN", "LAPSED", "EXPIRED", "ENDED", "REVOKED"];
  assert.deepEqual(
    all.filter((state) => !reached.has(state)),
    [],
    "states that no run reached",
  );
  const events = [
    "holdTaken",
    "holdReleased",
    "voteCast",
    "stageEscalated",
    "extensionRequested",
    "elevationExtended",
    "extensionClosed",
    "elevationReviewed",
  ];
  assert.deepEqual(
    events.filter((event) => !happened.has(event)),
    [],
    "events that no run made",
  );
});

function play(step: Step, world: World, model: Model): void {
  const before = new Map(world.states);
  const entriesBefore = world.entries.length;
  const outcome = act(step, world, model);
  for (const entry of world.entries.slice(entriesBefore)) happened.add(entry.event.case ?? "");
  if (outcome) agree(outcome, world);
  for (const [index, [id, state]] of [...world.states].entries()) {
    const one = model.all[index];
    assert.ok(one, `the model has no ${id}`);
    permitsOnlyInTheWindow(state, one, world, model);
    if (outcome?.state?.id === id || step.do === "pass") sameAs(state, model.settled(one));
    windowMovesOnlyByExtension(id, before.get(id), state, world, entriesBefore);
    approvedOnlyByQuorum(id, one, world);
    escalatedOnceAndInTime(id, world);
    deniedOnlyByAVote(id, state, world);
    reached.add(stateName(state.state));
  }
  if (step.do === "pass") permitsWhileAnyWindowIsOpen(world, model);
}

function act(step: Step, world: World, model: Model): Outcome | undefined {
  if (step.do === "pass") {
    model.now += step.minutes;
    world.pass(step.minutes * MINUTE);
    return undefined;
  }
  if (step.do === "request") {
    const { entitlement, asked, startIn, waiting } = step;
    const outcome = world.request(step.who, {
      method: entitlement === "glass" ? PAYOUT : METHOD,
      entitlement,
      waiting,
      breakGlass: entitlement === "glass",
      reason: "INC-1",
      ...(asked === undefined ? {} : { duration: minutes(asked) }),
      ...(startIn === undefined ? {} : { startTime: timestampFromMs(world.nowMs + startIn * MINUTE) }),
    });
    const index = model.request(step.who, entitlement, asked, startIn, waiting, world.initiators.get(step.who));
    assert.equal(outcome.ok ? outcome.state?.id : undefined, index === undefined ? undefined : `elv_${index + 1}`);
    return outcome;
  }
  const id = `elv_${step.at + 1}`;
  if (!world.states.has(id)) return undefined;
  if (step.do === "wait") {
    world.waiting.add(id);
    model.waiting.add(step.at);
    return undefined;
  }
  const expected = expect(step, model);
  const init = step.do === "approve" && step.narrow !== undefined ? { duration: minutes(step.narrow) } : {};
  const more = step.do === "end" ? { all: step.all } : step.do === "extend" ? { by: minutes(step.by) } : {};
  const words = step.do === "review" ? { comment: "seen" } : {};
  const outcome = world.run(step.do, step.who, id, { ...init, ...more, ...words });
  assert.equal(outcome.ok, expected, outcome.ok ? "it was allowed" : `${outcome.denial.reason}: ${outcome.denial.message}`);
  return outcome;
}

function expect(step: Exclude<Step, { do: "pass" | "request" | "wait" }>, model: Model): boolean {
  switch (step.do) {
    case "approve":
      return model.vote(step.at, step.who, "approve", step.narrow);
    case "deny":
      return model.vote(step.at, step.who, "deny");
    case "withdraw":
      return model.withdraw(step.at, step.who);
    case "start":
      return model.start(step.at, step.who);
    case "end":
      return model.end(step.at, step.who, step.all);
    case "revoke":
      return model.revoke(step.at, step.who);
    case "extend":
      return model.extend(step.at, step.who, step.by);
    case "review":
      return model.review(step.at, step.who);
    default:
      return step satisfies never;
  }
}

/** What the decision foresaw is what the log's fold is. */
function agree(outcome: Outcome, world: World): void {
  if (outcome.state)
    assert.ok(equals(ElevationSchema, outcome.state, world.state(outcome.state.id)), `${outcome.state.id} is not what was foreseen`);
}

function sameAs(state: Elevation, one: Modelled): void {
  assert.equal(stateName(state.state), one.phase);
  assert.equal(state.holds, one.holds);
  assert.equal(state.duration && durationMs(state.duration), one.length * MINUTE);
  if (one.start > 0 || one.phase === "ACTIVE") {
    assert.equal(ms(state.windowStart), START + one.start * MINUTE);
    assert.equal(ms(state.windowEnd), START + one.end * MINUTE);
  }
  assert.equal(ms(state.extensionEnd), one.extension === undefined ? undefined : START + one.extension * MINUTE);
  if (!isOpen(one)) assert.equal(ms(state.endTime), START + one.finishedAt * MINUTE);
  const escalated = state.stages.flatMap((stage, place) => (stage.escalatedTo.length > 0 ? [place] : []));
  assert.deepEqual(
    escalated,
    one.escalated.toSorted((a, b) => a - b),
  );
}

/** A guard that holds this state, however late the entry of time comes, permits inside the window only. */
function permitsOnlyInTheWindow(state: Elevation, one: Modelled, world: World, model: Model): void {
  const held = clone(ElevationSchema, state);
  if (held.requester) held.requester.name = one.requester;
  const decision = evaluate(world.policy, {
    method: state.method,
    principal: world.facts(one.requester),
    candidates: [held],
    nowMs: world.nowMs,
    errorMs: 0,
  });
  const written = state.state;
  const { phase } = model.settled(one);
  if (decision.permit && !decision.needsStart) assert.equal(phase, "ACTIVE", `permitted while ${phase}`);
  if (decision.permit && decision.needsStart) assert.ok(phase === "SCHEDULED" || phase === "ACTIVE", `may start while ${phase}`);
  if (written === ElevationState.ACTIVE && phase === "ACTIVE") assert.ok(decision.permit, "refused inside the window");
}

/** With all that a requester has: no end of one window cuts another short. */
function permitsWhileAnyWindowIsOpen(world: World, model: Model): void {
  for (const requester of new Set(model.all.map((one) => one.requester))) {
    const candidates = [...world.states.values()].map((state) => clone(ElevationSchema, state));
    for (const [index, held] of candidates.entries()) if (held.requester) held.requester.name = model.all[index]?.requester ?? "";
    for (const method of [METHOD, PAYOUT]) {
      const own = candidates.filter((held) => held.requester?.name === requester);
      const facts = { method, principal: world.facts(requester), candidates: own, nowMs: world.nowMs, errorMs: 0 };
      const decision = evaluate(world.policy, facts);
      const covered = model.all.some((one, index) => {
        const { methods } = world.state(`elv_${index + 1}`);
        return one.requester === requester && methods.includes(method) && model.settled(one).phase === "ACTIVE";
      });
      if (covered) assert.ok(decision.permit && !decision.needsStart, `${requester} has an open window for ${method}`);
      else assert.ok(!decision.permit || decision.needsStart, `${requester} has no open window for ${method}`);
    }
  }
}

/** Once for each stage, by the authority itself, not before its time, and never for what is over. */
function escalatedOnceAndInTime(id: string, world: World): void {
  const entries = world.entries.filter((entry) => entry.elevation === id);
  const stages: number[] = [];
  for (const [place, { event, time, actor }] of entries.entries()) {
    if (event.case !== "stageEscalated") continue;
    const { stage } = event.value;
    assert.ok(!stages.includes(stage), `stage ${stage} of ${id} was escalated twice`);
    stages.push(stage);
    assert.equal(actor, "");
    const after = ENTITLEMENTS.slow.stages[stage]?.later?.after ?? Number.POSITIVE_INFINITY;
    const opened = entries.slice(0, place).findLast((entry) => opensStage(entry.event, stage));
    assert.ok((ms(time) ?? 0) - (ms(opened?.time) ?? 0) >= after * MINUTE, `stage ${stage} of ${id} was escalated too early`);
    const over = entries
      .slice(0, place)
      .find((entry) => /^elevation(Denied|Lapsed|Expired|Ended|Revoked|Withdrawn)$/.test(entry.event.case ?? ""));
    assert.equal(over, undefined, `${id} was over`);
  }
}

function opensStage(event: World["entries"][number]["event"], stage: number): boolean {
  if (stage === 0) return event.case === "elevationRequested" || event.case === "extensionRequested";
  return event.case === "voteCast" && event.value.stage === stage - 1;
}

/** Silence is no answer: what lapsed was denied by nobody. */
function deniedOnlyByAVote(id: string, state: Elevation, world: World): void {
  const own = world.entries.filter((entry) => entry.elevation === id);
  const no = own.some(({ event }) => event.case === "voteCast" && event.value.kind === VoteKind.DENY && !event.value.extension);
  assert.equal(state.state === ElevationState.DENIED, no, `${id} is ${stateName(state.state)}`);
  if (state.state === ElevationState.LAPSED) assert.equal(state.endedBy, undefined);
}

function windowMovesOnlyByExtension(id: string, before: Elevation | undefined, state: Elevation, world: World, from: number): void {
  if (before?.windowStart === undefined) return;
  assert.equal(ms(state.windowStart), ms(before.windowStart), `the window of ${id} was started again`);
  if (ms(before.windowEnd) === ms(state.windowEnd)) return;
  const extended = world.entries.slice(from).some((entry) => entry.elevation === id && entry.event.case === "elevationExtended");
  assert.ok(extended, `the end of ${id} moved without an extension`);
}

function approvedOnlyByQuorum(id: string, one: Modelled, world: World): void {
  const entries = world.entries.filter((entry) => entry.elevation === id);
  const approval = entries.findIndex((entry) => entry.event.case === "elevationApproved");
  const start = entries.findIndex((entry) => entry.event.case === "elevationStarted");
  const rule = ENTITLEMENTS[one.entitlement];
  if (rule.glass || one.requester === "ci:run") return;
  if (start >= 0) assert.ok(approval >= 0 && approval < start, `${id} started without an approval`);
  if (approval < 0) return;
  const seats = rule.stages.map(() => new Set<string>());
  for (const { event, actor } of entries.slice(0, approval)) {
    if (event.case !== "voteCast" || event.value.kind !== VoteKind.APPROVE) continue;
    const name = actor.replace("prn_", "");
    assert.notEqual(name, one.requester);
    const { people = [], later } = rule.stages[event.value.stage] ?? {};
    assert.ok(people.includes(name) || later?.people.includes(name), `${name} may not vote in stage ${event.value.stage}`);
    seats[event.value.stage]?.add(name);
  }
  for (const [stage, people] of seats.entries())
    assert.ok(people.size >= (rule.stages[stage]?.quorum ?? 0), `stage ${stage} of ${id} lacks approvals`);
  assert.equal(
    new Set(seats.flatMap((people) => [...people])).size,
    seats.reduce((sum, people) => sum + people.size, 0),
    "a person counted twice",
  );
}

function ms(time: Timestamp | undefined): number | undefined {
  return time && timestampMs(time);
}
