import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Elevation, ElevationSchema, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { AUDIENCE, elevationOf, SAM } from "../testdata/facts.ts";
import { NOON } from "../testdata/known.ts";
import { Knowledge } from "./knowledge.ts";

const overTheWire = (elevation: Elevation): Elevation => fromBinary(ElevationSchema, toBinary(ElevationSchema, elevation));

test("an older state never replaces a newer one", () => {
  const knowledge = new Knowledge(AUDIENCE);
  knowledge.setElevation(elevationOf({ id: "elv_a", state: ElevationState.REVOKED }, NOON, 12n));
  assert.equal(knowledge.setElevation(elevationOf({ id: "elv_a" }, NOON, 11n)), false);
  assert.equal(knowledge.elevation("elv_a")?.state, ElevationState.REVOKED);
  assert.deepEqual(knowledge.elevationsOf(SAM).open, []);
});

test("a revision counts within its epoch, and time does not go backwards", () => {
  const knowledge = new Knowledge(AUDIENCE);
  knowledge.heard(NOON, { epoch: "epo_1", revision: 50n });
  knowledge.heard(NOON - 1000, { epoch: "epo_1", revision: 49n });
  assert.equal(knowledge.revision, 50n);
  assert.equal(knowledge.heardMs, NOON);
  knowledge.heard(NOON, { epoch: "epo_2", revision: 3n });
  assert.equal(knowledge.revision, 3n);
});

test("what ended is forgotten after 24 hours, and not before", () => {
  const knowledge = new Knowledge(AUDIENCE);
  knowledge.setElevation(elevationOf({ id: "elv_a", state: ElevationState.ENDED, endedAgoMs: 0 }, NOON, 11n));
  knowledge.setElevation(elevationOf({ id: "elv_b" }, NOON, 12n));
  knowledge.forgetEnded(NOON + 24 * 3_600_000 - 1000);
  assert.equal(knowledge.size, 2);
  knowledge.forgetEnded(NOON + 24 * 3_600_000 + 1000);
  assert.equal(knowledge.size, 1);
  assert.deepEqual(knowledge.elevationsOf(SAM).ended, []);
});

test("an elevation whose name is erased is nobody's", () => {
  const knowledge = new Knowledge(AUDIENCE);
  knowledge.setElevation(elevationOf({ principal: "" }, NOON, 11n));
  assert.equal(knowledge.size, 0);
  assert.deepEqual(knowledge.elevationsOf("").open, []);
});

test("a live elevation costs at most a kilobyte", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const many = 20_000;
  const wire = Array.from({ length: many }, (_, i) =>
    toBinary(ElevationSchema, elevationOf({ id: `elv_${i}`.padEnd(30, "X"), principal: `user:person-${i}@acme.test` }, NOON, BigInt(i))),
  );
  const knowledge = new Knowledge(AUDIENCE);
  collect();
  const before = process.memoryUsage().heapUsed;
  for (const bytes of wire) knowledge.setElevation(overTheWire(fromBinary(ElevationSchema, bytes)));
  collect();
  const each = (process.memoryUsage().heapUsed - before) / many;
  assert.equal(knowledge.size, many);
  assert.ok(each <= 1024, `${Math.round(each)} bytes each`);
});
