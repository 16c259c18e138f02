import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { InterceptingCall, type Interceptor, type NextCall, status } from "@grpc/grpc-js";
import * as fc from "fast-check";
import { connectAuthority } from "../client.ts";
import { begin, DESK_AUDIENCE, EACH_KIND, Guarded, type Running } from "../testdata/guarded.ts";
import { type Answer, required, Scene, stream, until } from "../testdata/scene.ts";
import { ElevatedCall } from "./call.ts";
import { Credentials } from "./credentials.ts";
import { checkOptions } from "./options.ts";
import type { BufferLimit } from "./outbox.ts";
import { Parking } from "./parking.ts";
import { statusOf } from "./refusal.ts";
import { Warnings } from "./warnings.ts";

const STREAMED = ["Import", "Chat"] as const;
const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n));

const isOk = ({ code }: Answer): boolean => code === 0;

/** Writes as a careful program does: waits where it is told to. */
async function send({ writing }: Running, messages: Iterable<string>): Promise<void> {
  for (const message of messages)
    if (writing?.write(Buffer.from(message)) === false) await new Promise((resolve) => writing.once("drain", resolve));
}

test("a refused call of any kind waits for a person and runs: the service gets every message, in order, once", async () => {
  for (const method of EACH_KIND) {
    await using desk = await Guarded.open();
    const sent = method === "Import" || method === "Chat" ? ["a", "b", "c", "d", "e"] : ["a"];
    const { answer } = begin(desk.client(), method, sent);
    await desk.approve((await desk.event("waiting")).elevation);
    const { code, message, response } = await answer;
    assert.equal(code, status.OK, `${method}: ${message}`);
    assert.equal(response, { Refund: "done a", List: "a", Import: "read 5", Chat: "a+b+c+d+e" }[method]);
    assert.deepEqual(desk.handled, [{ method, messages: sent }]);
    assert.deepEqual(
      desk.events.map(({ kind }) => kind),
      ["asked", "waiting", "approved", "running", "window"],
      method,
    );
  }
});

test("an approved call of any kind runs though the guard has not heard of the approval: it is shown the grant", async () => {
  for (const method of EACH_KIND) {
    await using desk = await Guarded.open();
    desk.cut();
    const streams = method === "Import" || method === "Chat";
    const sent = streams ? numbers(90) : ["a"];
    const running = begin(desk.client({ buffer: { messages: 20 } }), method, streams ? undefined : sent);
    const writing = streams ? send(running, sent.slice(0, 1)) : undefined;
    const { elevation } = await desk.event("waiting");
    // More than is kept: its writer waits for room, and goes on as soon as the call is issued again.
    const rest = writing?.then(() => send(running, sent.slice(1))).then(() => running.writing?.end());
    await desk.approve(elevation);
    const { code, message } = await running.answer;
    assert.equal(code, status.OK, `${method}: ${message}`);
    await rest;
    assert.deepEqual(desk.handled, [{ method, messages: sent }]);
    assert.equal((await desk.mine()).length, 1);
    assert.deepEqual(
      desk.events.map(({ kind }) => kind),
      ["asked", "waiting", "approved", "running", "window"],
      method,
    );
  }
});

test("a program goes on writing into a parked call until the buffer is full, then waits, and nothing is lost", async () => {
  for (const method of STREAMED) {
    await using desk = await Guarded.open();
    const running = begin(desk.client({ buffer: { messages: 30 } }), method);
    await send(running, ["0"]);
    const { elevation } = await desk.event("waiting");
    let written = 1;
    const writing = (async () => {
      for (const message of numbers(200).slice(1)) {
        await send(running, [message]);
        written += 1;
      }
      running.writing?.end();
    })();
    // Thirty in the buffer, one that waits for room, and up to fifteen in Node's own.
    await until(() => written >= 30);
    await pause(50);
    assert.ok(written < 50, `${written}`);
    await desk.approve(elevation);
    await writing;
    const { code, message } = await running.answer;
    assert.equal(code, status.OK, message);
    assert.deepEqual(desk.handled, [{ method, messages: numbers(200) }]);
  }
});

test("a call that sent more than the buffer is not parked: it asks, ends at once, and names what it asked for", async () => {
  for (const [method, buffer] of [
    ["Import", { messages: 4 }],
    ["Chat", { bytes: 8 }],
    ["Import", { messages: 0 }],
  ] as const) {
    await using desk = await Guarded.open();
    const client = desk.client({ buffer });
    const answer = await begin(client, method, numbers(12)).answer;
    assert.deepEqual([answer.code, answer.status.reason], [status.PERMISSION_DENIED, "ELEVATION_REQUIRED"]);
    const [mine, ...others] = await desk.mine();
    assert.equal(others.length, 0);
    assert.deepEqual([answer.status.metadata.elevation, answer.status.metadata.state], [mine?.id, "PENDING"]);
    assert.match(answer.status.metadata.decisionId ?? "", /^dec_/);
    assert.match(
      answer.message,
      new RegExp(`Asked for ${mine?.id} \\(desk\\); call again after the approval. Run: brevet show ${mine?.id}`),
    );
    assert.deepEqual(
      desk.events.map(({ kind }) => kind),
      ["asked"],
    );
    // Nobody waits: the window starts with the first use.
    await desk.approve(mine?.id ?? "");
    assert.equal((await desk.mine())[0]?.windowStart, undefined);
    const again = await until(async () => {
      const next = await begin(client, method, numbers(12)).answer;
      return isOk(next) && next;
    });
    assert.equal(again.code, status.OK);
    assert.deepEqual(desk.handled, [{ method, messages: numbers(12) }]);
    assert.equal((await desk.mine()).length, 1);
  }
});

test("past the buffer an elevation that has to be shown is shown by the call after the next", async () => {
  await using desk = await Guarded.open();
  const client = desk.client({ buffer: { messages: 0 } });
  const first = await begin(client, "Show", numbers(3)).answer;
  await desk.approve(first.status.metadata.elevation ?? "");
  const codes: number[] = [];
  await until(async () => {
    codes.push((await begin(client, "Show", numbers(3)).answer).code);
    return codes.at(-1) === status.OK;
  });
  assert.deepEqual(desk.handled, [{ method: "Show", messages: numbers(3) }]);
  assert.equal((await desk.mine()).length, 1);
});

test("past the buffer an authority that is away takes nothing from the refusal", async () => {
  await using desk = await Guarded.open();
  const lines: string[] = [];
  const logger = { info: () => {}, warn: (_: object, message: string) => lines.push(message) };
  const client = desk.client({ buffer: { messages: 1 }, authority: "http://127.0.0.1:1", logger });
  const answer = await begin(client, "Import", numbers(3), { deadline: Date.now() + 1000 }).answer;
  assert.equal(answer.status.reason, "ELEVATION_REQUIRED");
  assert.match(answer.message, /Run: brevet request test\.v1\.Desk\/Import/);
  assert.ok(lines.includes("brevet: the authority is away; nothing was asked for"));
});

test("a parked call of any kind can be cancelled, and is not issued again", async () => {
  for (const method of EACH_KIND) {
    await using desk = await Guarded.open();
    const running = begin(desk.client({ buffer: { messages: 2 } }), method);
    await send(running, ["0"]);
    const { elevation } = await desk.event("waiting");
    const written = send(running, numbers(40));
    running.cancel();
    const { code, message } = await running.answer;
    assert.deepEqual([code, message], [status.CANCELLED, "Cancelled on client"]);
    // A writer that waited for room goes on.
    await written;
    await desk.approve(elevation);
    // The guard knows by now, and would have let it in.
    const next = begin(desk.client(), "Refund", ["next"]);
    assert.equal((await next.answer).code, status.OK);
    assert.deepEqual(desk.handled, [{ method: "Refund", messages: ["next"] }]);
  }
});

test("the deadline of a call of any kind stands still while a person is waited for, and goes on afterwards", async () => {
  for (const method of EACH_KIND) {
    await using desk = await Guarded.open();
    const { answer } = begin(desk.client(), method, ["a"], { deadline: Date.now() + 700 });
    const { elevation } = await desk.event("waiting");
    await pause(800);
    await desk.approve(elevation);
    assert.equal((await answer).code, status.OK, method);
    const late = begin(desk.client(), "Chat", undefined, { deadline: Date.now() + 150 });
    assert.equal((await late.answer).code, status.DEADLINE_EXCEEDED);
  }
});

test("a program that ends its side while the call is parked ends it for the service too", async () => {
  for (const method of STREAMED) {
    await using desk = await Guarded.open();
    const running = begin(desk.client(), method);
    await send(running, ["a"]);
    const { elevation } = await desk.event("waiting");
    await send(running, ["b"]);
    running.writing?.end();
    await desk.approve(elevation);
    assert.equal((await running.answer).code, status.OK);
    assert.deepEqual(desk.handled, [{ method, messages: ["a", "b"] }]);
  }
});

test("a stream that says nothing before it is answered is parked and issued again all the same", async () => {
  await using desk = await Guarded.open();
  const running = begin(desk.client(), "Chat");
  await desk.approve((await desk.event("waiting")).elevation);
  await desk.event("running");
  await send(running, ["a"]);
  await until(() => running.received.length === 1);
  running.writing?.end();
  assert.deepEqual([(await running.answer).code, running.received], [status.OK, ["a"]]);
});

test("what is sent again is what was sent, whatever the program did to its objects since", async () => {
  for (const method of EACH_KIND) {
    await using desk = await Guarded.open();
    const kept = Buffer.from("first");
    const sent = ["first", "other", "third"];
    const running = begin(desk.client(), method, method === "Import" || method === "Chat" ? undefined : ["first"]);
    if (running.writing !== undefined) {
      for (const message of sent) {
        kept.write(message);
        // The same object once the call has taken it, as programs do that read a file.
        await new Promise<void>((resolve) => running.writing?.write(kept, () => resolve()));
      }
      running.writing.end();
    }
    const { elevation } = await desk.event("waiting");
    kept.write("XXXXX");
    await desk.approve(elevation);
    assert.equal((await running.answer).code, status.OK);
    assert.deepEqual(desk.handled, [{ method, messages: running.writing === undefined ? ["first"] : sent }]);
  }
});

test("a request that is changed after the call was made is not changed for the service", async () => {
  await using desk = await Guarded.open();
  const request = { amount: 1 };
  const code = (value: { amount: number }) => Buffer.from(JSON.stringify(value));
  const answers: Promise<string>[] = [];
  // Those of the second wait for a token before they are even sent.
  const clients = [desk.client(), desk.client({ identity: async (audience) => Promise.resolve(desk.identity(audience)) })];
  for (const amount of [1, 2, 3, 4]) {
    request.amount = amount;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    answers.push(promise);
    clients[amount % 2]?.makeUnaryRequest("/test.v1.Desk/Refund", code, String, request, (error, value) =>
      error ? reject(error) : resolve(value ?? ""),
    );
  }
  request.amount = 5;
  await desk.approve((await desk.event("waiting")).elevation);
  assert.deepEqual(
    await Promise.all(answers),
    [1, 2, 3, 4].map((amount) => `done {"amount":${amount}}`),
  );
  const held = Buffer.from("first");
  const migrating = Promise.withResolvers<string>();
  const bytes = (value: Buffer) => value;
  desk
    .client()
    .makeUnaryRequest("/test.v1.Desk/Migrate", bytes, String, held, (error, value) =>
      error ? migrating.reject(error) : migrating.resolve(value ?? ""),
    );
  const [migration] = await until(async () => {
    const mine = await desk.mine();
    return mine.length === 2 && mine;
  });
  held.write("XXXXX");
  await desk.approve(migration?.id ?? "");
  assert.equal(await migrating.promise, "done first");
});

test("interceptors below it may take their time with metadata and messages", async () => {
  await using desk = await Guarded.open();
  const slow: Interceptor = (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => void setTimeout(() => next(metadata, listener), 5),
      sendMessage: (message, next) => void setTimeout(() => next(message), 1),
    });
  for (const method of EACH_KIND) {
    const sent = method === "Import" || method === "Chat" ? numbers(20) : ["a"];
    const { answer } = begin(desk.client({}, [slow]), method, sent);
    if (method === "Refund") await desk.approve((await desk.event("waiting")).elevation);
    assert.equal((await answer).code, status.OK);
    assert.deepEqual(desk.handled.at(-1), { method, messages: sent });
  }
});

test("a call that waits for its token keeps what the program sends, and ends its side after it", async () => {
  await using desk = await Guarded.open();
  const token = Promise.withResolvers<void>();
  const client = desk.client({
    identity: async (audience) => {
      if (audience !== "brevet") await token.promise;
      return desk.identity(audience);
    },
    buffer: { messages: 5 },
  });
  const running = STREAMED.map((method) => begin(client, method, numbers(50)));
  token.resolve();
  for (const { answer } of running) assert.equal((await answer).status.reason, "ELEVATION_REQUIRED");
  await desk.approve((await desk.mine())[0]?.id ?? "");
  await until(async () => isOk(await begin(client, "Refund", ["a"]).answer));
  for (const method of STREAMED) {
    assert.equal((await begin(client, method, numbers(50)).answer).code, status.OK);
    assert.deepEqual(desk.handled.at(-1), { method, messages: numbers(50) });
  }
});

test("a channel that was closed while a stream was parked ends it as UNAVAILABLE, and its writer goes on", async () => {
  for (const method of STREAMED) {
    await using desk = await Guarded.open();
    const client = desk.client({ buffer: { messages: 2 } });
    const running = begin(client, method);
    await send(running, ["0"]);
    const { elevation } = await desk.event("waiting");
    const written = send(running, numbers(40));
    client.close();
    await desk.approve(elevation);
    assert.equal((await running.answer).code, status.UNAVAILABLE);
    await written;
  }
});

test("a stream that ran and is ended later is not issued again: its end goes to the program as it is", async () => {
  await using desk = await Guarded.open();
  const first = begin(desk.client(), "List", ["a"]);
  await desk.approve((await desk.event("waiting")).elevation);
  await first.answer;
  // The guard may not have heard of the approval by itself yet.
  const asked = () => desk.events.filter(({ kind }) => kind === "asked").length;
  await until(async () => {
    const before = asked();
    await begin(desk.client(), "List", ["a"]).answer;
    return asked() === before;
  });
  const ran = desk.handled.length;
  desk.listing = function* () {
    yield "b";
    const method = "test.v1.Desk/List";
    throw statusOf({ reason: "ELEVATION_REQUIRED", message: `${method} made up`, metadata: { method, audience: DESK_AUDIENCE } });
  };
  const from = desk.events.length;
  const ended = begin(desk.client(), "List", ["a"]);
  assert.equal((await ended.answer).status.reason, "ELEVATION_REQUIRED");
  assert.deepEqual(ended.received, ["b"]);
  assert.equal(desk.handled.length, ran + 1);
  assert.deepEqual(desk.events.slice(from), []);
});

test("a stream that the guard ends when its elevation is over is not parked, and says why", async () => {
  for (const method of STREAMED) {
    await using desk = await Guarded.open();
    const running = begin(desk.client(), method);
    await send(running, ["a"]);
    const { elevation } = await desk.event("waiting");
    await desk.approve(elevation);
    await until(() => desk.handled[0]?.messages.length === 1);
    const from = desk.events.findIndex(({ kind }) => kind === "running") + 1;
    await (await desk.as("user:sam@test")).end({ id: elevation, requestId: `end-the-${method}` });
    assert.equal((await running.answer).status.reason, "ELEVATION_ENDED", method);
    assert.deepEqual(desk.events.slice(from), []);
    assert.deepEqual(desk.handled, [{ method, messages: ["a"] }]);
  }
});

test("a stream that ran after the approval, and is ended with another window, is not issued once more", async () => {
  await using scene = await Scene.open();
  const method = "List";
  const expired = () => {
    const now = new Date().toISOString();
    return required({ method, reason: "ELEVATION_EXPIRED", metadata: { elevation: "elv_other", serverTime: now, expiredAt: now } });
  };
  scene.rule = (_, count) => (count === 1 ? required({ method }) : expired());
  const answer = stream(scene.client(), method, ["a"]);
  await scene.approve((await scene.event("waiting")).elevation);
  assert.equal((await answer).status.reason, "ELEVATION_EXPIRED");
  assert.equal(scene.seen.length, 2);
});

test("a stream that is ended with its window before any response header is not taken for one that was held back", async () => {
  for (const method of ["List", "Import", "Chat"] as const) {
    await using scene = await Scene.open();
    const serverTime = new Date().toISOString();
    const before = (ms: number) => new Date(Date.parse(serverTime) - ms).toISOString();
    const expired = (expiredAt: string) => required({ method, reason: "ELEVATION_EXPIRED", metadata: { serverTime, expiredAt } });
    const client = scene.client({ choose: () => "refund" });
    scene.rule = () => expired(before(20));
    assert.equal((await stream(client, method, ["a", "b"])).status.reason, "ELEVATION_EXPIRED");
    assert.ok(!scene.audiences.includes("brevet"), "nobody was asked");
    scene.rule = () => expired(before(60_000));
    assert.notEqual((await stream(client, method, ["a", "b"])).status.reason, "ELEVATION_EXPIRED");
    assert.ok(scene.audiences.includes("brevet"));
  }
});

test("a call that was cancelled while it was parked leaves nothing behind", async () => {
  await using desk = await Guarded.open();
  const settings = checkOptions(desk.options());
  using session = connectAuthority({ authority: settings.authority, identity: settings.identity });
  const credentials = new Credentials(settings, session);
  const warnings = new Warnings({ clock: settings.clock, beforeMs: 0, onProgress: undefined, logger: undefined });
  const means = { settings, credentials, parking: new Parking(settings, session, credentials, warnings), warnings, report: () => {} };
  const client = desk.plainClient([
    (options, nextCall) => {
      const made: ReturnType<NextCall> = new ElevatedCall(means, options.method_definition.path.slice(1), options, nextCall);
      return made as InterceptingCall;
    },
  ]);
  const running = EACH_KIND.map((method) => begin(client, method, ["a"]));
  await until(() => desk.events.filter(({ kind }) => kind === "waiting").length === running.length && session.watching);
  for (const { cancel } of running) cancel();
  for (const { answer } of running) assert.equal((await answer).code, status.CANCELLED);
  await until(() => !session.watching);
  assert.equal(means.parking.waiting, 0);
});

test("in a chain only the outermost client asks, whatever the kind of the call", async () => {
  await using desk = await Guarded.open();
  const hop = desk.client({ buffer: { messages: 1 } });
  for (const method of EACH_KIND) {
    desk.relay = async (parent) => {
      const sent = method === "Import" || method === "Chat" ? numbers(3) : ["a"];
      return (await begin(hop, method, sent, { parent }).answer).status.reason ?? "OK";
    };
    const outer = await begin(desk.client(), "Relay", ["for another"]).answer;
    assert.deepEqual([outer.code, outer.response], [status.OK, "ELEVATION_REQUIRED"], method);
  }
  assert.deepEqual(await desk.mine(), []);
  assert.deepEqual(desk.events, []);
});

test("ten thousand messages go both ways through a call that was parked, with back-pressure, none lost", async () => {
  await using desk = await Guarded.open();
  const running = begin(desk.client({ buffer: { messages: 50 } }), "Chat");
  const sending = (async () => {
    await send(running, numbers(20));
    await desk.approve((await desk.event("waiting")).elevation);
    await send(running, numbers(10_000).slice(20));
    running.writing?.end();
  })();
  const { code, message } = await running.answer;
  await sending;
  assert.equal(code, status.OK, message);
  assert.deepEqual(running.received, numbers(10_000));
  desk.listing = () => numbers(10_000);
  const listed = begin(desk.client(), "List", ["all"]);
  assert.equal((await listed.answer).code, status.OK);
  assert.deepEqual(listed.received, numbers(10_000));
});

test("however messages are cut and timed, around the refusal and the approval: all of them, in order, once, or a refusal and none", async () => {
  const chunks = fc.array(fc.record({ bytes: fc.integer({ min: 0, max: 9000 }), waitMs: fc.integer({ min: -8, max: 6 }) }), {
    maxLength: 40,
  });
  const limits = fc.record({ messages: fc.integer({ min: 0, max: 30 }), bytes: fc.integer({ min: 0, max: 60_000 }) });
  const story = async (
    method: (typeof STREAMED)[number],
    sent: { bytes: number; waitMs: number }[],
    buffer: BufferLimit,
    approveMs: number,
  ) => {
    await using desk = await Guarded.open();
    const running = begin(desk.client({ buffer }), method);
    const messages = sent.map(({ bytes }, n) => `${n}:`.padEnd(bytes, "x"));
    const sending = (async () => {
      for (const [n, { waitMs }] of sent.entries()) {
        if (waitMs > 0) await pause(waitMs);
        await send(running, messages.slice(n, n + 1));
      }
      running.writing?.end();
    })();
    const asked = await desk.event("asked");
    await pause(approveMs);
    await desk.approve(asked.elevation);
    const answer = await running.answer;
    await sending;
    const wasParked = isOk(answer);
    assert.deepEqual(desk.handled, wasParked ? [{ method, messages }] : []);
    if (wasParked && method === "Chat") assert.deepEqual(running.received, messages);
    if (!wasParked) assert.equal(answer.status.metadata.elevation, asked.elevation, answer.message);
    const total = messages.join("").length;
    if (messages.length <= buffer.messages && total <= buffer.bytes) assert.ok(wasParked, "it was within the buffer");
  };
  await fc.assert(fc.asyncProperty(fc.constantFrom(...STREAMED), chunks, limits, fc.integer({ min: 0, max: 40 }), story), { numRuns: 15 });
});
