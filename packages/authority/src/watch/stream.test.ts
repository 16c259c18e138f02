// When streams end by themselves, and how they show that they live, on a clock that only moves when told.
import assert from "node:assert/strict";
import { test } from "node:test";
import { TestClock } from "@brevet/testing";
import { Mailbox } from "./mailbox.ts";
import { Refused, tooSlow } from "./refused.ts";
import { heartbeats, lifeOf } from "./stream.ts";
import { WaitingCalls } from "./waiting.ts";

const caller = (expiresMs: number) => ({ principalFor: () => undefined, audiences: () => [], name: "", expiresMs });

test("a stream ends with the identity that opened it, as something to connect again for", async () => {
  const clock = new TestClock();
  using mailbox = new Mailbox<{ beat: true }>(10, tooSlow);
  const never = new AbortController().signal;
  using life = lifeOf({ mailbox, signal: never, drain: never, clock, caller: caller(clock.wallMs() + 60_000) });
  clock.advance(59_999);
  mailbox.push({ beat: true });
  const reading = mailbox[Symbol.asyncIterator]();
  assert.equal((await reading.next()).done, false);
  clock.advance(1);
  assert.ok(!life.disposed);
  await assert.rejects(reading.next(), (error) => error instanceof Refused && error.denial.reason === "AUTHORITY_UNREACHABLE");
});

test("a stream that ended holds no timer and hears nothing", () => {
  const clock = new TestClock();
  using mailbox = new Mailbox<{ beat: true }>(10, tooSlow);
  const never = new AbortController().signal;
  const life = lifeOf({ mailbox, signal: never, drain: never, clock, caller: caller(clock.wallMs() + 60_000) });
  life.use(heartbeats(clock, () => mailbox.push({ beat: true })));
  clock.advance(30_000);
  assert.equal(mailbox.length, 3, "one every ten seconds");
  life[Symbol.dispose]();
  assert.equal(clock.pending, 0);
});

test("an identity without an end in sight sets no timer that would fire too early", () => {
  const clock = new TestClock();
  using mailbox = new Mailbox<{ beat: true }>(10, tooSlow);
  const never = new AbortController().signal;
  using life = lifeOf({ mailbox, signal: never, drain: never, clock, caller: caller(clock.wallMs() + 365 * 24 * 3_600_000) });
  assert.deepEqual([clock.pending, life.disposed], [0, false]);
});

test("a call that is about to watch counts as waiting, for a moment", () => {
  const clock = new TestClock();
  const waiting = new WaitingCalls(clock);
  waiting.expect("elv_1");
  const held = waiting.hold("elv_1");
  clock.advance(30_000);
  assert.ok(waiting.isWaiting("elv_1"), "the watch that came holds it");
  held[Symbol.dispose]();
  held[Symbol.dispose]();
  assert.ok(!waiting.isWaiting("elv_1"));
  waiting.expect("elv_1");
  assert.ok(waiting.isWaiting("elv_1"));
  clock.advance(30_000);
  assert.ok(!waiting.isWaiting("elv_1"));
});
