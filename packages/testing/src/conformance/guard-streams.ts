// Streams under an elevation: judged message by message, held until the first one is, and ended by what ends the elevation.
// Time moves only where a test says so.
import assert from "node:assert/strict";
import { codeName, WINDOW_ENDS_TRAILER } from "@brevet/protocol";
import { status } from "@grpc/grpc-js";
import { refusalOf, shownAnswer } from "./guard-answer.ts";
import type { GuardScene, ScenePromise } from "./guard-scene.ts";
import { echo, type HandledCall } from "./guard-service.ts";
import type { Headers, WireAnswer, WireCall } from "./guard-wire.ts";
import { DRAIN_MS, type Group, type Kind, methodOf, policyText, requestOf } from "./guard-world.ts";

const STREAMS = ["Watch", "Import", "Chat"] as const;
/** The guard's estimate of the time is exact to a fraction of this. */
const MARGIN_MS = 5;

export function streamConformance(promise: ScenePromise): void {
  judging(promise);
  swallowing(promise);
  ending(promise);
  carryingOn(promise);
}

function judging(promise: ScenePromise): void {
  promise("each message of a stream is judged before it is handed on, and one that fails ends the call", async (at) => {
    const { headers } = await at.elevated("Limited");
    for (const kind of ["Import", "Chat"] as const) {
      const call = at.client.start(methodOf("Limited", kind), headers);
      for (const amount of [5, 500]) call.send(requestOf(amount));
      // What a form hands on takes its time to the handler, and a call that was ended may overtake it.
      await at.service.until(() => at.service.callsOf(methodOf("Limited", kind)).at(-1)?.messages.length === 2, "both to be handed on");
      const handled = lastOf(at, methodOf("Limited", kind));
      if (kind === "Chat") for (let i = 0; i < 2; i += 1) await call.next();
      for (const amount of [501, 6]) call.send(requestOf(amount));
      const answer = await call.ended;
      assertEnded(answer, "CONDITION_NOT_MET", kind);
      await at.service.until(() => handled.cancelled, "the handler to be told");
      assert.deepEqual(handled.messages, [requestOf(5), requestOf(500)], `${kind}: and nothing behind it`);
      if (kind === "Chat") assert.deepEqual(answer.messages, [requestOf(5), requestOf(500)]);
    }
  });

  promise("the handler is held until the first message is judged", async (at) => {
    const { headers } = await at.elevated("Limited");
    for (const kind of ["Import", "Chat"] as const) {
      const before = at.service.callsOf(methodOf("Limited", kind)).length;
      const call = at.client.start(methodOf("Limited", kind), headers);
      // Whatever was going to happen without a message has happened when another call is through.
      await at.client.call(methodOf("Open", "Unary"));
      assert.equal(at.service.callsOf(methodOf("Limited", kind)).length, before, `${kind}: not yet`);
      call.send(requestOf(7));
      await at.service.until(() => at.service.callsOf(methodOf("Limited", kind)).length > before, "the handler to start");
      call.halfClose();
      const answer = await call.ended;
      assert.deepEqual([answer.code, answer.messages], [status.OK, [requestOf(7)]], `${kind} ${shownAnswer(answer)}`);
    }
  });

  promise("a first message that fails is refused before anything was sent, and the handler never runs", async (at) => {
    const { headers } = await at.elevated("Limited");
    for (const kind of ["Import", "Chat"] as const) {
      const before = at.service.handled.length;
      const refusal = refusalOf(await at.client.call(methodOf("Limited", kind), headers, [requestOf(501), requestOf(1)]));
      assert.deepEqual([refusal.reason, refusal.trailersOnly], ["CONDITION_NOT_MET", true], kind);
      assert.equal(at.service.handled.length, before, kind);
    }
  });

  promise("a call that closes without a message runs under no condition", async (at) => {
    for (const kind of ["Unary", ...STREAMS] as const) {
      const { headers } = await at.elevated("Limited");
      const before = at.service.handled.length;
      const answer = await at.client.call(methodOf("Limited", kind), headers, []);
      if (kind === "Unary" || kind === "Watch")
        assert.deepEqual([answer.code, answer.message], [status.UNIMPLEMENTED, "no request message came"]);
      else
        assert.deepEqual([refusalOf(answer).reason, refusalOf(answer).metadata.problem], ["CONDITION_NOT_MET", "no request message came"]);
      assert.equal(at.service.handled.length, before, kind);
    }
  });

  promise("a caller who leaves while the first message is awaited reaches no handler", async (at) => {
    const { headers } = await at.elevated("Limited");
    for (const kind of ["Import", "Chat"] as const) {
      const before = at.service.handled.length;
      const call = at.client.start(methodOf("Limited", kind), headers);
      await at.client.call(methodOf("Open", "Unary"));
      call.cancel();
      await call.ended;
      await at.client.call(methodOf("Open", "Unary"));
      assert.equal(at.service.handled.length, before + 2, kind);
    }
  });

  promise("the time left is told at the end of a stream, as it is then", async (at) => {
    const { headers } = await at.elevated("Plain", { endsInMs: 60_500 });
    for (const kind of STREAMS) {
      const call = await opened(at, "Plain", kind, headers);
      if (kind === "Watch") await at.advance(10_000);
      call.halfClose();
      await finishing(at, methodOf("Plain", kind));
      const answer = await call.ended;
      assert.deepEqual([answer.code, answer.trailers[WINDOW_ENDS_TRAILER]], [status.OK, "50"], `${kind} ${shownAnswer(answer)}`);
    }
  });
}

function swallowing(promise: ScenePromise): void {
  promise("what still arrives after an early refusal is swallowed, and the connection goes on", async (at) => {
    const headers = at.as(at.person());
    const before = at.service.handled.length;
    const calls = (["Import", "Chat"] as const).flatMap((kind) =>
      Array.from({ length: 20 }, () => at.client.start(methodOf("Plain", kind), headers)),
    );
    for (const call of calls) {
      for (let i = 0; i < 20; i += 1) call.send(Buffer.alloc(500));
      call.halfClose();
    }
    for (const call of calls) assert.equal(refusalOf(await call.ended).reason, "ELEVATION_REQUIRED");
    const left = at.client.start(methodOf("Plain", "Chat"), headers);
    left.send(Buffer.alloc(500));
    left.cancel();
    await left.ended;
    assert.equal(at.service.handled.length, before);
    assert.equal((await at.client.call(methodOf("Open", "Chat"))).code, status.OK);
    assert.ok(at.client.open);
  });

  promise("what still arrives after a refusal in the middle is swallowed, too", async (at) => {
    const { headers } = await at.elevated("Limited");
    const calls = Array.from({ length: 20 }, () => at.client.start(methodOf("Limited", "Chat"), headers));
    for (const call of calls) {
      call.send(requestOf(1));
      call.send(requestOf(501));
      for (let i = 0; i < 20; i += 1) call.send(requestOf(2));
      call.halfClose();
    }
    for (const call of calls) assertEnded(await call.ended, "CONDITION_NOT_MET", "Chat");
    for (const { messages } of at.service.callsOf(methodOf("Limited", "Chat")).slice(-20))
      assert.deepEqual(messages, [requestOf(1)].slice(0, messages.length));
    assert.equal((await at.client.call(methodOf("Open", "Chat"))).code, status.OK);
  });
}

function ending(promise: ScenePromise): void {
  promise("a stream ends with its window, to the millisecond, and its handler is told", async (at) => {
    const { headers } = await at.elevated("Plain", { endsInMs: 8000 });
    const calls = await openAll(at, "Plain", headers);
    await at.advance(8000 - MARGIN_MS);
    await exchange(calls.Chat);
    assert.ok(Object.values(calls).every((call) => !call.over));
    await at.advance(MARGIN_MS);
    for (const kind of STREAMS) assertEnded(await calls[kind].ended, "ELEVATION_EXPIRED", kind);
    await toldHandlers(at, "Plain");
  });

  promise("where the policy lets streams drain, they go on for that long and no longer, and no new call does", async (at) => {
    const { headers } = await at.elevated("Drained", { endsInMs: 2000 });
    const calls = await openAll(at, "Drained", headers);
    const done = await opened(at, "Drained", "Chat", headers);
    await at.advance(2000 + DRAIN_MS - MARGIN_MS);
    await exchange(calls.Chat);
    assert.equal(refusalOf(await at.client.call(methodOf("Drained", "Chat"), headers)).reason, "ELEVATION_EXPIRED");
    done.halfClose();
    await finishing(at, methodOf("Drained", "Chat"));
    const drained = await done.ended;
    assert.deepEqual([drained.code, drained.trailers[WINDOW_ENDS_TRAILER]], [status.OK, "0"], shownAnswer(drained));
    await at.advance(MARGIN_MS);
    for (const kind of STREAMS) assertEnded(await calls[kind].ended, "ELEVATION_EXPIRED", kind);
    await toldHandlers(at, "Drained");
  });

  for (const state of ["REVOKED", "ENDED"] as const)
    promise(`an elevation that is ${state} ends its open streams at once, draining or not`, async (at) => {
      for (const group of ["Plain", "Drained"] as const) {
        const { headers, change } = await at.elevated(group);
        const calls = await openAll(at, group, headers);
        await change({ state });
        for (const kind of STREAMS) assertEnded(await calls[kind].ended, `ELEVATION_${state}`, `${group} ${kind}`);
        await toldHandlers(at, group);
      }
      const { headers, change } = await at.elevated("Drained", { endsInMs: 1000 });
      const draining = await opened(at, "Drained", "Chat", headers);
      await at.advance(2000);
      await exchange(draining);
      await change({ state });
      assertEnded(await draining.ended, `ELEVATION_${state}`, "draining");
    });

  promise("a message that is sent before the end and one that is sent after it part at the end", async (at) => {
    const { headers } = await at.elevated("Limited", { endsInMs: 3000 });
    const call = at.client.start(methodOf("Limited", "Chat"), headers);
    call.send(requestOf(1));
    assert.deepEqual(await call.next(), requestOf(1));
    await at.advance(3000 - MARGIN_MS);
    call.send(requestOf(2));
    assert.deepEqual(await call.next(), requestOf(2));
    await at.advance(MARGIN_MS);
    call.send(requestOf(3));
    assertEnded(await call.ended, "ELEVATION_EXPIRED", "Chat");
    assert.deepEqual(lastOf(at, methodOf("Limited", "Chat")).messages, [requestOf(1), requestOf(2)]);
  });
}

function carryingOn(promise: ScenePromise): void {
  promise("an extension carries open streams on, to its own end", async (at) => {
    for (const group of ["Plain", "Drained"] as const) {
      const { headers, change } = await at.elevated(group, { endsInMs: 4000 });
      const calls = await openAll(at, group, headers);
      await at.advance(3900);
      await change({ startedAgoMs: 3900, endsInMs: 6000 });
      await at.advance(group === "Plain" ? 6000 - MARGIN_MS : 6000 + DRAIN_MS - MARGIN_MS);
      await exchange(calls.Chat);
      await at.advance(MARGIN_MS);
      for (const kind of STREAMS) assertEnded(await calls[kind].ended, "ELEVATION_EXPIRED", `${group} ${kind}`);
    }
  });

  promise("an extension that comes while a stream drains carries it on", async (at) => {
    const { headers, change } = await at.elevated("Drained", { endsInMs: 1000 });
    const call = await opened(at, "Drained", "Chat", headers);
    await at.advance(5000);
    await change({ startedAgoMs: 6000, endsInMs: 60_000 });
    await at.advance(DRAIN_MS);
    await exchange(call);
    call.halfClose();
    await finishing(at, methodOf("Drained", "Chat"));
    assert.equal((await call.ended).code, status.OK);
  });

  promise("overlapping windows never cut each other short: a stream lives as long as one of them", async (at) => {
    const { headers, who, change } = await at.elevated("Plain", { endsInMs: 9000 });
    const other = { id: `elv_other_${who}`, principal: who, group: "Plain" } as const;
    at.authority.elevate({ ...other, endsInMs: 4000 });
    await at.authority.settled();
    const calls = await openAll(at, "Plain", headers);
    await at.advance(5000);
    await exchange(calls.Chat);
    // Another that goes on longer takes over, also where the one that it rested on is revoked.
    at.authority.elevate({ ...other, id: `${other.id}_2`, endsInMs: 10_000 });
    await change({ state: "REVOKED" });
    await exchange(calls.Chat);
    await at.advance(10_000 - MARGIN_MS);
    await exchange(calls.Chat);
    await at.advance(MARGIN_MS);
    for (const kind of STREAMS) assertEnded(await calls[kind].ended, "ELEVATION_EXPIRED", kind);
  });

  promise("streams that need no elevation are left alone", async (at) => {
    const call = await opened(at, "Known", "Chat", at.as(at.person()));
    const open = await opened(at, "Open", "Watch", []);
    await at.advance(60_000);
    await exchange(call);
    for (const each of [call, open]) each.halfClose();
    await finishing(at, methodOf("Known", "Chat"));
    await finishing(at, methodOf("Open", "Watch"));
    assert.deepEqual([(await call.ended).code, (await open.ended).code], [status.OK, status.OK]);
  });
}

/** For a scene of its own: the policy changes under open streams. */
export async function narrowedStreams(at: GuardScene): Promise<void> {
  const { headers } = await at.elevated("Plain");
  const calls = await openAll(at, "Plain", headers);
  at.authority.applyPolicy(
    policyText()
      .replaceAll(/(Plain\w+): \{ access: elevated \}/g, "$1: { access: forbidden }")
      .replace(/ {2}plain:[^]*?(?= {2}drained:)/, ""),
  );
  await at.authority.settled();
  for (const kind of STREAMS) assertEnded(await calls[kind].ended, "METHOD_FORBIDDEN", kind);
}

type Stream = (typeof STREAMS)[number];

/** A stream whose handler runs and waits: for messages, or, where there are no more, for {@link finishing}. */
async function opened(at: GuardScene, group: Group, kind: Kind, headers: Headers): Promise<WireCall> {
  const method = methodOf(group, kind);
  const before = at.service.callsOf(method).length;
  const call = at.client.start(method, headers);
  await at.service.during(lasting, async () => {
    call.send(requestOf(1));
    if (kind === "Watch") call.halfClose();
    await at.service.until(() => (at.service.callsOf(method)[before]?.messages.length ?? 0) > 0, `the first message of ${method}`);
  });
  if (kind === "Chat") assert.deepEqual(await call.next(), requestOf(1));
  return call;
}

async function openAll(at: GuardScene, group: Group, headers: Headers): Promise<Record<Stream, WireCall>> {
  return {
    Watch: await opened(at, group, "Watch", headers),
    Import: await opened(at, group, "Import", headers),
    Chat: await opened(at, group, "Chat", headers),
  };
}

/** Echoes; a call whose one message was sent at once stays open until it is finished. */
async function lasting(call: HandledCall): Promise<void> {
  if (!call.halfClosed) await echo(call);
}

/** Ends what of a method is still open at the handler. */
async function finishing(at: GuardScene, method: string): Promise<void> {
  const last = lastOf(at, method);
  await at.service.until(() => last.halfClosed, "the caller's half-close");
  last.end();
}

/** One message there and back. */
async function exchange(call: WireCall): Promise<void> {
  call.send(requestOf(2));
  assert.deepEqual(await call.next(), requestOf(2), "the stream goes on");
}

async function toldHandlers(at: GuardScene, group: Group): Promise<void> {
  for (const kind of STREAMS) {
    const handled = lastOf(at, methodOf(group, kind));
    await at.service.until(() => handled.cancelled, `the handler of ${handled.method} to be told`);
  }
}

function lastOf(at: GuardScene, method: string): HandledCall {
  const handled = at.service.callsOf(method).at(-1);
  assert.ok(handled, `a call of ${method}`);
  return handled;
}

/** Ended after it was let through, and for this reason: no client may take it for a call that never was. */
function assertEnded(answer: WireAnswer, reason: string, what: string): void {
  const refusal = refusalOf(answer);
  assert.deepEqual(
    [refusal.reason, refusal.code, refusal.trailersOnly, refusal.pushback],
    [reason, codeName(status.PERMISSION_DENIED), false, "-1"],
    `${what}: ${shownAnswer(answer)}`,
  );
}
