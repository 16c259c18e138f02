// What time it was is known to the minute, also where nothing happened and the process was killed.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { TestClock } from "@brevet/testing";
import { openEmbeddedStore } from "../store/embedded/embedded.ts";
import { lastKnownMs, TimeNotes } from "./known-time.ts";

/** A place for notes that may be full. */
class Notebook {
  readonly notes: number[] = [];
  full = false;

  async get(): Promise<undefined> {}

  async set(_name: string, value: Uint8Array): Promise<void> {
    if (this.full) throw new Error("the disk is full");
    this.notes.push(Number(Buffer.from(value).toString()));
  }
}

/** A store without entries, with a place for notes. */
const storeWith = (secrets: Notebook) => ({ secrets, head: async () => ({ epoch: "", revision: 0n, timeMs: 0, frontier: [] }) });

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("the time is noted at once, each minute, and at the end", async () => {
  const clock = new TestClock();
  const startMs = clock.wallMs();
  const secrets = new Notebook();
  const notes = new TimeNotes({
    clock,
    store: storeWith(secrets),
    lastMs: startMs,
    confirmed: false,
    onFault: (error) => assert.fail(String(error)),
  });
  for (let minute = 0; minute < 3; minute += 1) {
    await settled();
    clock.advance(60_000);
  }
  clock.advance(30_000);
  await notes[Symbol.asyncDispose]();
  assert.deepEqual(
    secrets.notes.map((ms) => (ms - startMs) / 60_000),
    [0, 1, 2, 3, 3.5],
  );
  assert.equal(clock.pending, 0);
});

test("a note that cannot be written is told, and does not end the notes", async () => {
  const clock = new TestClock();
  const startMs = clock.wallMs();
  const faults: unknown[] = [];
  const secrets = new Notebook();
  secrets.full = true;
  const notes = new TimeNotes({
    clock,
    store: storeWith(secrets),
    lastMs: startMs,
    confirmed: false,
    onFault: (error) => faults.push(error),
  });
  await settled();
  secrets.full = false;
  clock.advance(60_000);
  await settled();
  assert.deepEqual([faults.length, secrets.notes], [1, [clock.wallMs()]]);
  await notes[Symbol.asyncDispose]();
});

test("the last known time is that of the note, where it is later than the last entry's", async () => {
  const directory = await mkdtemp(join(tmpdir(), "brevet-time-"));
  try {
    const clock = new TestClock();
    {
      await using store = await openEmbeddedStore(directory, { clock });
      assert.equal(await lastKnownMs(store), 0);
      const notes = new TimeNotes({ clock, store, lastMs: 0, confirmed: true, onFault: (error) => assert.fail(String(error)) });
      clock.advance(12_345);
      await notes[Symbol.asyncDispose]();
    }
    await using store = await openEmbeddedStore(directory, { clock });
    assert.equal(await lastKnownMs(store), clock.wallMs());
    assert.equal(await lastKnownMs({ secrets: store.secrets, head: async () => ({ ...(await store.head()), timeMs: 2 ** 42 }) }), 2 ** 42);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
