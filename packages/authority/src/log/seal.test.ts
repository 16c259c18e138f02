import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { ElevationRequestedSchema, LogEntrySchema, SealedSchema, StageOpenedSchema } from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { commitment, commitmentsOf, randomSalt, SALT_BYTES, Sealer } from "./seal.ts";

test("a commitment is HMAC-SHA-256 keyed with the salt, whatever their lengths", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 300 }), (salt, value) => {
      assert.deepEqual(commitment(salt, value), new Uint8Array(createHmac("sha256", salt).update(value).digest()));
    }),
  );
});

test("the same value sealed twice cannot be told to be the same", () => {
  const { seal } = new Sealer(randomSalt);
  const [first, second] = [seal("because"), seal("because")];
  assert.equal(first.commitment.length, 32);
  assert.notDeepEqual(first.commitment, second.commitment);
  assert.equal(randomSalt().length, SALT_BYTES);
});

test("openings go with the entry that has their commitments, wherever in it they stand, and only once", () => {
  const sealer = new Sealer(randomSalt);
  const [reason, first, second, never] = [sealer.seal("reason"), sealer.seal("group:a"), sealer.seal("group:b"), sealer.seal("never used")];
  const entry = create(LogEntrySchema, {
    event: {
      case: "elevationRequested",
      value: create(ElevationRequestedSchema, {
        reason,
        stages: [create(StageOpenedSchema, { approvers: [first] }), create(StageOpenedSchema, { approvers: [second] })],
        payload: create(SealedSchema, { commitment: commitment(Uint8Array.of(1), Uint8Array.of(2)) }),
      }),
    },
  });
  assert.equal(commitmentsOf(entry).length, 4);
  const { openings, commitments } = sealer.take(entry);
  assert.deepEqual(commitments, [reason.commitment, first.commitment, second.commitment]);
  assert.deepEqual(
    openings.map(({ value }) => new TextDecoder().decode(value)),
    ["reason", "group:a", "group:b"],
  );
  for (const [i, { salt, value }] of openings.entries()) assert.deepEqual(commitment(salt, value), commitments[i]);
  assert.deepEqual(sealer.take(entry), { openings: [], commitments: [] });
  assert.ok(!commitments.includes(never.commitment));
});
