// What every store has to do, as tests: run them with one line in the store's own test file.
// Never knows how a store does it.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type Store, StoreError, type Transaction } from "@brevet/authority/store";
import type { Clock } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { append, changeBehind, principal, put } from "./changes.ts";
import { readingConformance } from "./store-reading.ts";

/** Opens a store on a directory that is the test's own; opened on the same one again, it is the same store. */
export type OpenStore = (directory: string, options: { readonly clock: Clock }) => Promise<Store>;

/** A wall clock that a test moves. */
export class MovedClock implements Clock {
  nowMs = 1_790_000_000_000;
  wallMs = (): number => this.nowMs;
  monotonicMs = (): number => this.nowMs;
  after = (): never => {
    throw new Error("a store sets no timers");
  };
}

/** A test with a fresh store. `again` closes it and opens it anew. */
export type StoreTest = (given: { store: Store; clock: MovedClock; directory: string; again(): Promise<Store> }) => Promise<void>;

/**
 * Registers the suite.
 * @param options.shared The store may be opened more than once at the same time; otherwise the second opening has to fail as `locked`.
 */
export function storeConformance(name: string, open: OpenStore, options: { readonly shared?: boolean } = {}): void {
  const promise = (title: string, body: StoreTest): void =>
    void test(title, async () => {
      const directory = await mkdtemp(join(tmpdir(), "brevet-store-"));
      const clock = new MovedClock();
      let store = await open(directory, { clock });
      const again = async () => {
        await store[Symbol.asyncDispose]();
        store = await open(directory, { clock });
        return store;
      };
      try {
        await body({ store, clock, directory, again });
      } finally {
        await store[Symbol.asyncDispose]();
        await rm(directory, { recursive: true });
      }
    });

  void describe(`store: ${name}`, () => {
    writingConformance(promise);
    publishingConformance(promise);
    readingConformance(promise);
    lastingConformance(promise);
    if (options.shared !== true)
      promise("a second opening is refused as locked, and the lock goes with the store", async ({ directory, clock, again }) => {
        await assert.rejects(open(directory, { clock }), { code: "locked", message: new RegExp(`locked by pid ${process.pid} since 20`) });
        await again();
      });
  });
}

function writingConformance(promise: (title: string, body: StoreTest) => void): void {
  promise("commands run one after another in the order in which they were given", async ({ store }) => {
    const changes = await Promise.all(Array.from({ length: 300 }, (_, i) => append(store, { audience: `a${i}` })));
    assert.deepEqual(
      changes.map(({ entry }) => [entry.revision, entry.audience]),
      changes.map((_, i) => [BigInt(i + 1), `a${i}`]),
    );
    assert.equal((await store.head()).revision, 300n);
  });

  promise("a command sees what earlier ones of its group wrote, and others see it only once it is committed", async ({ store }) => {
    const seen: unknown[] = [];
    const first = store.write(async (transaction) => {
      await put(transaction, { elevation: { id: "elv_1", audience: "a" }, actor: "prn_1", requestId: "req_1" });
      seen.push((await transaction.elevation("elv_1"))?.audience, await store.elevation("elv_1"), (await store.head()).revision);
    });
    const second = store.write(async (transaction) => {
      seen.push((await transaction.elevation("elv_1"))?.audience, (await transaction.head()).revision, (await store.head()).revision);
    });
    await Promise.all([first, second]);
    assert.deepEqual(seen, ["a", undefined, 0n, "a", 1n, 0n]);
    assert.equal((await store.elevation("elv_1"))?.audience, "a");
  });

  promise("a command that throws leaves nothing, and does not touch the others of its group", async ({ store }) => {
    const fault = new Error("on purpose");
    const outcomes = await Promise.allSettled([
      append(store, { elevation: { id: "elv_1", audience: "a" } }),
      store.write(async (transaction) => {
        await put(transaction, {
          elevation: { id: "elv_1", audience: "a", holds: 7 },
          actor: "prn_1",
          requestId: "req_1",
          values: ["gone"],
          principal: principal("prn_9", "user:nobody@example.com"),
        });
        await put(transaction, { elevation: { id: "elv_9", audience: "a" } });
        throw fault;
      }),
      append(store, { elevation: { id: "elv_2", audience: "a" } }),
    ]);
    assert.deepEqual(
      outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value.entry.revision : outcome.reason)),
      [1n, fault, 2n],
    );
    assert.equal((await store.elevation("elv_1"))?.holds, 0);
    assert.equal(await store.elevation("elv_9"), undefined);
    assert.equal(await store.principalByName("user:nobody@example.com"), undefined);
    assert.equal(await store.request("prn_1", "req_1"), undefined);
    assert.deepEqual((await store.entries(0n)).length, 2);
  });

  promise("a change that does not come right behind the head is refused, and only its command", async ({ store }) => {
    const before = await store.head();
    const wrong = store.write(async (transaction) => {
      transaction.put(changeBehind({ ...before, revision: 5n }, transaction.nowMs, {}));
    });
    const right = append(store);
    await assert.rejects(wrong, { name: "StoreError", code: "corrupt" });
    assert.equal((await right).entry.revision, 1n);
  });

  promise("a transaction is of no use once its command is over", async ({ store }) => {
    let kept: Transaction | undefined;
    await store.write(async (transaction) => {
      kept = transaction;
    });
    assert.ok(kept);
    const over = kept;
    await assert.rejects(over.head(), { code: "closed" });
    assert.throws(() => over.put(changeBehind({ epoch: "", revision: 0n, timeMs: 0, frontier: [] }, 0, {})), { code: "closed" });
    assert.equal((await store.head()).revision, 0n);
  });

  promise("of many commands that race for one decision, one wins and the others see that it did", async ({ store }) => {
    await append(store, { elevation: { id: "elv_1", audience: "a" } });
    const ends = [ElevationState.DENIED, ElevationState.WITHDRAWN, ElevationState.LAPSED, ElevationState.REVOKED];
    const outcomes = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        store.write(
          async (transaction) => {
            const state = (await transaction.elevation("elv_1"))?.state;
            if (state !== ElevationState.PENDING) return { lost: state };
            const end = ends[i % ends.length] ?? ElevationState.DENIED;
            await put(transaction, { elevation: { id: "elv_1", audience: "a", state: end } });
            return { won: end };
          },
          { urgent: i % 3 === 0 },
        ),
      ),
    );
    const winners = outcomes.flatMap((outcome) => ("won" in outcome ? [outcome.won] : []));
    assert.equal(winners.length, 1);
    for (const outcome of outcomes) if ("lost" in outcome) assert.equal(outcome.lost, winners[0]);
    assert.equal((await store.elevation("elv_1"))?.state, winners[0]);
  });

  promise("urgent commands go before all others that wait", async ({ store }) => {
    const gate = Promise.withResolvers<void>();
    const order: string[] = [];
    const note = (name: string, urgent: boolean) => store.write(async () => void order.push(name), { urgent });
    const first = store.write(() => gate.promise);
    const rest = [note("a", false), note("b", false), note("urgent a", true), note("urgent b", true)];
    gate.resolve();
    await Promise.all([first, ...rest]);
    assert.deepEqual(order, ["urgent a", "urgent b", "a", "b"]);
  });

  promise("time never goes backwards, whatever the clock does, and stands still within a command", async ({ store, clock, again }) => {
    const start = clock.nowMs;
    assert.equal((await append(store)).head.timeMs, start);
    clock.nowMs = start - 3_600_000;
    assert.equal((await append(store)).head.timeMs, start);
    const reopened = await again();
    const times = await reopened.write(async (transaction) => {
      const first = transaction.nowMs;
      clock.nowMs = start + 5000;
      await put(transaction);
      return [first, transaction.nowMs];
    });
    assert.deepEqual(times, [start, start]);
    assert.equal((await append(reopened)).head.timeMs, start + 5000);
  });
}

function publishingConformance(promise: (title: string, body: StoreTest) => void): void {
  promise("subscribers are told of every change once, in the order of the log, before the command is answered", async ({ store }) => {
    const told: bigint[] = [];
    const early: bigint[] = [];
    using subscription = store.subscribe((changes) => told.push(...changes.map(({ entry }) => entry.revision)));
    assert.ok(subscription);
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const { entry } = await store.write(
          async (transaction) => {
            await put(transaction);
            return put(transaction);
          },
          { urgent: i % 7 === 0 },
        );
        if (!told.includes(entry.revision)) early.push(entry.revision);
      }),
    );
    assert.deepEqual(
      told,
      Array.from({ length: 400 }, (_, i) => BigInt(i + 1)),
    );
    assert.deepEqual(early, []);
  });

  promise("what a subscriber is told of is committed and can be read", async ({ store }) => {
    const read = Promise.withResolvers<bigint | undefined>();
    using subscription = store.subscribe((changes) => {
      const id = changes[0]?.entry.elevation ?? "";
      store.elevation(id).then((elevation) => read.resolve(elevation?.revision), read.reject);
    });
    assert.ok(subscription);
    await append(store, { elevation: { id: "elv_1", audience: "a" } });
    assert.equal(await read.promise, 1n);
  });

  promise("a subscription that is disposed hears no more, and commands without changes are not announced", async ({ store }) => {
    let groups = 0;
    const subscription = store.subscribe(() => {
      groups += 1;
    });
    await store.write(async () => "nothing");
    assert.equal(groups, 0);
    await append(store);
    subscription[Symbol.dispose]();
    await append(store);
    assert.equal(groups, 1);
  });
}

function lastingConformance(promise: (title: string, body: StoreTest) => void): void {
  promise("a store that is opened again is as it was", async ({ store, again }) => {
    const committed = await append(store, {
      elevation: { id: "elv_1", audience: "a", entitlement: "e" },
      dueMs: 5,
      actor: "prn_1",
      requestId: "req_1",
      values: ["why"],
      principal: principal("prn_1", "user:ana@example.com"),
    });
    await store.secrets.set("key", Uint8Array.of(1, 2, 3));
    const reopened = await again();
    assert.deepEqual(await reopened.head(), committed.head);
    const [record] = await reopened.entries(0n);
    assert.deepEqual([record?.entry, record?.openings], [committed.leaf, committed.openings]);
    assert.equal((await reopened.elevation("elv_1"))?.entitlement, "e");
    assert.deepEqual(await reopened.due(5, 10), ["elv_1"]);
    assert.deepEqual(await reopened.request("prn_1", "req_1"), { elevation: "elv_1", revision: 1n });
    assert.equal((await reopened.principalByName("user:ana@example.com"))?.id, "prn_1");
    assert.deepEqual(await reopened.secrets.get("key"), Uint8Array.of(1, 2, 3));
    assert.equal((await append(reopened)).entry.revision, 2n);
  });

  promise("secrets are kept, replaced, and never in the log", async ({ store }) => {
    assert.equal(await store.secrets.get("key"), undefined);
    await store.secrets.set("key", Uint8Array.of(1));
    await store.secrets.set("key", Uint8Array.of(2, 3));
    assert.deepEqual(await store.secrets.get("key"), Uint8Array.of(2, 3));
    assert.equal((await store.head()).revision, 0n);
  });

  promise("commands that were taken before the store closes are finished; afterwards it answers nothing", async ({ store, again }) => {
    const taken = [append(store), append(store)];
    const reopened = await again();
    assert.deepEqual(
      (await Promise.all(taken)).map(({ entry }) => entry.revision),
      [1n, 2n],
    );
    assert.equal((await reopened.head()).revision, 2n);
    const attempts = [
      () => store.write(async () => 1),
      () => store.head(),
      () => store.elevations({}),
      () => store.secrets.set("a", Uint8Array.of(1)),
    ];
    for (const attempt of attempts) await assert.rejects(attempt, (error) => error instanceof StoreError && error.code === "closed");
  });
}
