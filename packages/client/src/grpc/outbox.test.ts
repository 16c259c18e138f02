import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { type BufferLimit, type InnerCall, type MessageContext, Outbox } from "./outbox.ts";

/** The call below: takes messages when it is told to, as a network does. */
class Below implements InnerCall {
  readonly taken: string[] = [];
  ended = 0;
  #pending: { readonly context: MessageContext; readonly message: string }[] = [];
  sendMessageWithContext(context: MessageContext, message: unknown): void {
    this.#pending.push({ context, message: String(message) });
    // Interceptors of grpc-js have room for one.
    if (context.callback === undefined || this.#pending.length > 1) throw new Error("a second message before the first was taken");
  }
  /** Takes the next message; false where there is none. */
  take(): boolean {
    const next = this.#pending.shift();
    if (next === undefined) return false;
    this.taken.push(next.message);
    next.context.callback?.();
    return true;
  }
  sendMessage(): void {}
  start(): void {}
  startRead(): void {}
  halfClose(): void {
    assert.equal(this.#pending.length, 0);
    this.ended += 1;
  }
  cancelWithStatus(): void {}
  getPeer(): string {
    return "peer";
  }
  getAuthContext(): null {
    return null;
  }
}

const serialise = (message: unknown): Buffer => Buffer.from(String(message));
const ticks = () => new Promise((resolve) => setImmediate(resolve));

/** A writer like Node's: the next message when the one before is taken. */
class Writer {
  readonly #outbox: Outbox;
  readonly #left: string[];
  told = 0;
  #busy = false;
  constructor(outbox: Outbox, messages: readonly string[]) {
    this.#outbox = outbox;
    this.#left = [...messages];
  }
  step(): void {
    const message = this.#busy ? undefined : this.#left.shift();
    if (message === undefined) return;
    this.#busy = true;
    let isTold = false;
    const callback = () => {
      assert.ok(!isTold, "told once");
      isTold = true;
      this.#busy = false;
      this.told += 1;
      if (this.#left.length === 0) this.#outbox.halfClose();
    };
    this.#outbox.write({ callback }, message);
  }
  get done(): boolean {
    return !this.#busy && this.#left.length === 0;
  }
}

type Move = "write" | "take" | "tick" | "refuse" | "admit";

async function story(messages: readonly string[], limit: BufferLimit, moves: readonly Move[]): Promise<void> {
  const outbox = new Outbox(limit, serialise, true);
  const writer = new Writer(outbox, messages);
  let below: Below | undefined;
  let calls = 0;
  let admitted = false;
  let isLost = false;
  for (const move of [...moves, ...Array.from({ length: messages.length + 2 }, (): Move[] => ["write", "tick", "take", "tick"]).flat()]) {
    if (move === "write") writer.step();
    else if (move === "tick") await ticks();
    else if (below === undefined) {
      // Issued, for the first time or again.
      calls += 1;
      below = new Below();
      outbox.open(below, calls === 1);
    } else if (move === "take") below.take();
    else if (move === "admit") {
      admitted = true;
      outbox.release();
    } else if (calls === 1 && !admitted) {
      if (!outbox.whole) {
        isLost = true;
        break;
      }
      outbox.close();
      below = undefined;
    }
  }
  if (isLost) {
    outbox.end();
    // What went straight through is between the writer and the call below.
    below?.take();
    await ticks();
    for (let n = 0; n < 2 * messages.length + 2; n += 1) {
      writer.step();
      await ticks();
    }
    assert.ok(writer.done, "no writer is left waiting");
    return;
  }
  while (below?.take() === true) {
    writer.step();
    await ticks();
  }
  assert.deepEqual(below?.taken, messages);
  assert.equal(writer.told, messages.length);
  assert.equal(below?.ended, messages.length === 0 ? 0 : 1);
}

test("in whatever order things happen, the last call gets every message once, in order, then the end; the writer is told of each once", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ maxLength: 8 }), { maxLength: 12 }).map((texts) => texts.map((text, n) => `${n} ${text}`)),
      fc.record({ messages: fc.integer({ min: 0, max: 14 }), bytes: fc.integer({ min: 0, max: 120 }) }),
      fc.array(
        fc.oneof(
          { weight: 4, arbitrary: fc.constantFrom<Move>("write", "take", "tick") },
          { weight: 1, arbitrary: fc.constantFrom<Move>("refuse", "admit") },
        ),
        { maxLength: 60 },
      ),
      story,
    ),
    { numRuns: 400 },
  );
});

test("what is kept ends with the buffer: one message or one byte more, and the call is past it", () => {
  for (const [limit, sent, isWhole] of [
    [{ messages: 2, bytes: 10 }, ["a", "b"], true],
    [{ messages: 2, bytes: 10 }, ["a", "b", "c"], false],
    [{ messages: 9, bytes: 4 }, ["ab", "cd"], true],
    [{ messages: 9, bytes: 4 }, ["ab", "cde"], false],
  ] as const) {
    const outbox = new Outbox(limit, serialise, true);
    for (const message of sent) outbox.write({}, message);
    assert.equal(outbox.whole, isWhole, sent.join(" "));
  }
});
