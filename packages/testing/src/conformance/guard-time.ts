// The edges of windows and tokens, exact on a clock that tests move; and what a guard does while it hears nothing of its authority.
import assert from "node:assert/strict";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { Code, ConnectError } from "@connectrpc/connect";
import { status } from "@grpc/grpc-js";
import { assertRefusal, refusalOf, shownAnswer } from "./guard-answer.ts";
import { type GuardForm, type GuardScene, guardScene, type ScenePromise, skewed } from "./guard-scene.ts";
import type { Headers, WireAnswer } from "./guard-wire.ts";
import { ALL_KINDS, type Group, HEALTH_CHECK, type Kind, methodOf, policyText, requestOf } from "./guard-world.ts";

/** The guard's estimate of the time is exact to a fraction of this. */
const MARGIN_MS = 5;

export function timeConformance(promise: ScenePromise): void {
  promise("a window ends at its end, and not before", async (at) => {
    const { headers } = await at.elevated("Plain", { endsInMs: 8000 });
    await at.advance(8000 - MARGIN_MS);
    for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
    await at.advance(MARGIN_MS);
    for (const kind of ALL_KINDS) await refused(at, "Plain", kind, headers, "ELEVATION_EXPIRED");
  });

  promise("a window starts at its time, and not before", async (at) => {
    const { headers } = await at.elevated("Plain", { state: "SCHEDULED", startsInMs: 4000 });
    await at.advance(4000 - MARGIN_MS);
    for (const kind of ALL_KINDS) await refused(at, "Plain", kind, headers, "ELEVATION_SCHEDULED");
    await at.advance(MARGIN_MS);
    for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
  });

  promise("use at the last moment does not lengthen a window", async (at) => {
    const { headers } = await at.elevated("Plain", { endsInMs: 3000 });
    await at.advance(3000 - MARGIN_MS);
    const answer = await runs(at, "Plain", "Unary", headers);
    assert.equal(answer.trailers["brevet-window-ends"], "0");
    await at.advance(MARGIN_MS);
    const refusal = refusalOf(await call(at, "Plain", "Unary", headers));
    assert.equal(refusal.reason, "ELEVATION_EXPIRED");
  });

  promise("an extension at the last moment carries on without a gap", async (at) => {
    const { headers, change } = await at.elevated("Plain", { endsInMs: 3000 });
    await at.advance(3000 - MARGIN_MS);
    await change({ startedAgoMs: 3000 - MARGIN_MS, endsInMs: 2000 + MARGIN_MS });
    for (const step of [MARGIN_MS, 2000 - MARGIN_MS]) {
      await at.advance(step);
      for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
    }
    await at.advance(MARGIN_MS);
    await refused(at, "Plain", "Unary", headers, "ELEVATION_EXPIRED");
  });

  promise("of overlapping windows the later one counts, whichever came first", async (at) => {
    for (const [first, second] of [
      [2000, 5000],
      [5000, 2000],
    ] as const) {
      const { headers, who } = await at.elevated("Plain", { endsInMs: first });
      at.authority.elevate({ id: `elv_second_${who}`, principal: who, group: "Plain", endsInMs: second });
      await at.authority.settled();
      const answer = await runs(at, "Plain", "Unary", headers);
      assert.equal(answer.trailers["brevet-window-ends"], "4");
      await at.advance(2000);
      await runs(at, "Plain", "Unary", headers);
      await at.advance(3000);
      await refused(at, "Plain", "Unary", headers, "ELEVATION_EXPIRED");
    }
  });

  promise("a grant ends at its end, while its elevation goes on", async (at) => {
    const { headers, elevation } = await at.elevated("Shown");
    const { nowSeconds } = at.authority.facts;
    const grant = at.authority.facts.grant(elevation, { claims: { exp: nowSeconds + 5 } });
    const shown: Headers = [...headers, ["brevet-grant", grant]];
    await at.advance((nowSeconds + 5) * 1000 - MARGIN_MS - at.clock.wallMs());
    for (const kind of ALL_KINDS) await runs(at, "Shown", kind, shown);
    await at.advance(MARGIN_MS);
    for (const kind of ALL_KINDS) await refused(at, "Shown", kind, shown, "GRANT_EXPIRED");
    await runs(at, "Shown", "Unary", [...headers, ["brevet-grant", at.authority.facts.grant(elevation)]]);
  });

  promise("an identity ends 30 s after its end, also one that was looked at before", async (at) => {
    const { who } = await at.elevated("Plain");
    const headers = at.as(who, { claims: { exp: at.authority.facts.nowSeconds + 10 } });
    await at.advance(39_000);
    await runs(at, "Plain", "Unary", headers);
    await at.advance(1000 + MARGIN_MS);
    for (const kind of ALL_KINDS) await refused(at, "Plain", kind, headers, "IDENTITY_EXPIRED");
  });

  promise("the first use starts a window once, for all calls that come together", async (at) => {
    const before = at.authority.starts.length;
    const { headers } = await at.elevated("Plain", { state: "SCHEDULED" });
    const answers = await Promise.all(ALL_KINDS.flatMap((kind) => [call(at, "Plain", kind, headers), call(at, "Plain", kind, headers)]));
    for (const answer of answers) assert.equal(answer.code, status.OK, shownAnswer(answer));
    assert.equal(at.authority.starts.length, before + 1);
    await runs(at, "Plain", "Unary", headers);
    assert.equal(at.authority.starts.length, before + 1);
  });

  promise("an approval of one request is used once", async (at) => {
    const { headers } = await at.elevated("Paid", { payload: requestOf(77) });
    const answers = await Promise.all([0, 1].map(() => at.client.call(methodOf("Paid", "Unary"), headers, [requestOf(77)])));
    assert.deepEqual(new Set(answers.map(({ code }) => code)), new Set([status.OK, status.PERMISSION_DENIED]));
    const late = refusalOf(await at.client.call(methodOf("Paid", "Unary"), headers, [requestOf(77)]));
    assert.deepEqual([late.reason, late.metadata.used], ["GRANT_PAYLOAD_MISMATCH", "true"]);
  });

  promise("a revocation that overtakes the answer to the first use wins", async (at) => {
    const { headers, who, elevation } = await at.elevated("Plain", { state: "SCHEDULED" });
    const before = at.service.handled.length;
    at.authority.onStart = async (request) => {
      const started = at.authority.make({ id: elevation.id, principal: who, group: "Plain" });
      assert.deepEqual([request.id, started.state], [elevation.id, ElevationState.ACTIVE]);
      at.authority.elevate({ id: elevation.id, principal: who, group: "Plain", state: "REVOKED" });
      await at.authority.settled();
      return started;
    };
    try {
      await refused(at, "Plain", "Chat", headers, "ELEVATION_REVOKED");
    } finally {
      at.authority.onStart = (request) => at.authority.startWindow(request);
    }
    assert.equal(at.service.handled.length, before);
  });

  promise("a first use that the authority does not hear of is refused as unavailable, and works later", async (at) => {
    const { headers } = await at.elevated("Plain", { state: "SCHEDULED" });
    at.authority.onStart = () => {
      throw new ConnectError("draining", Code.Unavailable);
    };
    try {
      for (const kind of ALL_KINDS) {
        const refusal = refusalOf(await call(at, "Plain", kind, headers));
        assert.deepEqual(
          [refusal.reason, refusal.code, refusal.retries, refusal.pushback, refusal.trailersOnly],
          ["AUTHORITY_UNREACHABLE", "UNAVAILABLE", true, undefined, true],
          kind,
        );
      }
    } finally {
      at.authority.onStart = (request) => at.authority.startWindow(request);
    }
    for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
  });

  promise("an issuer whose keys could not be had is unavailable, until they can", async (at) => {
    const { headers } = await at.elevated("Plain");
    at.authority.setPeopleKeys("");
    await at.authority.settled();
    for (const kind of ALL_KINDS) {
      const refusal = refusalOf(await call(at, "Plain", kind, headers));
      assert.deepEqual(
        [refusal.reason, refusal.code, refusal.retries, refusal.pushback],
        ["KEYS_UNAVAILABLE", "UNAVAILABLE", true, undefined],
      );
      await runs(at, "Open", kind, []);
    }
    at.authority.setPeopleKeys(at.authority.facts.peopleJwks);
    await at.authority.settled();
    for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
  });

  promise("a policy that the guard cannot enforce permits nothing, and is told to nobody; the next one counts again", async (at) => {
    const { headers } = await at.elevated("Plain");
    at.authority.applyPolicy("apiVersion: brevet.dev/v9\n");
    await at.authority.settled();
    for (const kind of ALL_KINDS) {
      const answer = await call(at, "Plain", kind, headers);
      assertRefusal(
        answer,
        {
          reason: "POLICY_MISCONFIGURED",
          says: "an admin of conformance-test has to correct the rule for {method}, which cannot be enforced: this guard cannot enforce the newest policy; its log says why. Run: brevet explain POLICY_MISCONFIGURED",
          metadata: { problem: "this guard cannot enforce the newest policy; its log says why" },
          identified: false,
        },
        kind,
      );
    }
    at.authority.applyPolicy(policyText());
    await at.authority.settled();
    for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
  });

  promise("a policy that only observes lets everything run, as it came", async (at) => {
    at.authority.applyPolicy(policyText("mode: observe\n"));
    await at.authority.settled();
    const { headers } = await at.elevated("Plain", { state: "REVOKED" });
    for (const kind of ALL_KINDS) {
      for (const [group, sent] of [
        ["Plain", headers],
        ["Hidden", headers],
        ["Known", []],
        ["Limited", headers],
      ] as const)
        await runs(at, group, kind, sent);
    }
    const lines = at.lines.filter(({ message }) => /only observes/.test(String(message)));
    assert.ok(lines.length >= ALL_KINDS.length * 4, "and each refusal that was not made is in the log");
    at.authority.applyPolicy(policyText());
    await at.authority.settled();
  });
}

/** Tests that need a scene each: they cut the guard off, or set up its clock. */
export function awayConformance(promise: (title: string, body: () => Promise<void>) => void, form: GuardForm): void {
  promise("before a guard has heard of its authority nothing runs, and health says so", async () => {
    await using at = await guardScene(form, { cutOff: true });
    assert.equal(at.form.status().ready, false);
    for (const kind of ALL_KINDS)
      for (const group of ["Plain", "Open"] as const)
        assertRefusal(
          await call(at, group, kind, at.as("user:sam@acme.test")),
          { reason: "POLICY_UNAVAILABLE", says: UNAVAILABLE, retries: true, identified: false, timeKnown: false },
          `${group} ${kind}`,
        );
    const health = await at.client.call(HEALTH_CHECK, [], [Buffer.alloc(0)]);
    assert.deepEqual([health.code, health.messages], [status.OK, [Buffer.from([0x08, 0x02])]], "NOT_SERVING");
    assert.equal(at.service.handled.length, 0);
  });

  promise("known elevations go on without the authority as long as the policy says, and the rest goes on for ever", async () => {
    await using at = await guardScene(form, { policy: "whenStale: { after: 10s, then: known, atMost: 20s }\n" });
    const { headers } = await at.elevated("Plain");
    const stream = at.client.start(methodOf("Plain", "Chat"), headers);
    stream.send(requestOf(1));
    await stream.next();
    at.authority.silent = true;
    at.clock.advance(20_000 - 4 * MARGIN_MS);
    for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
    at.clock.advance(8 * MARGIN_MS);
    for (const kind of ALL_KINDS) await stale(at, kind, headers);
    const ended = refusalOf(await stream.ended);
    assert.deepEqual([ended.reason, ended.code, ended.trailersOnly], ["POLICY_STALE", "UNAVAILABLE", false], "streams, too");
    for (const kind of ALL_KINDS) {
      await runs(at, "Known", kind, headers);
      await runs(at, "Open", kind, []);
      await refused(at, "Hidden", kind, headers, "METHOD_FORBIDDEN");
    }
    at.authority.silent = false;
    await at.authority.settled();
    for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
  });

  promise("where the policy says so, nothing elevated runs without the authority", async () => {
    await using at = await guardScene(form, { policy: "whenStale: { after: 10s, then: deny }\n" });
    const { headers } = await at.elevated("Plain");
    at.authority.silent = true;
    at.clock.advance(10_000 - 4 * MARGIN_MS);
    for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
    at.clock.advance(8 * MARGIN_MS);
    for (const kind of ALL_KINDS) {
      await stale(at, kind, headers);
      await runs(at, "Known", kind, headers);
    }
  });

  promise("a wall clock that steps by hours while calls run changes nothing", async () => {
    let skewMs = 0;
    await using at = await guardScene(form, { clock: (clock) => skewed(clock, () => skewMs) });
    const { headers } = await at.elevated("Plain", { endsInMs: 8000 });
    const stream = at.client.start(methodOf("Plain", "Chat"), headers);
    for (const hours of [5, -5, 24 * 365 * 74, -24 * 365 * 56]) {
      skewMs = hours * 3_600_000;
      await at.advance(1000);
      for (const kind of ALL_KINDS) await runs(at, "Plain", kind, headers);
      stream.send(requestOf(1));
      assert.deepEqual(await stream.next(), requestOf(1));
    }
    await at.advance(4000 - MARGIN_MS);
    await runs(at, "Plain", "Unary", headers);
    await at.advance(MARGIN_MS);
    await refused(at, "Plain", "Unary", headers, "ELEVATION_EXPIRED");
    assert.equal(refusalOf(await stream.ended).reason, "ELEVATION_EXPIRED");
  });

  promise("too many bad tokens from one peer are not looked at for a while; good ones that are known still are", async () => {
    await using at = await guardScene(form);
    const { headers } = await at.elevated("Plain");
    await runs(at, "Plain", "Unary", headers);
    const bad = (i: number): Headers => at.as(`user:bad-${i}@acme.test`, { key: at.authority.facts.stranger.privateKey });
    const answers = await Promise.all(Array.from({ length: 101 }, (_, i) => call(at, "Known", "Unary", bad(i))));
    for (const answer of answers.slice(0, 90)) assert.equal(refusalOf(answer).reason, "IDENTITY_SIGNATURE_INVALID");
    const limited = refusalOf(await call(at, "Known", "Unary", bad(200)));
    assert.deepEqual([limited.reason, limited.code, limited.retries], ["REQUEST_QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", true]);
    await runs(at, "Plain", "Unary", headers);
    await at.advance(1000);
    assert.equal(refusalOf(await call(at, "Known", "Unary", bad(201))).reason, "IDENTITY_SIGNATURE_INVALID");
  });
}

const UNAVAILABLE = "The guard has no policy yet. Run: brevet explain POLICY_UNAVAILABLE";
const STALE = "The guard has not heard from the authority for longer than the policy allows. Run: brevet explain POLICY_STALE";

async function stale(at: GuardScene, kind: Kind, headers: Headers): Promise<void> {
  const answer = await call(at, "Plain", kind, headers);
  assertRefusal(answer, { reason: "POLICY_STALE", says: STALE, metadata: { staleSince: "{time}" }, retries: true }, kind);
}

function call(at: GuardScene, group: Group, kind: Kind, headers: Headers): Promise<WireAnswer> {
  return at.client.call(methodOf(group, kind), headers, [requestOf(5)]);
}

async function runs(at: GuardScene, group: Group, kind: Kind, headers: Headers): Promise<WireAnswer> {
  const answer = await call(at, group, kind, headers);
  assert.equal(answer.code, status.OK, `${group} ${kind}: ${shownAnswer(answer)}`);
  assert.deepEqual(answer.messages, [requestOf(5)]);
  return answer;
}

async function refused(at: GuardScene, group: Group, kind: Kind, headers: Headers, reason: string): Promise<void> {
  const before = at.service.handled.length;
  const refusal = refusalOf(await call(at, group, kind, headers));
  assert.deepEqual([refusal.reason, refusal.trailersOnly], [reason, true], `${group} ${kind}`);
  assert.equal(at.service.handled.length, before, "no handler ran");
}
