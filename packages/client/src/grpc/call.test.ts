import assert from "node:assert/strict";
import { test } from "node:test";
import { type InterceptorOptions, Metadata, type NextCall, status } from "@grpc/grpc-js";
import { AUDIENCE, call, Scene } from "../testdata/scene.ts";
import { elevate } from "./grpc.ts";

type InnerCall = ReturnType<NextCall>;
type Listener = NonNullable<Parameters<InnerCall["start"]>[1]>;

/** The bottom of a stack of interceptors: codes the message, and answers at once. */
class Answering implements InnerCall {
  readonly #options: InterceptorOptions;
  #listener: Partial<Listener> = {};
  constructor(options: InterceptorOptions) {
    this.#options = options;
  }
  start(_metadata: Metadata, listener: Partial<Listener> = {}): void {
    this.#listener = listener;
  }
  sendMessageWithContext(_context: object, sent: unknown): void {
    this.#options.method_definition.requestSerialize(sent);
  }
  sendMessage(): void {}
  startRead(): void {}
  halfClose(): void {
    this.#listener.onReceiveMetadata?.(headers);
    this.#listener.onReceiveMessage?.("response");
    this.#listener.onReceiveStatus?.(ok);
  }
  cancelWithStatus(): void {}
  getPeer(): string {
    return "peer";
  }
  getAuthContext(): null {
    return null;
  }
}

const headers = new Metadata();
const ok = { code: status.OK, details: "", metadata: new Metadata() };
const bytes = (value: Buffer): Buffer => value;
const definition = {
  path: "/test.v1.Ledger/Refund",
  requestStream: false,
  responseStream: false,
  requestSerialize: bytes,
  responseDeserialize: bytes,
};
const message = Buffer.from("1");

/** A call, as grpc-js makes one through an interceptor. */
function make(interceptor: (options: InterceptorOptions, next: NextCall) => InnerCall, given: Metadata, listener: Listener): InnerCall {
  // It makes a definition for each call.
  const options: InterceptorOptions = { method_definition: { ...definition } };
  const made = interceptor(options, () => new Answering(options));
  made.start(given, listener);
  made.sendMessageWithContext({}, message);
  made.halfClose();
  return made;
}

test("a call that needs nothing costs microseconds", (context) => {
  const interceptor = elevate({ authority: "https://brevet.test", audience: AUDIENCE, identity: () => "token" });
  let answered = 0;
  const listener: Listener = { onReceiveMetadata() {}, onReceiveMessage() {}, onReceiveStatus: () => void (answered += 1) };
  const given = new Metadata();
  const many = 10_000;
  const plain: Parameters<typeof make>[0] = (options) => new Answering(options);
  const spentUs = (one: Parameters<typeof make>[0]) => {
    const began = performance.now();
    for (let n = 0; n < many; n += 1) make(one, given, listener);
    return ((performance.now() - began) * 1000) / many;
  };
  // Turn by turn, so that what else the machine does falls on both.
  const rounds = Array.from({ length: 7 }, () => -spentUs(plain) + spentUs(interceptor)).toSorted((a, b) => a - b);
  const addedUs = rounds[3] ?? Number.NaN;
  assert.equal(answered, 14 * many);
  context.diagnostic(`${addedUs.toFixed(2)} µs added to a call`);
  // The target is 2; a machine that is busy with other tests gets some room.
  assert.ok(addedUs < 15, `${addedUs} µs`);
});

test("the authority's token is the program's affair too: without it the call ends, and says for whom it was missing", async () => {
  await using scene = await Scene.open();
  const identity = (audience: string): string => {
    if (audience === "brevet") throw new Error("no such scope");
    return scene.identity(audience);
  };
  const answer = await call(scene.client({ identity })).answer;
  assert.deepEqual([answer.code, answer.status.reason], [status.UNAUTHENTICATED, "IDENTITY_MISSING"]);
  assert.match(answer.message, /no identity token for brevet: no such scope/);
});

test("an approval that came while nobody waited lets the next call start the window", async () => {
  await using scene = await Scene.open();
  const sam = await scene.as("user:sam@test");
  const { elevation } = await sam.request({ requestId: "request-1", audience: AUDIENCE, method: "test.v1.Ledger/Refund" });
  const id = elevation?.id ?? "";
  await scene.approve(id);
  assert.equal((await scene.mine())[0]?.windowStart, undefined);
  const answer = await call(scene.client()).answer;
  assert.equal(answer.code, status.OK);
  assert.deepEqual(
    scene.events.map(({ kind }) => kind),
    ["asked", "approved", "running", "window"],
  );
  assert.ok((await scene.mine())[0]?.windowStart);
  assert.deepEqual(scene.seen.at(-1)?.elevations, [id]);
});
