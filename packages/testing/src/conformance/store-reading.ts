// What every store has to answer to readers: committed state and, within a transaction, that transaction's own writes in front of it.
// Each question is asked of both, and compared with a plain list that the test keeps.

import assert from "node:assert/strict";
import type { ElevationQuery, Store, StoredPolicy, StoredProposal, View } from "@brevet/authority/store";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { KeyPurpose } from "@brevet/protocol/brevet/v1/log";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { append, principal, put, sha256, type Wanted } from "./changes.ts";
import type { StoreTest } from "./store.ts";

/** Applies half of the changes and asks, then the other half in a transaction and asks there, then asks the committed whole. */
async function askEverywhere(store: Store, wanted: readonly Wanted[], ask: (view: View, applied: number) => Promise<void>): Promise<void> {
  const half = Math.floor(wanted.length / 2);
  for (const each of wanted.slice(0, half)) await append(store, each);
  await ask(store, half);
  await store.write(async (transaction) => {
    for (const each of wanted.slice(half)) await put(transaction, each);
    await ask(transaction, wanted.length);
  });
  await ask(store, wanted.length);
}

const T0 = 1_790_000_000_000;
const KEYS = [sha256("key 0"), sha256("key 1")];
const STATES = [ElevationState.PENDING, ElevationState.SCHEDULED, ElevationState.ACTIVE, ElevationState.DENIED, ElevationState.EXPIRED];
const isOpen = (state: ElevationState) => state <= ElevationState.ACTIVE;

/** Elevations in all kinds of circumstances, the first ones changed again towards the end. */
function elevations(): (Wanted & { elevation: NonNullable<Wanted["elevation"]> })[] {
  return Array.from({ length: 48 }, (_, i) => {
    const place = i >= 40 ? (i - 40) * 3 : i;
    const state = STATES[(i * 7) % STATES.length] ?? ElevationState.PENDING;
    const key = KEYS[place % 3];
    return {
      elevation: {
        id: `elv_${place}`,
        audience: `audience ${place % 2}`,
        requester: { id: `prn_${place % 5}` },
        entitlement: `entitlement ${place % 3}`,
        state,
        ...(key && { keyThumbprint: key }),
        ...(!isOpen(state) && { endTime: timestampFromMs(T0 + i * 1000) }),
      },
      ...(isOpen(state) && { dueMs: T0 + ((i * 13) % 31) * 1000 }),
    };
  });
}

interface Modelled {
  readonly id: string;
  readonly created: number;
  readonly changed: number;
  readonly wanted: ReturnType<typeof elevations>[number];
}

/** The list that the answers are compared with, newest first. */
function model(applied: readonly ReturnType<typeof elevations>[number][]): Modelled[] {
  const known = new Map<string, Modelled>();
  for (const [i, wanted] of applied.entries()) {
    const id = wanted.elevation.id;
    known.set(id, { id, created: known.get(id)?.created ?? i, changed: i + 1, wanted });
  }
  return [...known.values()].toSorted((a, b) => b.created - a.created);
}

function answers({ id, changed, wanted: { elevation } }: Modelled, query: ElevationQuery): boolean {
  const state = elevation.state ?? ElevationState.PENDING;
  const endMs =
    elevation.endTime === undefined
      ? undefined
      : timestampMs({ $typeName: "google.protobuf.Timestamp", nanos: 0, seconds: 0n, ...elevation.endTime });
  return (
    (query.ids?.includes(id) ?? true) &&
    (query.audience ?? elevation.audience) === elevation.audience &&
    (query.requester ?? elevation.requester?.id) === elevation.requester?.id &&
    (query.entitlement ?? elevation.entitlement) === elevation.entitlement &&
    (query.states?.includes(state) ?? true) &&
    (query.keyThumbprint ?? elevation.keyThumbprint) === elevation.keyThumbprint &&
    changed > Number(query.changedAfter ?? 0n) &&
    (query.openOrEndedSinceMs === undefined || isOpen(state) || (endMs ?? 0) >= query.openOrEndedSinceMs)
  );
}

/** Every combination of one value or none for each field. */
function queries(): ElevationQuery[] {
  const fields: Partial<ElevationQuery>[][] = [
    [{ ids: ["elv_0", "elv_3", "elv_21", "elv_39", "elv_unknown", "elv_3"] }],
    [{ audience: "audience 0" }],
    [{ requester: "prn_1" }],
    [{ entitlement: "entitlement 0" }],
    [
      { states: [ElevationState.ACTIVE, ElevationState.DENIED] },
      { states: [ElevationState.ACTIVE, ElevationState.ACTIVE, 99 as ElevationState] },
      { states: [] },
    ],
    [{ keyThumbprint: KEYS[0] ?? KEYS[1] ?? new Uint8Array() }],
    [{ changedAfter: 12n }],
    [{ openOrEndedSinceMs: T0 + 20_000 }],
  ];
  return fields.reduce<ElevationQuery[]>(
    (all, values) => all.flatMap((query) => [query, ...values.map((value) => ({ ...query, ...value }))]),
    [{}],
  );
}

export function readingConformance(promise: (title: string, body: StoreTest) => void): void {
  promise("an empty store answers with nothing", async ({ store }) => {
    assert.deepEqual(await store.head(), { epoch: "", revision: 0n, timeMs: 0, frontier: [] });
    assert.deepEqual(await store.entries(0n), []);
    assert.deepEqual(await store.elevations({}), []);
    assert.equal(await store.elevation("elv_1"), undefined);
    assert.equal(await store.nextDueMs(), undefined);
    assert.equal(await store.policy("a"), undefined);
    assert.deepEqual(await store.policies(), []);
    assert.deepEqual(await store.keys(), []);
  });

  promise("a query finds exactly what matches, newest first, whatever it combines", async ({ store }) => {
    const all = elevations();
    await askEverywhere(store, all, async (view, applied) => {
      const expected = model(all.slice(0, applied));
      for (const query of queries()) {
        const found = await view.elevations(query);
        const ids = expected.filter((each) => answers(each, query)).map(({ id }) => id);
        assert.deepEqual(
          found.map(({ id }) => id),
          ids,
          JSON.stringify(query, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)),
        );
      }
    });
  });

  promise("pages join without a gap and without a repeat, and changes in between move nothing", async ({ store }) => {
    const all = elevations();
    await askEverywhere(store, all, async (view, applied) => {
      for (const query of [
        {},
        { audience: "audience 1" },
        { states: [ElevationState.PENDING, ElevationState.EXPIRED] },
        { openOrEndedSinceMs: T0 },
      ]) {
        const paged: string[] = [];
        for (let before: string | undefined; ; ) {
          const page = await view.elevations({ ...query, limit: 7, ...(before !== undefined && { before }) });
          paged.push(...page.map(({ id }) => id));
          before = page.at(-1)?.id;
          if (page.length < 7) break;
        }
        const expected = model(all.slice(0, applied)).filter((each) => answers(each, query));
        assert.deepEqual(
          paged,
          expected.map(({ id }) => id),
        );
      }
      assert.deepEqual(await view.elevations({ before: "elv_unknown" }), []);
    });
  });

  promise("what is due comes most overdue first, and the next timer is the earliest", async ({ store }) => {
    const all = elevations();
    await askEverywhere(store, all, async (view, applied) => {
      const timers = model(all.slice(0, applied))
        .flatMap(({ id, wanted }) => (wanted.dueMs === undefined ? [] : [{ id, dueMs: wanted.dueMs }]))
        .toSorted((a, b) => a.dueMs - b.dueMs);
      assert.equal(await view.nextDueMs(), timers[0]?.dueMs);
      const atMs = T0 + 15_000;
      const due = timers.filter(({ dueMs }) => dueMs <= atMs);
      const found = await view.due(atMs, 1000);
      const dueOf = new Map(due.map(({ id, dueMs }) => [id, dueMs]));
      assert.deepEqual(
        found.map((id) => dueOf.get(id)),
        due.map(({ dueMs }) => dueMs),
      );
      assert.deepEqual(new Set(found), new Set(dueOf.keys()));
      assert.deepEqual(await view.due(atMs, 3), found.slice(0, 3));
      assert.deepEqual(await view.due(T0 - 1, 10), []);
    });
  });

  promise("entries come as their exact bytes, oldest first, narrowed to an audience or an elevation", async ({ store }) => {
    const all = Array.from({ length: 20 }, (_, i) => ({
      elevation: { id: `elv_${i % 4}`, audience: i % 2 === 0 ? "even" : "odd" },
      values: [`reason ${i}`, `comment ${i}`],
    }));
    const leaves: Uint8Array[] = [];
    using subscription = store.subscribe((changes) => leaves.push(...changes.map(({ leaf }) => leaf)));
    assert.ok(subscription);
    await askEverywhere(store, all, async (view, applied) => {
      const records = await view.entries(0n);
      assert.equal(records.length, applied);
      for (const [i, leaf] of leaves.entries()) assert.deepEqual(records[i]?.entry, leaf);
      for (const [i, record] of records.entries())
        assert.deepEqual(
          record.openings.map(({ value }) => new TextDecoder().decode(value)),
          [`reason ${i}`, `comment ${i}`],
        );
      assert.deepEqual(await view.entries(3n, { limit: 2 }), records.slice(3, 5));
      assert.deepEqual(
        await view.entries(0n, { audience: "odd" }),
        records.filter((_, i) => i % 2 === 1),
      );
      assert.deepEqual(
        await view.entries(1n, { elevation: "elv_1", audience: "odd" }),
        records.filter((_, i) => i >= 1 && i % 4 === 1),
      );
      assert.deepEqual(await view.entries(0n, { elevation: "elv_1", audience: "even" }), []);
      assert.deepEqual(
        await view.leafHashes(2n, 5),
        records.slice(2, 7).map(({ entry }) => sha256(Buffer.concat([Buffer.of(0), entry]))),
      );
    });
  });

  promise("an idempotency id finds the elevation and the first entry of its call, per principal", async ({ store }) => {
    const all = [
      { elevation: { id: "elv_1", audience: "a" }, actor: "prn_1", requestId: "req_1" },
      { elevation: { id: "elv_2", audience: "a" }, actor: "prn_2", requestId: "req_1" },
      { elevation: { id: "elv_3", audience: "a" }, actor: "prn_1", requestId: "req_1" },
      { actor: "prn_1", requestId: "req_2" },
    ];
    await askEverywhere(store, all, async (view, applied) => {
      assert.deepEqual(await view.request("prn_1", "req_1"), { elevation: "elv_1", revision: 1n });
      assert.deepEqual(await view.request("prn_2", "req_1"), { elevation: "elv_2", revision: 2n });
      assert.deepEqual(await view.request("prn_1", "req_2"), applied < 4 ? undefined : { elevation: "", revision: 4n });
      assert.equal(await view.request("prn_3", "req_1"), undefined);
    });
  });

  promise("openings are found by commitment; erased ones are gone for good, with the names behind them", async ({ store, again }) => {
    const commitments: Uint8Array[] = [];
    await store.write(async (transaction) => {
      const { commitments: made } = await put(transaction, { values: ["user:ana@example.com", "kept"] });
      commitments.push(...made);
      const [name] = made;
      await put(transaction, { principal: principal("prn_1", "user:ana@example.com", name) });
      await put(transaction, { principal: principal("prn_2", "user:bo@example.com") });
    });
    const [name = new Uint8Array(), kept = new Uint8Array()] = commitments;
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
    const text = new TextEncoder();
    assert.deepEqual((await store.openings([name, kept])).get(hex(name)), text.encode("user:ana@example.com"));
    const gone = async (view: View) => {
      assert.deepEqual(await view.openings([name, kept, sha256("unknown")]), new Map([[hex(kept), text.encode("kept")]]));
      assert.deepEqual(
        (await view.entries(0n, { limit: 1 })).flatMap(({ openings }) => openings.map(({ value }) => value)),
        [text.encode("kept")],
      );
      assert.equal(await view.principalByName("user:ana@example.com"), undefined);
      assert.equal((await view.principal("prn_1"))?.name, undefined);
      assert.equal((await view.principals(["prn_1", "prn_2"])).get("prn_2")?.name, "user:bo@example.com");
    };
    await store.write(async (transaction) => {
      await put(transaction, { erased: [name] });
      await gone(transaction);
    });
    await gone(store);
    await gone(await again());
  });

  promise("what is erased in the command that wrote it was never there", async ({ store }) => {
    await store.write(async (transaction) => {
      const { commitments } = await put(transaction, { values: ["short-lived"] });
      await put(transaction, { erased: commitments });
      assert.equal((await transaction.openings(commitments)).size, 0);
    });
    assert.deepEqual(
      (await store.entries(0n)).flatMap(({ openings }) => openings),
      [],
    );
  });

  promise("principals are found by id and by name", async ({ store }) => {
    const all = Array.from({ length: 6 }, (_, i) => ({ principal: principal(`prn_${i}`, `user:${i}@example.com`) }));
    await askEverywhere(store, all, async (view, applied) => {
      assert.deepEqual(await view.principalByName("user:1@example.com"), all[1]?.principal);
      assert.deepEqual(await view.principal("prn_1"), all[1]?.principal);
      assert.equal((await view.principalByName("user:5@example.com"))?.id, applied === 6 ? "prn_5" : undefined);
      assert.deepEqual(
        [...(await view.principals(["prn_0", "prn_5", "prn_x", "prn_0"])).keys()],
        applied === 6 ? ["prn_0", "prn_5"] : ["prn_0"],
      );
    });
  });

  promise("the current policy of an audience is its newest that is not a shadow", async ({ store }) => {
    const policies = ["a", "b", "a", "a", "a", "b"].map((audience, i): StoredPolicy => {
      const hashes = {
        document: sha256(`document ${i}`),
        descriptors: i % 2 === 0 ? sha256("descriptors") : undefined,
      };
      return {
        audience,
        version: BigInt(i + 1),
        ...hashes,
        author: i === 0 ? "" : "prn_1",
        timeMs: T0 + i,
        revision: BigInt(i + 1),
        shadow: i === 4,
      };
    });
    const [first, second, third, fourth, shadow, last] = policies;
    const all = policies.map((policy) => ({ audience: policy.audience, policy }));
    await askEverywhere(store, all, async (view, applied) => {
      const whole = applied === policies.length;
      assert.deepEqual(await view.policies(), whole ? [fourth, last] : [third, second]);
      assert.deepEqual(await view.policy("a"), whole ? fourth : third);
      assert.deepEqual(await view.policy("a", 1n), first);
      assert.deepEqual(await view.policy("a", 5n), whole ? shadow : undefined);
      assert.deepEqual(await view.policyVersions("a"), whole ? [shadow, fourth, third, first] : [third, first]);
      assert.deepEqual(await view.policyVersions("a", { before: 4n, limit: 1 }), [third]);
      assert.equal(await view.policy("c"), undefined);
    });
  });

  promise("proposals and keys are kept as they last were", async ({ store }) => {
    const proposal: StoredProposal = {
      id: "prp_1",
      audience: "a",
      document: sha256("c"),
      descriptors: undefined,
      comment: sha256("why"),
      author: "prn_1",
      baseVersion: 3n,
      quorum: 1,
      approvers: [],
      shadow: false,
      timeMs: T0,
      revision: 1n,
      version: 0n,
    };
    const approved = { ...proposal, approvers: ["prn_2", "prn_3"], version: 4n };
    const key = { kid: "k1", purpose: KeyPurpose.GRANT, publicJwk: "{}", retired: false, retiredMs: undefined, revoked: false };
    const other = { ...key, kid: "k0", purpose: KeyPurpose.CHECKPOINT };
    const all = [{ proposal }, { key }, { key: other }, { proposal: approved }, { key: { ...key, retired: true, retiredMs: T0 } }, {}];
    await askEverywhere(store, all, async (view, applied) => {
      const whole = applied === all.length;
      assert.deepEqual(await view.proposal("prp_1"), whole ? approved : proposal);
      assert.deepEqual(await view.keys(), [{ ...key, retired: whole, retiredMs: whole ? T0 : undefined }, other]);
      assert.equal(await view.proposal("prp_2"), undefined);
    });
  });

  promise("answers belong to whoever asked", async ({ store }) => {
    await askEverywhere(
      store,
      [
        { elevation: { id: "elv_1", audience: "a" }, values: ["w"] },
        { elevation: { id: "elv_2", audience: "a" }, values: ["w"] },
      ],
      async (view, applied) => {
        for (const elevation of await view.elevations({})) elevation.audience = "scribbled";
        const id = `elv_${applied}`;
        const one = await view.elevation(id);
        if (one) one.holds = 99;
        for (const record of await view.entries(0n)) record.openings.length = 0;
        assert.deepEqual([(await view.elevation(id))?.audience, (await view.elevation(id))?.holds], ["a", 0]);
        assert.equal((await view.entries(0n)).flatMap(({ openings }) => openings).length, applied);
      },
    );
  });
}
