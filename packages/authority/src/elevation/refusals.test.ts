// Each refusal of the rules: its reason, its code, and that the message names who, what and when.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { catalogue, GrpcCode } from "@brevet/protocol";
import { create } from "@bufbuild/protobuf";
import { DurationSchema, TimestampSchema, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Outcome } from "./decide.ts";
import { compiled, METHOD, MIGRATE, MINUTE, minutes, opened, PAYOUT, POLICY, START, World } from "./testdata/world.ts";

interface Case {
  readonly promise: string;
  readonly act: (world: World) => Outcome;
  readonly reason: keyof typeof catalogue;
  readonly code?: number;
  readonly says: readonly string[];
  readonly metadata?: Readonly<Record<string, string>>;
}

const payload = new Uint8Array([8, 1]);
const digest = new Uint8Array(createHash("sha256").update(payload).digest());
const REFUND = { entitlement: "refund" } as const;
const PAIR = { entitlement: "pair", reason: "INC-7" } as const;
const seconds = (count: bigint, nanos = 0) => create(DurationSchema, { seconds: count, nanos });

/** A refund of rita's, approved by ana and bo. */
function approved(world: World, waiting = true): string {
  const id = opened(world.request("user:rita@test", REFUND));
  if (waiting) world.waiting.add(id);
  opened(world.run("approve", "user:ana@test", id));
  opened(world.run("approve", "user:bo@test", id));
  return id;
}

const cases: readonly Case[] = [
  {
    promise: "a method that the policy does not list is forbidden",
    act: (world) => world.request("user:rita@test", { method: "payments.v1.Ledger/Drop" }),
    reason: "METHOD_FORBIDDEN",
    says: ["payments.v1.Ledger/Drop", "payments-test"],
  },
  {
    promise: "a method that needs no elevation is said to need none",
    act: (world) => world.request("user:rita@test", { method: "payments.v1.Ledger/Get" }),
    reason: "REQUEST_INVALID",
    says: ["needs no elevation", "payments.v1.Ledger/Get"],
    metadata: { field: "method" },
  },
  {
    promise: "a method that is no method is refused",
    act: (world) => world.request("user:rita@test", { method: "/payments.v1.Ledger/*" }),
    reason: "REQUEST_INVALID",
    says: ["method", "package.Service/Method"],
  },
  {
    promise: "whoever no entitlement is for may not ask",
    act: (world) => world.request("user:cy@test"),
    reason: "NOT_ELIGIBLE",
    says: ["user:cy@test", METHOD],
  },
  {
    promise: "an entitlement that one may not ask for looks like one that does not exist",
    act: (world) => world.request("user:cy@test", REFUND),
    reason: "NOT_ELIGIBLE",
    says: ["user:cy@test", "refund"],
  },
  {
    promise: "an entitlement that does not cover the method is refused",
    act: (world) => world.request("user:rita@test", { ...REFUND, method: PAYOUT }),
    reason: "REQUEST_INVALID",
    says: ["refund", PAYOUT],
    metadata: { field: "entitlement" },
  },
  {
    promise: "too long names the longest",
    act: (world) => world.request("user:rita@test", { ...REFUND, duration: minutes(21) }),
    reason: "DURATION_TOO_LONG",
    says: ["21m", "20m", "refund"],
    metadata: { maxSeconds: "1200" },
  },
  ...(
    [
      ["negative", seconds(-1n)],
      ["negative nanos", seconds(0n, -5)],
      ["nothing", seconds(0n)],
      ["fractional nanos", seconds(1n, 0.5)],
      ["nanos beyond a second", seconds(1n, 1_000_000_000)],
      ["nanos that are no number", seconds(1n, Number.NaN)],
      ["31 days", seconds(31n * 86_400n)],
      ["the longest that int64 has", seconds(9_223_372_036_854_775_807n)],
      ["the shortest that int64 has", seconds(-9_223_372_036_854_775_808n)],
    ] as const
  ).map(
    ([what, duration]): Case => ({
      promise: `an absurd duration is refused with its field: ${what}`,
      act: (world) => world.request("user:rita@test", { ...REFUND, duration }),
      reason: "REQUEST_INVALID",
      says: ["duration"],
      metadata: { field: "duration" },
    }),
  ),
  ...(
    [
      ["the past", timestampFromMs(START - 1000)],
      ["1970", create(TimestampSchema)],
      ["31 days ahead", timestampFromMs(START + 31 * 24 * 60 * MINUTE)],
      ["the year 292 billion", create(TimestampSchema, { seconds: 9_223_372_036_854_775_807n })],
      ["nanos that are no number", create(TimestampSchema, { seconds: BigInt(START / 1000 + 60), nanos: Number.NaN })],
    ] as const
  ).map(
    ([what, startTime]): Case => ({
      promise: `an absurd start is refused with its field: ${what}`,
      act: (world) => world.request("user:rita@test", { ...REFUND, startTime }),
      reason: "REQUEST_INVALID",
      says: ["start_time"],
      metadata: { field: "start_time" },
    }),
  ),
  {
    promise: "a missing reason is asked for with its form",
    act: (world) => world.request("user:rita@test", { entitlement: "pair" }),
    reason: "REASON_REQUIRED",
    says: ["pair", "^[A-Z]+-[0-9]+"],
  },
  {
    promise: "a reason in the wrong form is told the form",
    act: (world) => world.request("user:rita@test", { entitlement: "pair", reason: "because" }),
    reason: "REASON_MALFORMED",
    says: ["pair", "^[A-Z]+-[0-9]+"],
    metadata: { pattern: "^[A-Z]+-[0-9]+" },
  },
  {
    promise: "more than 1,000 characters of reason are refused",
    act: (world) => world.request("user:rita@test", { entitlement: "pair", reason: `INC-1 ${"x".repeat(1000)}` }),
    reason: "REQUEST_INVALID",
    says: ["reason", "1,000"],
  },
  {
    promise: "a payload-bound method asks for its payload",
    act: (world) => world.request("user:sam@test", { method: MIGRATE }),
    reason: "PAYLOAD_REQUIRED",
    says: [MIGRATE, "payload_digest"],
  },
  {
    promise: "a digest of something else is refused",
    act: (world) => world.request("user:sam@test", { method: MIGRATE, payload: new Uint8Array([9]), payloadDigest: digest }),
    reason: "REQUEST_INVALID",
    says: ["payload_digest"],
  },
  {
    promise: "a payload that nothing binds is refused, lest it seem to",
    act: (world) => world.request("user:rita@test", { ...REFUND, payload, payloadDigest: digest }),
    reason: "REQUEST_INVALID",
    says: ["payload", METHOD],
  },
  {
    promise: "a private key is not taken as a public one",
    act: (world) => world.request("user:rita@test", { ...REFUND, keyJwk: '{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}' }),
    reason: "REQUEST_INVALID",
    says: ["key_jwk"],
  },
  {
    promise: "outside the schedule one is told when it opens",
    act: (world) => {
      world.nowMs = START + 10 * 60 * MINUTE;
      return world.request("user:olga@test", { method: PAYOUT });
    },
    reason: "OUTSIDE_SCHEDULE",
    says: ["office", "2026-01-06T08:00:00Z"],
    metadata: { opensAt: "2026-01-06T08:00:00Z" },
  },
  {
    promise: "after a denial one is told by whom, and when one may ask again",
    act: (world) => {
      const id = opened(world.request("user:rita@test", PAIR));
      opened(world.run("deny", "user:ana@test", id));
      world.pass(MINUTE);
      return world.request("user:rita@test", { ...PAIR, reason: "INC-8" });
    },
    reason: "ELEVATION_DENIED",
    code: GrpcCode.FAILED_PRECONDITION,
    says: ["elv_1", "user:ana@test", "2026-01-05T09:20:00Z"],
    metadata: { coolDownUntil: "2026-01-05T09:20:00Z", elevation: "elv_1" },
  },
  {
    promise: "nobody breaks the glass again before the last use is reviewed",
    act: (world) => {
      opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true }));
      world.pass(30 * MINUTE);
      return world.request("user:sre@test", { method: PAYOUT, breakGlass: true });
    },
    reason: "NOT_ELIGIBLE",
    says: ["elv_1", "glass", "reviewed"],
  },
  {
    promise: "break-glass is only used knowingly",
    act: (world) => world.request("user:sre@test", { method: PAYOUT, entitlement: "glass" }),
    reason: "REQUEST_INVALID",
    says: ["break_glass", "glass"],
  },
  {
    promise: "the requester does not vote, though in the group",
    act: (world) => world.run("approve", "user:rita@test", opened(world.request("user:rita@test", REFUND))),
    reason: "SELF_APPROVAL",
    says: ["user:rita@test", "elv_1"],
  },
  {
    promise: "the requester does not vote against either",
    act: (world) => world.run("deny", "user:rita@test", opened(world.request("user:rita@test", REFUND))),
    reason: "SELF_APPROVAL",
    says: ["user:rita@test"],
  },
  {
    promise: "who started the run does not vote on it",
    act: (world) => {
      world.claimed.set("workload:job", ["group:claimed"]);
      world.initiators.set("workload:job", "user:ana@test");
      return world.run("approve", "user:ana@test", opened(world.request("workload:job", PAIR)));
    },
    reason: "SELF_APPROVAL",
    says: ["user:ana@test", "started the run"],
  },
  {
    promise: "a program of the requester does not vote for the requester",
    act: (world) => {
      const id = opened(world.request("user:rita@test", REFUND));
      world.claimed.set("workload:bot", ["group:oncall"]);
      world.initiators.set("workload:bot", "user:rita@test");
      return world.run("approve", "workload:bot", id);
    },
    reason: "SELF_APPROVAL",
    says: ["workload:bot", "user:rita@test"],
  },
  {
    promise: "a program does not vote for the person that it runs for",
    act: (world) => {
      const id = opened(world.request("user:rita@test", REFUND));
      world.claimed.set("workload:bot", ["group:oncall"]);
      world.initiators.set("workload:bot", "user:ana@test");
      return world.run("approve", "workload:bot", id);
    },
    reason: "NOT_AN_APPROVER",
    says: ["workload:bot", "user:ana@test"],
  },
  ...["workload:bot", "ci:run"].map(
    (bot): Case => ({
      promise: `only people vote, whatever groups claims give to ${bot}`,
      act: (world) => {
        world.claimed.set(bot, ["group:oncall", "group:leads"]);
        return world.run("approve", bot, opened(world.request("user:rita@test", PAIR)));
      },
      reason: "NOT_AN_APPROVER",
      says: [bot, "only people vote"],
    }),
  ),
  {
    promise: "a program votes against nothing either",
    act: (world) => {
      world.claimed.set("workload:bot", ["group:oncall"]);
      return world.run("deny", "workload:bot", opened(world.request("user:rita@test", REFUND)));
    },
    reason: "NOT_AN_APPROVER",
    says: ["workload:bot", "only people vote"],
  },
  {
    promise: "only people review what broke the glass",
    act: (world) => {
      world.policy = compiled(POLICY.replace('admin: ["user:admin@test"]', 'admin: ["user:admin@test", "group:claimed"]'));
      world.claimed.set("workload:bot", ["group:claimed"]);
      const id = opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true }));
      return world.run("review", "workload:bot", id, { comment: "looks fine" });
    },
    reason: "NOT_AN_APPROVER",
    says: ["workload:bot", "only people review"],
  },
  {
    promise: "an administrator who is no approver is told who is",
    act: (world) => world.run("approve", "user:admin@test", opened(world.request("user:rita@test", REFUND))),
    reason: "NOT_AN_APPROVER",
    says: ["user:admin@test", "group:oncall", "stage 1 of 2"],
  },
  {
    promise: "an approver of a later stage is told which one is open",
    act: (world) => world.run("approve", "user:cy@test", opened(world.request("user:rita@test", REFUND))),
    reason: "NOT_AN_APPROVER",
    says: ["user:cy@test", "stage 1 of 2", "group:oncall"],
    metadata: { stage: "1" },
  },
  {
    promise: "a second vote of the same person is not counted, and the first one named",
    act: (world) => {
      const id = opened(world.request("user:rita@test", PAIR));
      opened(world.run("approve", "user:ana@test", id));
      return world.run("approve", "user:ana@test", id);
    },
    reason: "ALREADY_VOTED",
    says: ["user:ana@test", "voted for elv_1", "2026-01-05T09:00:00Z"],
  },
  {
    promise: "a person counts once over all stages",
    act: (world) => {
      const id = opened(world.request("user:rita@test", REFUND));
      opened(world.run("approve", "user:bo@test", id));
      return world.run("approve", "user:bo@test", id);
    },
    reason: "ALREADY_VOTED",
    says: ["user:bo@test", "stage 1 of 2", "once"],
  },
  {
    promise: "a late vote is told what happened, who did it and when",
    act: (world) => {
      const id = opened(world.request("user:rita@test", REFUND));
      opened(world.run("deny", "user:bo@test", id));
      return world.run("approve", "user:ana@test", id);
    },
    reason: "ALREADY_DECIDED",
    says: ["elv_1", "DENIED", "user:bo@test", "2026-01-05T09:00:00Z"],
    metadata: { state: "DENIED" },
  },
  {
    promise: "a vote behind the pending limit finds it lapsed, not denied",
    act: (world) => {
      const id = opened(world.request("user:rita@test", REFUND));
      world.nowMs += 31 * MINUTE;
      return world.run("approve", "user:ana@test", id);
    },
    reason: "ALREADY_DECIDED",
    says: ["LAPSED", "2026-01-05T09:30:00Z"],
    metadata: { state: "LAPSED" },
  },
  {
    promise: "a vote for terms that were narrowed meanwhile does not count",
    act: (world) => {
      const id = opened(world.request("user:rita@test", PAIR));
      const seenRevision = world.state(id).revision;
      opened(world.run("approve", "user:ana@test", id, { duration: minutes(5) }));
      return world.run("approve", "user:bo@test", id, { seenRevision });
    },
    reason: "REVISION_CHANGED",
    says: ["elv_1", "Look again"],
  },
  {
    promise: "a vote does not widen",
    act: (world) => world.run("approve", "user:ana@test", opened(world.request("user:rita@test", PAIR)), { duration: minutes(11) }),
    reason: "DURATION_TOO_LONG",
    says: ["11m", "10m"],
    metadata: { maxSeconds: "600" },
  },
  {
    promise: "a vote on a bound request names what it saw",
    act: (world) =>
      world.run("approve", "user:ana@test", opened(world.request("user:sam@test", { method: MIGRATE, payload, payloadDigest: digest }))),
    reason: "PAYLOAD_REQUIRED",
    says: ["elv_1", "payload_digest"],
  },
  {
    promise: "a vote for another request than the bound one does not count",
    act: (world) => {
      const id = opened(world.request("user:sam@test", { method: MIGRATE, payload, payloadDigest: digest }));
      return world.run("approve", "user:ana@test", id, { payloadDigest: new Uint8Array(32) });
    },
    reason: "REVISION_CHANGED",
    says: ["elv_1", "another request"],
  },
  {
    promise: "only the requester withdraws",
    act: (world) => world.run("withdraw", "user:ana@test", opened(world.request("user:rita@test", REFUND))),
    reason: "ROLE_REQUIRED",
    says: ["user:rita@test", "user:ana@test", "withdraw"],
  },
  {
    promise: "what is decided is not withdrawn",
    act: (world) => world.run("withdraw", "user:rita@test", approved(world)),
    reason: "ALREADY_DECIDED",
    says: ["ACTIVE until 2026-01-05T09:10:00Z", "user:ana@test, user:bo@test"],
  },
  {
    promise: "what is pending does not start",
    act: (world) => world.run("start", "user:rita@test", opened(world.request("user:rita@test", REFUND))),
    reason: "ELEVATION_PENDING",
    code: GrpcCode.FAILED_PRECONDITION,
    says: ["elv_1", "PENDING", "2026-01-05T09:30:00Z"],
    metadata: { pendingUntil: "2026-01-05T09:30:00Z" },
  },
  {
    promise: "what is to start later does not start by use",
    act: (world) => {
      const id = opened(world.request("user:rita@test", { ...REFUND, startTime: timestampFromMs(START + 60 * MINUTE) }));
      opened(world.run("approve", "user:ana@test", id));
      opened(world.run("approve", "user:bo@test", id));
      return world.run("start", "workload:guard", id);
    },
    reason: "ELEVATION_SCHEDULED",
    code: GrpcCode.FAILED_PRECONDITION,
    says: ["elv_1", "2026-01-05T10:00:00Z"],
  },
  {
    promise: "an expired one does not start again",
    act: (world) => {
      const id = approved(world);
      world.nowMs += 10 * MINUTE;
      return world.run("start", "workload:guard", id);
    },
    reason: "ELEVATION_EXPIRED",
    code: GrpcCode.FAILED_PRECONDITION,
    says: ["EXPIRED", "2026-01-05T09:10:00Z"],
    metadata: { expiredAt: "2026-01-05T09:10:00Z" },
  },
  {
    promise: "an approved one that nobody used in time does not start",
    act: (world) => {
      const id = approved(world, false);
      world.nowMs += 15 * MINUTE;
      return world.run("start", "workload:guard", id);
    },
    reason: "ELEVATION_LAPSED",
    code: GrpcCode.FAILED_PRECONDITION,
    says: ["LAPSED", "2026-01-05T09:15:00Z"],
  },
  {
    promise: "a stranger does not start it",
    act: (world) => world.run("start", "user:ana@test", approved(world, false)),
    reason: "ROLE_REQUIRED",
    says: ["user:rita@test", "guard"],
  },
  {
    promise: "a bound approval is used once",
    act: (world) => {
      const id = opened(world.request("user:sam@test", { method: MIGRATE, payload, payloadDigest: digest }));
      opened(world.run("approve", "user:ana@test", id, { payloadDigest: digest }));
      opened(world.run("start", "workload:guard", id, { payloadDigest: digest }));
      return world.run("start", "workload:guard", id, { payloadDigest: digest });
    },
    reason: "GRANT_PAYLOAD_MISMATCH",
    says: ["elv_1", "one call", "2026-01-05T09:00:00Z"],
  },
  {
    promise: "a bound approval covers no other request, and is not used up by it",
    act: (world) => {
      const id = opened(world.request("user:sam@test", { method: MIGRATE, payload, payloadDigest: digest }));
      opened(world.run("approve", "user:ana@test", id, { payloadDigest: digest }));
      return world.run("start", "workload:guard", id, { payloadDigest: new Uint8Array(32) });
    },
    reason: "GRANT_PAYLOAD_MISMATCH",
    says: ["elv_1", "another request"],
  },
  {
    promise: "a bound approval whose digest was erased starts nothing",
    act: (world) => {
      const id = opened(world.request("user:sam@test", { method: MIGRATE, payload, payloadDigest: digest }));
      opened(world.run("approve", "user:ana@test", id, { payloadDigest: digest }));
      world.erase(world.state(id).payloadDigest?.commitment ?? new Uint8Array());
      return world.run("start", "workload:guard", id, { payloadDigest: digest });
    },
    reason: "GRANT_PAYLOAD_MISMATCH",
    says: ["elv_1", "erased"],
  },
  {
    promise: "only a guard uses up a bound approval",
    act: (world) => {
      const id = opened(world.request("user:sam@test", { method: MIGRATE, payload, payloadDigest: digest }));
      opened(world.run("approve", "user:ana@test", id, { payloadDigest: digest }));
      return world.run("start", "user:sam@test", id, { payloadDigest: digest });
    },
    reason: "ROLE_REQUIRED",
    says: ["elv_1", "guard", "user:sam@test"],
  },
  {
    promise: "an extension goes to the policy's max and no further",
    act: (world) => world.run("extend", "user:rita@test", approved(world), { by: minutes(31) }),
    reason: "DURATION_TOO_LONG",
    says: ["40m", "2026-01-05T09:40:00Z"],
    metadata: { maxSeconds: "1800" },
  },
  {
    promise: "break-glass is not extended",
    act: (world) => {
      const id = opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true }));
      return world.run("extend", "user:sre@test", id, { by: minutes(1) });
    },
    reason: "DURATION_TOO_LONG",
    says: ["glass", "not extended"],
  },
  {
    promise: "what is not active is not extended",
    act: (world) => world.run("extend", "user:rita@test", approved(world, false), { by: minutes(1) }),
    reason: "ALREADY_DECIDED",
    says: ["elv_1", "SCHEDULED"],
  },
  {
    promise: "what is pending is withdrawn, not ended",
    act: (world) => world.run("end", "user:rita@test", opened(world.request("user:rita@test", REFUND))),
    reason: "ALREADY_DECIDED",
    says: ["PENDING", "withdraw"],
  },
  {
    promise: "who has no right does not revoke, and is told which",
    act: (world) => world.run("revoke", "user:audit@test", approved(world)),
    reason: "ROLE_REQUIRED",
    says: ["user:audit@test", "admin"],
    metadata: { role: "admin" },
  },
  {
    promise: "what has ended is not revoked, and what happened is named",
    act: (world) => {
      const id = approved(world);
      opened(world.run("end", "user:rita@test", id));
      return world.run("revoke", "user:admin@test", id);
    },
    reason: "ALREADY_DECIDED",
    says: ["ENDED", "user:rita@test"],
  },
  {
    promise: "nobody reviews their own break-glass use",
    act: (world) =>
      world.run("review", "user:sre@test", opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true })), {
        comment: "fine",
      }),
    reason: "SELF_APPROVAL",
    says: ["user:sre@test"],
  },
  {
    promise: "a review takes a right",
    act: (world) =>
      world.run("review", "user:audit@test", opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true })), {
        comment: "fine",
      }),
    reason: "NOT_AN_APPROVER",
    says: ["user:audit@test", "admin"],
  },
  {
    promise: "a review says something",
    act: (world) =>
      world.run("review", "user:admin@test", opened(world.request("user:sre@test", { method: PAYOUT, breakGlass: true })), {
        comment: " ",
      }),
    reason: "REASON_REQUIRED",
    says: ["review"],
  },
];

for (const { promise, act, reason, code, says, metadata } of cases) {
  test(promise, () => {
    const outcome = act(new World());
    assert.ok(!outcome.ok, `it was allowed: ${outcome.ok ? outcome.events.map((event) => event.case).join(", ") : ""}`);
    assert.equal(outcome.denial.reason, reason, outcome.denial.message);
    assert.equal(outcome.denial.code, code ?? catalogue[reason].code);
    for (const part of says) assert.ok(outcome.denial.message.includes(part), `${outcome.denial.message} lacks ${part}`);
    for (const [key, value] of Object.entries(metadata ?? {})) assert.equal(outcome.denial.metadata[key], value);
    assert.ok(Buffer.byteLength(`${reason}: ${outcome.denial.message}`) <= 400, `${outcome.denial.message.length} characters`);
    const known = new Set<string>(catalogue[reason].metadata);
    assert.deepEqual(
      Object.keys(outcome.denial.metadata).filter((key) => !known.has(key)),
      [],
    );
  });
}

test("an unreachable quorum is refused at once, the requester and the initiator left out", () => {
  const text = POLICY.replace(
    '"group:oncall": ["user:ana@test", "user:bo@test", "user:rita@test"]',
    '"group:oncall": ["user:bo@test", "user:rita@test"]',
  );
  const world = new World(compiled(text));
  const outcome = world.request("user:rita@test", REFUND);
  assert.ok(outcome.ok, "bo for the first stage, cy for the second");
  const leads = text.replace('"group:leads": ["user:bo@test", "user:cy@test"]', '"group:leads": ["user:bo@test", "user:rita@test"]');
  const stuck = new World(compiled(leads)).request("user:rita@test", REFUND);
  assert.ok(!stuck.ok);
  assert.equal(stuck.denial.reason, "QUORUM_UNREACHABLE");
  assert.equal(stuck.denial.code, GrpcCode.FAILED_PRECONDITION);
});

test("where nobody but the requester may approve, the refusal says so", () => {
  const world = new World(compiled(POLICY.replace('requesters: ["user:sam@test"]', 'requesters: ["user:sam@test", "user:ana@test"]')));
  const lonely = world.request("user:ana@test", { method: MIGRATE, payload, payloadDigest: digest });
  assert.ok(!lonely.ok);
  assert.equal(lonely.denial.reason, "NO_APPROVER");
  assert.match(lonely.denial.message, /nobody besides user:ana@test may approve stage 1 of migrate/);
  assert.ok(world.request("user:sam@test", { method: MIGRATE, payload, payloadDigest: digest }).ok);
});

test("whoever started the run is no approver that the quorum can count on", () => {
  const world = new World(compiled(POLICY.replace('requesters: ["user:sam@test"]', 'requesters: ["workload:job"]')));
  world.initiators.set("workload:job", "user:ana@test");
  const outcome = world.request("workload:job", { method: MIGRATE, payload, payloadDigest: digest });
  assert.equal(outcome.ok ? "" : outcome.denial.reason, "NO_APPROVER");
});
