import assert from "node:assert/strict";
import { test } from "node:test";
import { catalogue, encodeDenial, MAX_MESSAGE_BYTES, newId, readStatus, trailerBytes } from "@brevet/protocol";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { makeKeys, SAM } from "../testdata/facts.ts";
import { Known } from "../testdata/known.ts";
import { type GuardRefusal, refuse } from "./call.ts";
import { denialOf, type RefusedCall } from "./deny.ts";

const keys = await makeKeys();

function callOf(known: Known, fields: Partial<RefusedCall> = {}): RefusedCall {
  return {
    decisionId: newId("dec"),
    method: "test.v1.Ledger/Refund",
    audience: "payments-test",
    headersSeen: ["authorization", "user-agent"],
    policy: known.knowledge.policy,
    publicUrl: "https://brevet.test/",
    nowMs: known.nowMs,
    ...fields,
  };
}

async function refusalOf(known: Known, method = "Refund"): Promise<GuardRefusal> {
  const decision = await known.decide(method, { authorization: [await known.as()] });
  assert.ok(decision.kind === "refuse");
  return decision;
}

test("a message says what failed, why, what to run, where to click, and where it is recorded", async () => {
  const known = new Known(keys);
  const fixed = { decisionId: "dec_7KQ2" };
  const said = async (state: ElevationState) => {
    known.elevate({ id: "elv_a", state, endedAgoMs: 60_500, startedAgoMs: 120_500, endsInMs: -60_500 });
    return denialOf(await refusalOf(known), callOf(known, fixed)).message;
  };
  const ask = "Run: brevet request test.v1.Ledger/Refund --for 15m  or open https://brevet.test/r/refunds (decision dec_7KQ2)";
  assert.equal(
    denialOf(await refusalOf(known), callOf(known, fixed)).message,
    `ELEVATION_REQUIRED: test.v1.Ledger/Refund needs an approved elevation (refunds, 1 approval). ${ask}`,
  );
  assert.equal(
    await said(ElevationState.PENDING),
    "ELEVATION_PENDING: elevation elv_a for test.v1.Ledger/Refund is not decided yet, and lapses at 2026-03-01T12:01:00.500Z. Run: brevet watch elv_a  or open https://brevet.test/e/elv_a (decision dec_7KQ2)",
  );
  assert.equal(
    await said(ElevationState.ACTIVE),
    `ELEVATION_EXPIRED: the window of elevation elv_a for test.v1.Ledger/Refund ended at 2026-03-01T11:59:00.000Z; the authority's clock says 2026-03-01T12:00:00.500Z. ${ask}`,
  );
  assert.equal(
    await said(ElevationState.REVOKED),
    "ELEVATION_REVOKED: elevation elv_a for test.v1.Ledger/Refund was revoked at 2026-03-01T11:59:00.000Z: learn by whom and why before you ask again. Run: brevet show elv_a  or open https://brevet.test/e/elv_a (decision dec_7KQ2)",
  );
});

test("metadata has the catalogue's names for what it carries", async () => {
  const known = new Known(keys);
  for (const state of [1, 4, 5, 6, 7, 8, 9] satisfies ElevationState[]) {
    known.elevate({ id: "elv_a", state });
    const refusal = await refusalOf(known);
    const { metadata } = denialOf(refusal, callOf(known));
    const allowed = new Set(catalogue[refusal.reason].metadata);
    assert.deepEqual(
      Object.keys(metadata).filter((key) => !allowed.has(key)),
      [],
      refusal.reason,
    );
    assert.equal(metadata.principal, SAM);
    assert.equal(metadata.elevation, "elv_a");
    assert.equal(metadata.policyVersion, "1");
  }
});

test("however long the names are, the message keeps its decision id and the trailers fit", () => {
  const known = new Known(keys);
  const principal = { name: `user:${"ä".repeat(120)}`, kind: "user" as const, groups: new Set<string>(), claims: {} };
  for (const reason of Object.values(catalogue).map((entry) => entry.reason)) {
    const problem = "p".repeat(2000);
    const facts = { problem, elevation: `elv_${"A".repeat(26)}`, entitlement: "e".repeat(64), expression: "x".repeat(400) };
    const entitlement = known.knowledge.policy?.compiled.entitlement("refunds");
    const refusal = {
      ...refuse(reason, facts, principal),
      offers: entitlement === undefined ? [] : Array.from({ length: 9 }, () => entitlement),
    };
    const call = callOf(known, { method: `${"a".repeat(150)}.S/${"M".repeat(40)}`, publicUrl: `https://${"h".repeat(100)}.test` });
    const denial = denialOf(refusal, call);
    assert.ok(Buffer.byteLength(denial.message) <= MAX_MESSAGE_BYTES, reason);
    assert.ok(denial.message.endsWith(`(decision ${call.decisionId})`), reason);
    const encoded = encodeDenial(denial);
    assert.ok(trailerBytes(encoded) <= 4096, reason);
    assert.equal(readStatus(encoded.code, encoded.message, encoded.details).metadata.decisionId, call.decisionId);
  }
});

test("at most five entitlements are offered, the rest is counted", async () => {
  const known = new Known(keys);
  const refusal = await refusalOf(known);
  const [offer] = refusal.offers;
  assert.ok(offer !== undefined);
  const denial = denialOf({ ...refusal, offers: Array.from({ length: 8 }, () => offer) }, callOf(known));
  assert.equal(denial.offer?.entitlements.length, 5);
  assert.equal(denial.offer?.more, 3);
});
