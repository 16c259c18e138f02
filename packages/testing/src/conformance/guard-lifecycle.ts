// A guard with a real authority, through an elevation's whole life: asked for, approved, used, extended, handed back, revoked.
// The authority's and the guard's clock are one, and move only when told.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { WINDOW_ENDS_TRAILER } from "@brevet/protocol";
import {
  type Elevation,
  ElevationService,
  type ElevationServiceRequestRequestSchema,
  type ElevationServiceRevokeResponse,
} from "@brevet/protocol/brevet/v1/elevation";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { status } from "@grpc/grpc-js";
import { startTestAuthority, type TestAuthority } from "../authority/authority.ts";
import { TestClock } from "../clock/clock.ts";
import { refusalOf, shownAnswer } from "./guard-answer.ts";
import { type GuardForm, type RunningForm, skewed } from "./guard-scene.ts";
import { WorldService } from "./guard-service.ts";
import { type Headers, type WireAnswer, type WireCall, WireClient } from "./guard-wire.ts";
import {
  ALL_KINDS,
  ANA,
  AUDIENCE,
  DESCRIPTORS,
  GROUPS_OF_CALLERS,
  type Group,
  GUARD,
  type Kind,
  methodOf,
  policyText,
  requestOf,
} from "./guard-world.ts";

type Promised = (title: string, body: () => Promise<void>) => void;

export function lifecycleConformance(promise: Promised, form: GuardForm): void {
  promise(
    "refused, asked for, approved, started by the first use, handed back: each step is enforced as soon as it is answered",
    async () => {
      await using at = await lifecycle(form);
      const { headers, elevations } = await at.person();
      await at.refused("Plain", headers, "ELEVATION_REQUIRED");
      const asked = await at.ask(elevations, { method: methodOf("Plain", "Unary") });
      await at.refused("Plain", headers, "ELEVATION_PENDING");
      const approved = await at.approve(asked);
      assert.equal(approved.windowStart, undefined);
      await at.runs("Plain", headers);
      await elevations.end({ requestId: at.requestId(), id: asked.id, all: true });
      await at.until(headers, "ELEVATION_ENDED");
      await at.refused("Plain", headers, "ELEVATION_ENDED");
    },
  );

  promise("denied and withdrawn are not the same, and neither permits", async () => {
    await using at = await lifecycle(form);
    const denied = await at.person();
    const first = await at.ask(denied.elevations, { method: methodOf("Plain", "Unary") });
    await at.ana.deny({ requestId: at.requestId(), id: first.id, seenRevision: first.revision, comment: "not today" });
    await at.until(denied.headers, "ELEVATION_DENIED");
    const withdrawn = await at.person();
    const second = await at.ask(withdrawn.elevations, { method: methodOf("Plain", "Unary") });
    await withdrawn.elevations.withdraw({ requestId: at.requestId(), id: second.id });
    await at.until(withdrawn.headers, "ELEVATION_WITHDRAWN");
  });

  promise("a revocation that is answered as enforced has ended open streams, and permits nothing from then on", async () => {
    await using at = await lifecycle(form);
    const { headers, elevations } = await at.person();
    const asked = await at.ask(elevations, { method: methodOf("Plain", "Chat") });
    await at.approve(asked);
    const stream = await at.stream("Plain", headers);
    const { enforcement } = await at.revoke(asked.id);
    assert.deepEqual(
      enforcement.map(({ enforced }) => enforced),
      [true],
    );
    await at.refused("Plain", headers, "ELEVATION_REVOKED");
    const refusal = refusalOf(await stream.ended);
    assert.deepEqual([refusal.reason, refusal.trailersOnly], ["ELEVATION_REVOKED", false]);
  });

  promise("an extension carries calls and streams on to its own end, and not beyond", async () => {
    await using at = await lifecycle(form);
    const { headers, elevations } = await at.person();
    const asked = await at.ask(elevations, { method: methodOf("Plain", "Chat"), duration: durationFromMs(300_000) });
    await at.approve(asked);
    const stream = await at.stream("Plain", headers);
    await at.advance(290_000);
    await elevations.extend({ requestId: at.requestId(), id: asked.id, by: durationFromMs(120_000) });
    await at.told(asked.id, headers, (answer) => Number(answer.trailers[WINDOW_ENDS_TRAILER]) > 100);
    await at.advance(100_000);
    await at.runs("Plain", headers);
    stream.send(requestOf(3));
    assert.deepEqual(await stream.next(), requestOf(3));
    await at.advance(40_000);
    await at.refused("Plain", headers, "ELEVATION_EXPIRED");
    assert.equal(refusalOf(await stream.ended).reason, "ELEVATION_EXPIRED");
  });

  promise("a grant of the authority proves its elevation, and ends with it", async () => {
    await using at = await lifecycle(form);
    const { headers, elevations } = await at.person();
    const asked = await at.ask(elevations, { method: methodOf("Shown", "Unary") });
    await at.approve(asked);
    await elevations.start({ requestId: at.requestId(), id: asked.id });
    const { grant } = await elevations.issueGrant({ requestId: at.requestId(), id: asked.id });
    await at.refused("Shown", headers, "ELEVATION_REQUIRED");
    const shown: Headers = [...headers, ["brevet-grant", grant]];
    await at.runs("Shown", shown);
    await at.revoke(asked.id);
    await at.refused("Shown", shown, "ELEVATION_REVOKED");
  });

  promise("an approval of one request runs that request once", async () => {
    await using at = await lifecycle(form);
    const { headers, elevations } = await at.person();
    const payload = requestOf(12);
    const asked = await at.ask(elevations, { method: methodOf("Paid", "Unary"), payload, payloadDigest: sha256(payload) });
    await at.approve(asked);
    const call = (amount: number) => at.client.call(methodOf("Paid", "Unary"), headers, [requestOf(amount)]);
    assert.equal(refusalOf(await call(13)).reason, "GRANT_PAYLOAD_MISMATCH");
    const run = await call(12);
    assert.equal(run.code, status.OK, shownAnswer(run));
    assert.deepEqual(refusalOf(await call(12)).metadata.used, "true");
  });
}

/** An authority, a guard, a service and their people. */
interface Lifecycle extends AsyncDisposable {
  readonly client: WireClient;
  readonly ana: Client<typeof ElevationService>;
  requestId(): string;
  person(): Promise<{ readonly headers: Headers; readonly elevations: Client<typeof ElevationService> }>;
  ask(
    elevations: Client<typeof ElevationService>,
    fields: MessageInitShape<typeof ElevationServiceRequestRequestSchema>,
  ): Promise<Elevation>;
  approve(asked: Elevation): Promise<Elevation>;
  /** Revokes, and waits until every guard enforces it. */
  revoke(id: string): Promise<ElevationServiceRevokeResponse>;
  runs(group: Group, headers: Headers): Promise<void>;
  refused(group: Group, headers: Headers, reason: string): Promise<void>;
  /** Resolves once calls get this reason: what nobody waits for takes its time to arrive. */
  until(headers: Headers, reason: string): Promise<void>;
  /** As {@link until}, for a call that runs. */
  told(id: string, headers: Headers, done: (answer: WireAnswer) => boolean): Promise<void>;
  /** A bidirectional stream through which one message went there and back. */
  stream(group: Group, headers: Headers): Promise<WireCall>;
  advance(ms: number): Promise<void>;
}

const TURNS = 400;
const STEP_MS = 5000;

async function lifecycle(form: GuardForm): Promise<Lifecycle> {
  await using starting = new AsyncDisposableStack();
  const clock = new TestClock();
  const authority = starting.use(await startTestAuthority({ policy: policyText(), descriptors: DESCRIPTORS, clock }));
  const service = new WorldService();
  const silent = { info() {}, warn() {}, error() {} };
  const running = await form.start({
    services: service.services,
    guard: {
      authority: authority.url,
      audience: AUDIENCE,
      identity: (audience) => authority.token(GUARD, { audience }),
      clock: skewed(clock),
      logger: silent,
    },
  });
  starting.defer(() => running.close());
  await running.ready(AbortSignal.timeout(20_000));
  const client = starting.use(await WireClient.connect(running.address));
  let people = 0;
  let requests = 0;
  const requestId = (): string => {
    requests += 1;
    return `conformance-${requests}`;
  };
  const call = (group: Group, kind: Kind, headers: Headers) => client.call(methodOf(group, kind), headers, [requestOf(5)]);
  const turns = async (what: string, done: () => Promise<boolean>): Promise<void> => {
    for (let turn = 0; turn < TURNS; turn += 1) {
      if (await done()) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`waited in vain for ${what}`);
  };
  const parts = starting.move();
  return {
    client,
    ana: clientOf(authority, ANA),
    requestId,
    async person() {
      people += 1;
      const who = `user:person-${people}@acme.test`;
      const token = await authority.token(who, { audience: AUDIENCE, groups: GROUPS_OF_CALLERS });
      return { headers: [["authorization", `Bearer ${token}`]], elevations: clientOf(authority, who) };
    },
    async ask(elevations, fields) {
      const { elevation } = await elevations.request({ requestId: requestId(), audience: AUDIENCE, ...fields });
      assert.ok(elevation);
      return elevation;
    },
    async approve({ id, revision: seenRevision, payloadDigest }) {
      const seen = payloadDigest && { payloadDigest: payloadDigest.value };
      const { elevation } = await clientOf(authority, ANA).approve({ requestId: requestId(), id, seenRevision, ...seen });
      assert.ok(elevation);
      return elevation;
    },
    async revoke(id) {
      let settled = false;
      const revoked = clientOf(authority, ANA).revoke({ requestId: requestId(), target: { case: "id", value: id }, wait: true });
      void Promise.allSettled([revoked]).then(() => (settled = true));
      // The authority looks again after some milliseconds of its clock.
      await turns("the guard to enforce a revocation", () => {
        clock.advance(5);
        return Promise.resolve(settled);
      });
      return revoked;
    },
    async runs(group, headers) {
      for (const kind of ALL_KINDS) {
        const answer = await call(group, kind, headers);
        assert.equal(answer.code, status.OK, `${kind} ${shownAnswer(answer)}`);
        assert.ok(answer.trailers[WINDOW_ENDS_TRAILER] !== undefined);
      }
    },
    async refused(group, headers, reason) {
      const before = service.handled.length;
      for (const kind of ALL_KINDS) assert.equal(refusalOf(await call(group, kind, headers)).reason, reason, kind);
      assert.equal(service.handled.length, before);
    },
    until: (headers, reason) => turns(reason, async () => (await call("Plain", "Unary", headers)).message.startsWith(`${reason}: `)),
    told: (id, headers, done) => turns(id, async () => done(await call("Plain", "Unary", headers))),
    async stream(group, headers) {
      const stream = client.start(methodOf(group, "Chat"), headers);
      stream.send(requestOf(2));
      assert.deepEqual(await stream.next(), requestOf(2));
      return stream;
    },
    async advance(ms) {
      for (let left = ms; left > 0; left -= STEP_MS) {
        clock.advance(Math.min(left, STEP_MS));
        await heard(running);
      }
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

/** The guard is in step again with an authority whose clock has just moved. */
async function heard(running: RunningForm): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(running.status().connected, true);
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

function clientOf(authority: TestAuthority, who: string): Client<typeof ElevationService> {
  const identify: Interceptor = (next) => async (request) => {
    request.header.set("authorization", `Bearer ${await authority.token(who, { groups: GROUPS_OF_CALLERS })}`);
    return next(request);
  };
  return createClient(ElevationService, createGrpcTransport({ baseUrl: authority.url, interceptors: [identify] }));
}
