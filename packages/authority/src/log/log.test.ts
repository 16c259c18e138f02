import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { newId, openCheckpoint, parseVerifier, systemClock } from "@brevet/protocol";
import { ElevationState, PrincipalKind, VoteKind } from "@brevet/protocol/brevet/v1/elevation";
import {
  ElevationDeniedSchema,
  ElevationRequestedSchema,
  KeyPurpose,
  LogEntrySchema,
  OpeningsErasedSchema,
  PolicyAppliedSchema,
  PolicyApprovedSchema,
  PolicyProposedSchema,
  VoteCastSchema,
} from "@brevet/protocol/brevet/v1/log";
import { create, fromBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { evolve, nextDueMs } from "../elevation/evolve.ts";
import { openEmbeddedStore } from "../store/embedded/embedded.ts";
import { privateKeyOf, signingKey } from "./keys.ts";
import { Log, type LogTransaction } from "./log.ts";
import { compareProjections, leafHashesOf, recordsOf } from "./rebuild.ts";
import { verifyLog } from "./verify.ts";

const fold = { evolve, nextDueMs };

/** Runs a test with a log of its own; `again` closes and opens it. */
async function withLog(body: (log: Log, again: () => Promise<Log>) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "brevet-log-"));
  const clock = { ...systemClock, wallMs: () => 1_790_000_000_000 };
  const open = async () => Log.open({ store: await openEmbeddedStore(directory, { clock }), newId, fold });
  let log = await open();
  try {
    await body(log, async () => {
      await log[Symbol.asyncDispose]();
      log = await open();
      return log;
    });
  } finally {
    await log[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  }
}

async function request(tx: LogTransaction, name: string, requestId = ""): Promise<string> {
  const requester = await tx.principalId({ name });
  const id = newId("elv");
  const value = create(ElevationRequestedSchema, {
    entitlement: "refund-operator",
    requester,
    method: "payments.v1.Ledger/Refund",
    methods: ["payments.v1.Ledger/Refund"],
    reason: tx.seal("OPS-1: customer charged twice"),
    duration: durationFromMs(900_000),
    pending: durationFromMs(60_000),
    stages: [{ approvers: [tx.seal("group:payments-oncall")], quorum: 1 }],
  });
  tx.append({ audience: "payments", actor: requester, requestId, elevation: id, event: { case: "elevationRequested", value } });
  return id;
}

async function deny(tx: LogTransaction, elevation: string, name: string): Promise<void> {
  const draft = { audience: "payments", actor: await tx.principalId({ name }), requestId: "", elevation };
  const vote = create(VoteCastSchema, { kind: VoteKind.DENY, comment: tx.seal("not today") });
  tx.append({ ...draft, event: { case: "voteCast", value: vote } });
  tx.append({ ...draft, event: { case: "elevationDenied", value: create(ElevationDeniedSchema) } });
}

test("a new log opens with its epoch and its keys, and opening it again adds nothing", () =>
  withLog(async (log, again) => {
    const entries = (await log.store.entries(0n)).map(({ entry }) => fromBinary(LogEntrySchema, entry));
    assert.deepEqual(
      entries.map(({ event }) => event.case),
      ["epochOpened", "keyAdded", "keyAdded"],
    );
    const { epoch } = log.position();
    assert.match(epoch, /^epo_/);
    assert.ok(entries.every((entry) => entry.epoch === epoch));
    const keys = await log.store.keys();
    assert.deepEqual(
      keys.map(({ purpose }) => purpose),
      [KeyPurpose.GRANT, KeyPurpose.CHECKPOINT],
    );
    assert.notEqual(keys[0]?.kid, keys[1]?.kid);
    for (const { kid, publicJwk } of keys) {
      const privateKey = await privateKeyOf(log.store, kid);
      assert.ok(privateKey);
      assert.equal(createPublicKey(privateKey).export({ format: "jwk" }).x, (JSON.parse(publicJwk) as { x: string }).x);
      assert.doesNotMatch(publicJwk, /"d"/);
    }
    assert.deepEqual((await again()).position(), { epoch, revision: 3n });
  }));

test("a key whose private half is lost is retired, and another comes into use", () =>
  withLog(async (log, again) => {
    const lost = await signingKey(log.store, KeyPurpose.GRANT);
    assert.ok(lost);
    await log.store.secrets.set(`key/${lost.kid}`, new Uint8Array());
    const reopened = await again();
    const keys = await reopened.store.keys();
    assert.deepEqual(
      keys.map(({ purpose, retired, revoked }) => [purpose, retired, revoked]),
      [
        [KeyPurpose.GRANT, true, false],
        [KeyPurpose.CHECKPOINT, false, false],
        [KeyPurpose.GRANT, false, false],
      ],
    );
    assert.equal((await signingKey(reopened.store, KeyPurpose.GRANT))?.kid, keys[2]?.kid);
    assert.deepEqual(await compareProjections(reopened.store, fold), []);
  }));

test("a command reads its own appends, and the log its projections, only what is committed", () =>
  withLog(async (log) => {
    const id = await log.write(async (tx) => {
      const made = await request(tx, "user:ana@example.com", "req-00000001");
      assert.equal((await tx.elevation(made))?.state, ElevationState.PENDING);
      assert.equal(await log.store.elevation(made), undefined);
      const requester = await tx.principalByName("user:ana@example.com");
      assert.equal(requester?.kind, PrincipalKind.USER);
      assert.deepEqual(await tx.request(requester?.id ?? "", "req-00000001"), { elevation: made, revision: 5n });
      await deny(tx, made, "user:bo@example.com");
      assert.equal((await tx.elevation(made))?.state, ElevationState.DENIED);
      return made;
    });
    const elevation = await log.store.elevation(id);
    assert.equal(elevation?.state, ElevationState.DENIED);
    const texts = await log.store.openings([
      elevation.reason?.commitment ?? new Uint8Array(),
      elevation.endComment?.commitment ?? new Uint8Array(),
    ]);
    assert.deepEqual(
      [...texts.values()].map((value) => new TextDecoder().decode(value)),
      ["OPS-1: customer charged twice", "not today"],
    );
    assert.equal(log.position().revision, 8n);
  }));

test("personal words stand in no entry's bytes", () =>
  withLog(async (log) => {
    await log.write((tx) => request(tx, "user:ana@example.com"));
    for await (const { entry } of recordsOf(log.store)) {
      const bytes = Buffer.from(entry).toString("latin1");
      for (const word of ["ana@example.com", "OPS-1", "payments-oncall"]) assert.ok(!bytes.includes(word), word);
    }
  }));

test("a principal has one id, also when asked for twice at once", () =>
  withLog(async (log) => {
    const name = "workload:spiffe://example.com/payments";
    const ids = await log.write((tx) => Promise.all([tx.principalId({ name }), tx.principalId({ name })]));
    ids.push(await log.write((tx) => tx.principalId({ name })));
    assert.equal(new Set(ids).size, 1);
    assert.equal(log.position().revision, 4n);
  }));

test("an entry that contradicts the log rejects its command and leaves nothing", () =>
  withLog(async (log) => {
    const before = log.position();
    await assert.rejects(
      log.write(async (tx) => {
        await request(tx, "user:ana@example.com");
        await deny(tx, "elv_NOBODY", "user:bo@example.com");
      }),
      /which nobody asked for/,
    );
    assert.deepEqual(log.position(), before);
    assert.equal(await log.store.principalByName("user:ana@example.com"), undefined);
  }));

test("entries of one command have one time, and subscribers hear of them together", () =>
  withLog(async (log) => {
    const heard: string[][] = [];
    using subscription = log.subscribe((changes) => {
      heard.push(changes.map(({ entry }) => entry.event.case ?? ""));
      assert.equal(log.position().revision, changes.at(-1)?.entry.revision);
    });
    assert.ok(subscription);
    await log.write(async (tx) => deny(tx, await request(tx, "user:ana@example.com"), "user:bo@example.com"));
    assert.deepEqual(heard, [["principalSeen", "elevationRequested", "principalSeen", "voteCast", "elevationDenied"]]);
    for (const { entry } of await log.store.entries(3n))
      assert.equal(timestampMs(fromBinary(LogEntrySchema, entry).time ?? assert.fail()), 1_790_000_000_000);
  }));

test("a proposed policy that is approved becomes the current one, with its proposal's document", () =>
  withLog(async (log) => {
    const own = { audience: "payments", actor: "prn_a", requestId: "", elevation: "" };
    const document = await log.write(async (tx) => {
      const value = create(PolicyProposedSchema, { proposal: "prp_1", document: tx.seal("apiVersion: brevet.dev/v1"), quorum: 1 });
      tx.append({ ...own, event: { case: "policyProposed", value } });
      return value.document?.commitment;
    });
    await log.write(async (tx) => {
      tx.append({ ...own, actor: "prn_b", event: { case: "policyApproved", value: create(PolicyApprovedSchema, { proposal: "prp_1" }) } });
      const value = create(PolicyAppliedSchema, { proposal: "prp_1", version: 1n, author: "prn_a" });
      tx.append({ ...own, actor: "prn_b", event: { case: "policyApplied", value } });
    });
    assert.deepEqual((await log.store.policy("payments"))?.document, document);
    const proposal = await log.store.proposal("prp_1");
    assert.deepEqual([proposal?.approvers, proposal?.version], [["prn_b"], 1n]);
    assert.deepEqual(await compareProjections(log.store, fold), []);
  }));

test("the checkpoint covers the newest entry, and anyone with the verifier key can check the log against it", () =>
  withLog(async (log, again) => {
    const first = await log.checkpoint();
    assert.equal(await log.checkpoint(), first);
    await log.write((tx) => request(tx, "user:ana@example.com"));
    const second = await (await again()).checkpoint();
    assert.equal(second.verifierKey, first.verifierKey);
    assert.equal(second.position.revision, 5n);
    const opened = openCheckpoint(second.note, parseVerifier(second.verifierKey));
    assert.equal(opened?.signed, true);
    assert.equal(opened.checkpoint.origin, `brevet/${second.position.epoch}`);
  }));

test("after an erasure the name is gone, the log verifies, and the projections are those of the log", () =>
  withLog(async (log, again) => {
    await log.write((tx) => request(tx, "user:ana@example.com"));
    const ana = (await log.store.principalByName("user:ana@example.com")) ?? assert.fail();
    await log.write(async (tx) => {
      const value = create(OpeningsErasedSchema, { commitments: [ana.nameCommitment] });
      tx.append({ audience: "", actor: "", requestId: "", elevation: "", event: { case: "openingsErased", value } });
    });
    const reopened = await again();
    assert.equal((await reopened.store.principal(ana.id))?.name, undefined);
    const { note, verifierKey } = await reopened.checkpoint();
    const leafHashes = leafHashesOf(reopened.store);
    const verdict = await verifyLog(recordsOf(reopened.store), { checkpoint: note, verifierKey, leafHashes });
    assert.deepEqual([verdict.ok, verdict.entries, verdict.covered, verdict.problems], [true, 6n, 6n, []]);
    assert.deepEqual(await compareProjections(reopened.store, fold), []);
    assert.notEqual(await reopened.write((tx) => tx.principalId({ name: "user:ana@example.com" })), ana.id);
  }));
