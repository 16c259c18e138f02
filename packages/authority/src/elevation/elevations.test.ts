// The operations on a real log: idempotent, atomic, seen only by whom they concern, and surviving a restart.
import assert from "node:assert/strict";
import { test } from "node:test";
import { keysOfJwks, verifyGrant } from "@brevet/protocol";
import {
  ElevationServiceApproveRequestSchema,
  ElevationServiceDenyRequestSchema,
  ElevationServiceIssueGrantRequestSchema,
  ElevationServiceListRequestSchema,
  ElevationServiceRevokeRequestSchema,
  ElevationServiceStartRequestSchema,
  ElevationState,
  PrincipalKind,
} from "@brevet/protocol/brevet/v1/elevation";
import { LogEntrySchema } from "@brevet/protocol/brevet/v1/log";
import { create, fromBinary } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { granted, ISSUER, inDirectory, TestAuthority, TestClock } from "./testdata/authority.ts";
import { AUDIENCE, METHOD, MINUTE, minutes, POLICY, START } from "./testdata/world.ts";
import { ElevationTimer } from "./timer.ts";

const PAIR = { entitlement: "pair", reason: "INC-1" } as const;

function withAuthority(run: (authority: TestAuthority, directory: string) => Promise<void>): () => Promise<void> {
  return () =>
    inDirectory(async (directory) => {
      await using authority = await TestAuthority.start(directory);
      await run(authority, directory);
    });
}

const approve = (authority: TestAuthority, who: string, id: string, requestId = authority.requestId()) =>
  authority.elevations.approve(
    authority.caller(who),
    create(ElevationServiceApproveRequestSchema, { id, requestId, comment: `yes from ${who}` }),
  );
const deny = (authority: TestAuthority, who: string, id: string) =>
  authority.elevations.deny(
    authority.caller(who),
    create(ElevationServiceDenyRequestSchema, { id, requestId: authority.requestId(), comment: "no" }),
  );

async function active(authority: TestAuthority, who = "user:rita@test"): Promise<string> {
  const { id } = granted(await authority.request(who)).elevation;
  authority.waiting.add(id);
  granted(await approve(authority, "user:ana@test", id));
  granted(await approve(authority, "user:bo@test", id));
  return id;
}

async function eventsOf(authority: TestAuthority, elevation?: string): Promise<string[]> {
  const records = await authority.log.store.entries(0n, { limit: 10_000, ...(elevation === undefined ? {} : { elevation }) });
  return records.map((record) => fromBinary(LogEntrySchema, record.entry).event.case ?? "");
}

test(
  "an answer names people, words, approvers, and whether the caller may vote",
  withAuthority(async (authority) => {
    const { elevation } = granted(await authority.request("user:rita@test", PAIR));
    assert.equal(elevation.requester?.name, "user:rita@test");
    assert.equal(elevation.requester?.kind, PrincipalKind.USER);
    assert.equal(elevation.reason?.text, "INC-1");
    assert.deepEqual(
      elevation.stages[0]?.approvers.map((approver) => approver.text),
      ["group:oncall", "group:leads"],
    );
    assert.equal(elevation.eligibleApprovers, 3, "ana, bo and cy, not rita");
    assert.equal(elevation.mayDecide, false);
    const seen = granted(await authority.readable.get(authority.caller("user:ana@test"), elevation.id));
    assert.equal(seen.mayDecide, true);
    const voted = granted(await approve(authority, "user:ana@test", elevation.id));
    assert.equal(voted.mayDecide, false);
    assert.equal(voted.eligibleApprovers, 2);
    assert.equal(voted.votes[0]?.voter?.name, "user:ana@test");
    assert.equal(voted.votes[0]?.comment?.text, "yes from user:ana@test");
  }),
);

test(
  "a program that is in the group may see what it could not vote on, and is not told to vote",
  withAuthority(async (authority) => {
    const { id } = granted(await authority.request("user:rita@test", PAIR)).elevation;
    authority.claimed.set("workload:bot", ["group:oncall"]);
    assert.equal(granted(await authority.readable.get(authority.caller("workload:bot"), id)).mayDecide, false);
  }),
);

test(
  "an approver whom the log never saw votes, and the requester never does",
  withAuthority(async (authority) => {
    const { id } = granted(await authority.request("user:rita@test")).elevation;
    const self = await approve(authority, "user:rita@test", id);
    assert.equal(self.ok ? "" : self.denial.reason, "SELF_APPROVAL");
    granted(await approve(authority, "user:bo@test", id));
    const twice = await approve(authority, "user:bo@test", id);
    assert.equal(twice.ok ? "" : twice.denial.reason, "ALREADY_VOTED");
  }),
);

test(
  "a repeat with the same id changes nothing, also a request's, and other terms under it are refused",
  withAuthority(async (authority) => {
    const first = granted(await authority.request("user:rita@test", { requestId: "same-same", waiting: true }));
    const head = authority.log.position().revision;
    const again = granted(await authority.request("user:rita@test", { requestId: "same-same", waiting: true }));
    assert.equal(again.elevation.id, first.elevation.id);
    assert.equal(again.elevation.holds, 1);
    assert.equal(authority.log.position().revision, head);
    const other = await authority.request("user:rita@test", { requestId: "same-same", duration: minutes(3) });
    assert.equal(other.ok ? "" : other.denial.reason, "REQUEST_INVALID");
    granted(await approve(authority, "user:ana@test", first.elevation.id, "vote-vote"));
    const repeated = granted(await approve(authority, "user:ana@test", first.elevation.id, "vote-vote"));
    assert.equal(repeated.votes.length, 1);
    const reused = await authority.elevations.deny(
      authority.caller("user:ana@test"),
      create(ElevationServiceDenyRequestSchema, { id: first.elevation.id, requestId: "vote-vote" }),
    );
    assert.equal(reused.ok ? "" : reused.denial.reason, "REQUEST_INVALID");
    const mine = granted(await authority.request("user:sam@test", { requestId: "same-same" }));
    assert.notEqual(mine.elevation.id, first.elevation.id, "ids are per principal");
  }),
);

test(
  "an idempotency id that is none is refused before anything is read",
  withAuthority(async (authority) => {
    for (const requestId of ["", "short", "x".repeat(65), "with space", "ümlaut-ümlaut"]) {
      const answer = await authority.request("user:rita@test", { requestId });
      assert.equal(answer.ok ? "" : answer.denial.metadata["field"], "request_id");
    }
  }),
);

test(
  "to a stranger an elevation looks like none",
  withAuthority(async (authority) => {
    const { id } = granted(await authority.request("user:rita@test")).elevation;
    const stranger = authority.caller("user:sam@test");
    const answers = [
      await authority.readable.get(stranger, id),
      await authority.readable.get(stranger, "elv_00000000000000000000000000"),
      await approve(authority, "user:sam@test", id),
      await authority.elevations.revoke(
        stranger,
        create(ElevationServiceRevokeRequestSchema, { requestId: authority.requestId(), target: { case: "id", value: id } }),
      ),
    ];
    for (const answer of answers) {
      assert.ok(!answer.ok);
      assert.equal(answer.denial.reason, "NOT_FOUND");
      assert.equal(
        answer.denial.message.replaceAll(/elv_\w+/g, "elv"),
        "there is no elevation elv that you may see; check the id, and which authority you ask as whom",
      );
    }
    const list = granted(await authority.readable.list(stranger, create(ElevationServiceListRequestSchema)));
    assert.deepEqual(list.elevations, []);
    for (const reader of ["user:audit@test", "user:admin@test", "user:cy@test"])
      granted(await authority.readable.get(authority.caller(reader), id));
  }),
);

test(
  "two approvers at once complete a quorum of two; an approval and a denial at once have one winner",
  withAuthority(async (authority) => {
    const { id } = granted(await authority.request("user:rita@test", PAIR)).elevation;
    const both = await Promise.all([approve(authority, "user:ana@test", id), approve(authority, "user:bo@test", id)]);
    assert.ok(both.every((answer) => answer.ok));
    assert.equal(granted(await authority.readable.get(authority.caller("user:ana@test"), id)).state, ElevationState.SCHEDULED);
    for (let round = 0; round < 10; round += 1) {
      const { id: raced } = granted(await authority.request("user:sam@test", { ...PAIR, run: `run-${round}` })).elevation;
      granted(await approve(authority, "user:ana@test", raced));
      const racers = [approve(authority, "user:bo@test", raced), deny(authority, "user:cy@test", raced)];
      const answers = await Promise.all(round % 2 === 0 ? racers : racers.toReversed());
      assert.equal(answers.filter((answer) => answer.ok).length, 1);
      const loser = answers.find((answer) => !answer.ok);
      assert.ok(loser && !loser.ok && loser.denial.reason === "ALREADY_DECIDED");
      authority.clock.turn(30 * MINUTE);
    }
  }),
);

test(
  "checking a request writes nothing, not even who asked",
  withAuthority(async (authority) => {
    const before = authority.log.position().revision;
    const { elevation, existing } = granted(await authority.request("user:rita@test", { validateOnly: true }));
    assert.equal(existing, false);
    assert.equal(elevation.id, "");
    assert.equal(elevation.requester?.name, "user:rita@test");
    assert.equal(elevation.state, ElevationState.PENDING);
    assert.equal(authority.log.position().revision, before);
    const worded = granted(await authority.request("user:rita@test", { ...PAIR, validateOnly: true })).elevation;
    const approvers = worded.stages.flatMap((stage) => stage.approvers.map(({ text }) => text));
    assert.deepEqual([worded.reason?.text, approvers], ["INC-1", ["group:oncall", "group:leads"]], "it says what would be asked for");
    const refused = await authority.request("user:cy@test", { validateOnly: true });
    assert.equal(refused.ok ? "" : refused.denial.reason, "NOT_ELIGIBLE");
    assert.equal(authority.log.position().revision, before);
  }),
);

test(
  "a refused stranger leaves no trace in the log",
  withAuthority(async (authority) => {
    const before = authority.log.position().revision;
    await authority.request("user:cy@test");
    assert.equal(authority.log.position().revision, before);
  }),
);

test(
  "the timer writes what time brings about, at its instant and without a command",
  withAuthority(async (authority) => {
    await using timer = new ElevationTimer({ log: authority.log, policies: authority.policies, clock: authority.clock });
    const pending = granted(await authority.request("user:sam@test")).elevation.id;
    const running = await active(authority);
    const reached = async (id: string, state: ElevationState) => {
      for (;;) {
        if ((await authority.log.store.elevation(id))?.state === state) return;
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
      }
    };
    await settledTimer(authority.clock, START + 10 * MINUTE);
    authority.clock.turn(10 * MINUTE);
    await reached(running, ElevationState.EXPIRED);
    await settledTimer(authority.clock, START + 30 * MINUTE);
    assert.equal((await authority.log.store.elevation(pending))?.state, ElevationState.PENDING);
    authority.clock.turn(20 * MINUTE);
    await reached(pending, ElevationState.LAPSED);
    assert.equal(await timer.tick(), 0);
  }),
);

test(
  "a policy that does not load holds up the starts under it, and nothing else that time brings about",
  withAuthority(async (authority) => {
    const { clock, policies, log } = authority;
    const stateOf = async (id: string) => (await log.store.elevation(id))?.state;
    const pending = granted(await authority.request("user:sam@test")).elevation.id;
    const running = await active(authority);
    const startTime = timestampFromMs(START + 20 * MINUTE);
    const later = granted(await authority.request("user:sam@test", { ...PAIR, startTime })).elevation.id;
    for (const who of ["user:ana@test", "user:bo@test"]) granted(await approve(authority, who, later));
    await authority.apply(POLICY.replace("description: Refund", "description: Refunds"));
    policies.version -= 1n;
    const faults: unknown[] = [];
    await using timer = new ElevationTimer({ log, policies, clock, onFault: (error) => faults.push(error) });
    await settledTimer(clock, START + 10 * MINUTE);
    clock.turn(40 * MINUTE);
    for (let look = 1; look <= 4; look += 1) {
      await settledTimer(clock, clock.wallMs() + 500);
      if (look < 4) clock.turn(500);
    }
    assert.deepEqual([await stateOf(pending), await stateOf(running)], [ElevationState.LAPSED, ElevationState.EXPIRED]);
    assert.equal(await stateOf(later), ElevationState.SCHEDULED);
    assert.equal(faults.length, 1, "told once");
    assert.match(String(faults[0]), new RegExp(`policy of ${AUDIENCE} is not loaded`));
    policies.version += 1n;
    assert.equal(await timer.tick(), 1);
    const ended = await log.store.elevation(later);
    assert.equal(ended?.state, ElevationState.EXPIRED);
    assert.equal(ended.windowStart && timestampMs(ended.windowStart), START + 20 * MINUTE);
  }),
);

test(
  "a vote that comes too late is refused, and the lapse that it found is written",
  withAuthority(async (authority) => {
    const { id } = granted(await authority.request("user:rita@test")).elevation;
    authority.clock.turn(31 * MINUTE);
    const late = await approve(authority, "user:ana@test", id);
    assert.equal(late.ok ? "" : late.denial.reason, "ALREADY_DECIDED");
    assert.deepEqual(await eventsOf(authority, id), ["elevationRequested", "elevationLapsed"]);
  }),
);

test(
  "all of a principal's live elevations are revoked in one write, and a repeat revokes nothing further",
  withAuthority(async (authority) => {
    const ids = [await active(authority), granted(await authority.request("user:rita@test", PAIR)).elevation.id];
    await active(authority, "user:sam@test");
    const admin = authority.caller("user:admin@test");
    const message = create(ElevationServiceRevokeRequestSchema, {
      requestId: "revoke-all",
      target: { case: "principal", value: "user:rita@test" },
      comment: "left the company",
    });
    const { elevations } = granted(await authority.elevations.revoke(admin, message));
    assert.deepEqual(elevations.map((elevation) => elevation.id).toSorted(), ids.toSorted());
    assert.ok(
      elevations.every((elevation) => elevation.state === ElevationState.REVOKED && elevation.endComment?.text === "left the company"),
    );
    const later = granted(await authority.request("user:rita@test", { run: "later" })).elevation.id;
    const repeated = granted(await authority.elevations.revoke(admin, message));
    assert.deepEqual(repeated.elevations.map((elevation) => elevation.id).toSorted(), ids.toSorted());
    assert.equal((await authority.log.store.elevation(later))?.state, ElevationState.PENDING);
  }),
);

test(
  "streams that drain after their window can be revoked, by id or with all of a principal's",
  withAuthority(async (authority) => {
    await authority.apply(POLICY.replace("    cooldown: 5m\n", "    cooldown: 5m\n    streams: { onExpiry: drain, for: 1m }\n"));
    await using timer = new ElevationTimer({ log: authority.log, policies: authority.policies, clock: authority.clock });
    const [rita, sam] = [await active(authority), await active(authority, "user:sam@test")];
    const admin = authority.caller("user:admin@test");
    const revoke = (requestId: string, target: { case: "id" | "principal"; value: string }) =>
      authority.elevations.revoke(admin, create(ElevationServiceRevokeRequestSchema, { requestId, target }));
    authority.clock.turn(10 * MINUTE + 59_000);
    await timer.tick();
    assert.equal((await authority.log.store.elevation(rita))?.state, ElevationState.EXPIRED);
    const one = granted(await revoke("revoke-one", { case: "id", value: rita })).elevations;
    assert.deepEqual(
      one.map(({ id, state }) => [id, state]),
      [[rita, ElevationState.REVOKED]],
    );
    const all = granted(await revoke("revoke-every", { case: "principal", value: "user:sam@test" })).elevations;
    assert.deepEqual(
      all.map(({ id, state }) => [id, state]),
      [[sam, ElevationState.REVOKED]],
    );
  }),
);

test(
  "whoever may revoke none of what matches is told the missing right",
  withAuthority(async (authority) => {
    await active(authority);
    const message = create(ElevationServiceRevokeRequestSchema, {
      requestId: "revoke-all",
      target: { case: "principal", value: "user:rita@test" },
    });
    for (const who of ["user:audit@test", "user:sam@test"]) {
      const answer = await authority.elevations.revoke(authority.caller(who), message);
      assert.equal(answer.ok ? "" : answer.denial.reason, "ROLE_REQUIRED");
    }
    const nobody = create(ElevationServiceRevokeRequestSchema, {
      requestId: "revoke-none",
      target: { case: "principal", value: "user:none@test" },
    });
    const stranger = await authority.elevations.revoke(authority.caller("user:sam@test"), nobody);
    assert.equal(stranger.ok ? "" : stranger.denial.reason, "ROLE_REQUIRED", "whether there are any is not told");
    assert.deepEqual(granted(await authority.elevations.revoke(authority.caller("user:admin@test"), nobody)).elevations, []);
  }),
);

test(
  "a grant is in the log first, verifies, and ends with the window or after 15 minutes",
  withAuthority(async (authority) => {
    const id = await active(authority);
    const ask = () => create(ElevationServiceIssueGrantRequestSchema, { requestId: authority.requestId(), id });
    const { grant, expireMs, elevation } = granted(await authority.elevations.issueGrant(authority.caller("user:rita@test"), ask()));
    assert.equal(expireMs, START + 10 * MINUTE);
    assert.equal((await eventsOf(authority, id)).at(-1), "grantIssued");
    const keys = keysOfJwks(await authority.grants.jwks());
    const check = verifyGrant(grant, { keys, issuer: ISSUER, audience: AUDIENCE, nowMs: START + 1, errorMs: 0 });
    assert.ok(check.ok, check.ok ? "" : check.problem);
    assert.equal(check.claims.sub, "user:rita@test");
    assert.equal(check.claims.elevation, id);
    assert.equal(check.claims.rev, `${elevation.revision}`);
    const [detail] = check.claims.authorization_details;
    assert.deepEqual([detail.actions, detail.entitlement, detail.condition, detail.payload], [[METHOD], "refund", undefined, undefined]);
    assert.equal(check.claims.window_end, (START + 10 * MINUTE) / 1000);
    const behind = verifyGrant(grant, { keys, issuer: ISSUER, audience: AUDIENCE, nowMs: START - 400, errorMs: 500 });
    assert.ok(behind.ok, "a guard whose clock is a little behind takes it at once");
    const other = await authority.elevations.issueGrant(authority.caller("user:ana@test"), ask());
    assert.equal(other.ok ? "" : other.denial.reason, "ROLE_REQUIRED");
    authority.clock.turn(10 * MINUTE);
    const late = await authority.elevations.issueGrant(authority.caller("user:rita@test"), ask());
    assert.equal(late.ok ? "" : late.denial.reason, "ELEVATION_EXPIRED");
    assert.equal((await eventsOf(authority, id)).filter((event) => event === "grantIssued").length, 1);
  }),
);

test(
  "a grant of a long window lasts 15 minutes, and is bound to the key that was given",
  withAuthority(async (authority) => {
    const keyJwk = JSON.stringify({ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    const { id } = granted(await authority.request("user:rita@test", { duration: minutes(20), keyJwk })).elevation;
    authority.waiting.add(id);
    granted(await approve(authority, "user:ana@test", id));
    granted(await approve(authority, "user:bo@test", id));
    const ask = (other = "") => create(ElevationServiceIssueGrantRequestSchema, { requestId: authority.requestId(), id, keyJwk: other });
    const { grant, expireMs } = granted(await authority.elevations.issueGrant(authority.caller("user:rita@test"), ask()));
    assert.equal(expireMs, START + 15 * MINUTE);
    const claims: { cnf?: { jkt?: string } } = JSON.parse(Buffer.from(grant.split(".")[1] ?? "", "base64url").toString());
    assert.equal(claims.cnf?.jkt, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    const stolen = await authority.elevations.issueGrant(authority.caller("user:rita@test"), ask(keyJwk.replace("11q", "22q")));
    assert.equal(stolen.ok ? "" : stolen.denial.reason, "REQUEST_INVALID");
    const records = await authority.log.store.entries(0n, { elevation: id });
    const entries = records.map((record) => fromBinary(LogEntrySchema, record.entry).event);
    const issued = entries.findLast((event) => event.case === "grantIssued");
    assert.equal(Buffer.from(issued?.value.keyThumbprint ?? []).toString("base64url"), claims.cnf?.jkt);
  }),
);

test(
  "a guard starts the window at the first use, and is shown no words",
  withAuthority(async (authority) => {
    const { id } = granted(await authority.request("user:rita@test", { reason: "private matter" })).elevation;
    granted(await approve(authority, "user:ana@test", id));
    granted(await approve(authority, "user:bo@test", id));
    const message = create(ElevationServiceStartRequestSchema, { id, requestId: authority.requestId() });
    const shown = granted(await authority.elevations.start(authority.caller("workload:guard"), message));
    assert.equal(shown.state, ElevationState.ACTIVE);
    assert.equal(shown.requester?.name, "user:rita@test");
    assert.equal(shown.reason, undefined);
    assert.deepEqual(shown.votes, []);
  }),
);

test(
  "a command waits for the policy that the store has, and decides under that one",
  withAuthority(async (authority) => {
    const { policy, version } = authority.policies;
    await authority.apply(POLICY.replace('requesters: ["user:rita@test", "user:sam@test", "ci:run"]', 'requesters: ["user:sam@test"]'));
    const newer = { policy: authority.policies.policy, version: authority.policies.version };
    Object.assign(authority.policies, { policy, version });
    const asked = authority.request("user:rita@test");
    while (authority.clock.nextMs() === undefined) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    Object.assign(authority.policies, newer);
    authority.clock.turn(10);
    const answer = await asked;
    assert.equal(answer.ok ? "" : answer.denial.reason, "NOT_ELIGIBLE");
  }),
);

test(
  "a policy that takes a right away revokes in the same write",
  withAuthority(async (authority) => {
    const id = await active(authority);
    await authority.apply(POLICY.replace('requesters: ["user:rita@test", "user:sam@test", "ci:run"]', 'requesters: ["user:sam@test"]'));
    const events = await eventsOf(authority);
    assert.deepEqual(events.slice(-2), ["policyApplied", "elevationRevoked"]);
    const shown = granted(await authority.readable.get(authority.caller("user:rita@test"), id));
    assert.match(shown.endComment?.text ?? "", /no longer lets user:rita@test ask for refund/);
  }),
);

test("a pending elevation and its question survive a restart", () =>
  inDirectory(async (directory) => {
    const clock = new TestClock();
    let id = "";
    {
      await using authority = await TestAuthority.start(directory, clock);
      id = granted(await authority.request("user:rita@test", PAIR)).elevation.id;
    }
    await using authority = await TestAuthority.start(directory, clock);
    const again = granted(await authority.request("user:rita@test", PAIR));
    assert.equal(again.elevation.id, id);
    assert.equal(again.existing, true);
    assert.equal(again.elevation.reason?.text, "INC-1");
  }));

test(
  "lists page through what one may read, newest first",
  withAuthority(async (authority) => {
    const ids: string[] = [];
    for (let index = 0; index < 7; index += 1) {
      const who = index % 2 === 0 ? "user:rita@test" : "user:sam@test";
      ids.unshift(granted(await authority.request(who, { run: `run-${index}` })).elevation.id);
    }
    const caller = authority.caller("user:ana@test");
    const first = granted(await authority.readable.list(caller, create(ElevationServiceListRequestSchema, { pageSize: 4 })));
    const rest = granted(
      await authority.readable.list(caller, create(ElevationServiceListRequestSchema, { pageSize: 4, pageToken: first.nextPageToken })),
    );
    assert.deepEqual(
      [...first.elevations, ...rest.elevations].map((elevation) => elevation.id),
      ids,
    );
    assert.equal(rest.nextPageToken, "");
    const mine = granted(
      await authority.readable.list(
        authority.caller("user:sam@test"),
        create(ElevationServiceListRequestSchema, { filter: { mine: true } }),
      ),
    );
    assert.equal(mine.elevations.length, 3);
    const decidable = { filter: { decidable: true, principal: "user:rita@test", states: [ElevationState.PENDING] } };
    assert.equal(granted(await authority.readable.list(caller, create(ElevationServiceListRequestSchema, decidable))).elevations.length, 4);
  }),
);

async function settledTimer(clock: TestClock, atMs: number): Promise<void> {
  while (clock.nextMs() !== atMs) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}
