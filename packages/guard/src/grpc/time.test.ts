import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
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
