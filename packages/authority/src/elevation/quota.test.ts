// One requester cannot fill the log, nor make each further request dearer: what is open is bounded, and the same question still found.
import assert from "node:assert/strict";
import { test } from "node:test";
import { GrpcCode } from "@brevet/protocol";
import { ElevationServiceWithdrawRequestSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { granted, inDirectory, TestAuthority } from "./testdata/authority.ts";
import { AUDIENCE, MINUTE, opened, START, World } from "./testdata/world.ts";

const RITA = "user:rita@test";
const ask = (reason: string) => ({ entitlement: "pair", reason: `INC-${reason}` }) as const;

test("a requester has at most 100 elevations open in an audience, is told so, and finds each of them again", () =>
  inDirectory(async (directory) => {
    await using authority = await TestAuthority.start(directory);
    const ids: string[] = [];
    for (let index = 0; index < 100; index += 1) ids.push(granted(await authority.request(RITA, ask(`${index}`))).elevation.id);
    const head = authority.log.position().revision;
    for (const init of [ask("100"), { entitlement: "refund" }]) {
      const refused = await authority.request(RITA, init);
      assert.ok(!refused.ok);
      assert.deepEqual([refused.denial.reason, refused.denial.code], ["REQUEST_QUOTA_EXCEEDED", GrpcCode.RESOURCE_EXHAUSTED]);
      for (const said of [RITA, AUDIENCE, "at most 100", "100 PENDING"]) assert.ok(refused.denial.message.includes(said), said);
      assert.equal(refused.denial.metadata["limit"], "100 open elevations");
    }
    assert.equal(authority.log.position().revision, head);
    const again = granted(await authority.request(RITA, ask("0")));
    assert.deepEqual([again.elevation.id, again.existing], [ids[0], true]);
    granted(await authority.request("user:sam@test", ask("100")));
    const withdrawn = create(ElevationServiceWithdrawRequestSchema, { id: ids[1] ?? "", requestId: authority.requestId() });
    granted(await authority.elevations.withdraw(authority.caller(RITA), withdrawn));
    granted(await authority.request(RITA, ask("100")));
  }));

test("what time has ended fills no place, though nobody has written its end yet", () => {
  const world = new World();
  for (let index = 0; index < 100; index += 1) opened(world.request(RITA, ask(`${index}`)));
  world.nowMs += 30 * MINUTE;
  opened(world.request(RITA, ask("100")));
});

test("one elevation is held at most 1,000 times, and each hold can still be let go of", () => {
  const world = new World();
  const id = opened(world.request(RITA, ask("1")));
  for (let holds = 1; holds < 1000; holds += 1) assert.equal(opened(world.request(RITA, ask("1"))), id);
  const refused = world.request(RITA, ask("1"));
  assert.ok(!refused.ok);
  assert.equal(refused.denial.reason, "REQUEST_QUOTA_EXCEEDED");
  assert.ok(refused.denial.message.includes(id));
  assert.equal(world.state(id).holds, 1000);
});

test("each term makes another question, and the same terms the same one", () =>
  inDirectory(async (directory) => {
    await using authority = await TestAuthority.start(directory);
    const keyJwk = JSON.stringify({ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    const startTime = timestampFromMs(START + 60 * MINUTE);
    const terms = [{}, { run: "run-1" }, { keyJwk }, { startTime }, { duration: durationFromMs(MINUTE) }, { reason: "INC-2" }];
    const all = async () => {
      const ids: string[] = [];
      for (const term of terms) ids.push(granted(await authority.request(RITA, { ...ask("1"), ...term })).elevation.id);
      return ids;
    };
    const first = await all();
    assert.equal(new Set(first).size, terms.length);
    assert.deepEqual(await all(), first);
  }));
