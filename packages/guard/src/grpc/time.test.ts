import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { status } from "@grpc/grpc-js";
import { POLICY } from "../testdata/facts.ts";
import { scene } from "../testdata/scene.ts";

for (const hours of [0, 7, -7, 24 * 400]) {
  test(`a window ends within 100 ms of its end, with the authority's clock ${hours} h from this machine's`, async () => {
    await using at = await scene({ offsetMs: hours * 3_600_000 });
    const elevation = at.authority.elevate({ endsInMs: 400 });
    await at.authority.settled();
    const endMs = Number(elevation.windowEnd?.seconds) * 1000 + Number(elevation.windowEnd?.nanos) / 1e6;
    const authorization = await at.as();
    let lastPermittedMs = 0;
    for (;;) {
      const before = at.authority.nowMs();
      const answer = await at.service.call("Refund", { authorization });
      if (answer.code > 0) {
        assert.equal(answer.status.reason, "ELEVATION_EXPIRED");
        assert.equal(answer.status.metadata.expiredAt, new Date(endMs).toISOString());
        assert.ok(at.authority.nowMs() - endMs < 100);
        break;
      }
      lastPermittedMs = before;
      await wait(1);
    }
    assert.ok(lastPermittedMs > endMs - 100, `last permitted ${endMs - lastPermittedMs} ms before the end`);
    assert.ok(lastPermittedMs < endMs);
  });
}

test("the first use starts the window, once for all calls that come together", async () => {
  await using at = await scene();
  at.authority.elevate({ id: "elv_s", state: ElevationState.SCHEDULED });
  await at.authority.settled();
  const authorization = await at.as();
  const answers = await Promise.all(Array.from({ length: 8 }, () => at.service.call("Refund", { authorization })));
  assert.deepEqual(
    answers.map(({ code }) => code),
    Array.from({ length: 8 }, () => status.OK),
  );
  assert.equal(at.authority.starts.length, 1);
  assert.equal((await at.service.call("Refund", { authorization })).code, status.OK);
  assert.equal(at.authority.starts.length, 1);
});

test("a first use that the authority does not hear of is refused as UNAVAILABLE", async () => {
  await using at = await scene();
  at.authority.elevate({ state: ElevationState.SCHEDULED });
  await at.authority.settled();
  await at.authority.stop();
  const refused = await at.service.call("Refund", { authorization: await at.as() });
  assert.equal(refused.code, status.UNAVAILABLE);
  assert.equal(refused.status.reason, "AUTHORITY_UNREACHABLE");
  assert.ok((refused.status.retryDelayMs ?? 0) > 0);
  assert.equal(at.service.handled.length, 0);
});

test("a revocation that overtakes the answer to the first use wins", async () => {
  await using at = await scene();
  const elevation = at.authority.elevate({ id: "elv_r", state: ElevationState.SCHEDULED });
  await at.authority.settled();
  at.authority.onStart = async () => {
    const active = at.authority.make({ id: elevation.id });
    at.authority.elevate({ id: elevation.id, state: ElevationState.REVOKED });
    await at.authority.settled();
    return active;
  };
  assert.equal((await at.service.call("Refund", { authorization: await at.as() })).status.reason, "ELEVATION_REVOKED");
  assert.equal(at.service.handled.length, 0);
});

test("calls go on without the authority, and are refused once the policy's patience is over", async () => {
  const policy = `${POLICY}\nwhenStale: { after: 1s, then: known, atMost: 2s }\n`;
  await using at = await scene({ policy });
  at.authority.elevate();
  await at.authority.settled();
  await at.authority.stop();
  const authorization = await at.as();
  for (let i = 0; i < 10; i += 1) assert.equal((await at.service.call("Refund", { authorization })).code, status.OK);
  while (at.guard.status().silentMs < 2005) await wait(20);
  const refused = await at.service.call("Refund", { authorization });
  assert.equal(refused.code, status.UNAVAILABLE);
  assert.equal(refused.status.reason, "POLICY_STALE");
  assert.equal((await at.service.call("GetEntry", { authorization })).code, status.OK);
});
