// Which guards are remembered: all that can still permit, also over a restart, and no more than that of any one guard.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PrincipalSchema } from "@brevet/protocol/brevet/v1/elevation";
import { GuardHelloSchema } from "@brevet/protocol/brevet/v1/guard";
import { TestClock } from "@brevet/testing";
import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { openParts } from "../testdata/parts.ts";
import { AUDIENCE } from "../testdata/scene.ts";
import { Enforcements } from "./enforcement.ts";
import { GuardRegistry } from "./registry.ts";

/** Of the scene's policy. */
const AT_MOST_MS = 5 * 60_000;
const here = new Set([AUDIENCE]);
const guard = (name: string) => create(PrincipalSchema, { name });
const hello = (instance: string, audience = AUDIENCE) => create(GuardHelloSchema, { audience, instance, form: "grpc" });

test("a guard that was linked when the authority died can permit until its bound, and the answer says so", async () => {
  await using parts = await openParts();
  const clock = new TestClock();
  const options = { clock, policies: parts.policies, secrets: parts.log.store.secrets };
  const before = await GuardRegistry.open(options);
  before.connect(guard("workload:a"), hello("gud_1"));
  await before.save();
  // No end of the connection: the process is gone.
  clock.advance(60_000);
  const after = await GuardRegistry.open(options);
  const [status] = after.list(here);
  assert.deepEqual([status?.guard?.name, status?.instance, status?.form, status?.connected], ["workload:a", "gud_1", "grpc", false]);
  const enforcements = new Enforcements({ registry: after, clock });
  const waited = enforcements.wait(here, { epoch: "epo_1", revision: 1n }, new AbortController().signal);
  clock.advance(61_000);
  const [enforcement] = await waited;
  assert.equal(enforcement?.enforced, false);
  const boundMs = timestampMs(enforcement?.boundedUntil ?? { seconds: 0n, nanos: 0, $typeName: "google.protobuf.Timestamp" });
  assert.equal(boundMs, clock.wallMs() - 61_000 + AT_MOST_MS, "as long as a guard that lost the authority only then");
  const third = await GuardRegistry.open(options);
  assert.equal(third.boundedUntilMs(third.list(here)[0] ?? assert.fail()), boundMs, "another restart does not make it longer");
});

test("a guard that is linked but did not acknowledge is told of with its bound", async () => {
  await using parts = await openParts();
  const clock = new TestClock();
  const registry = await GuardRegistry.open({ clock, policies: parts.policies, secrets: parts.log.store.secrets });
  registry.connect(guard("workload:a"), hello("gud_1"));
  const waited = new Enforcements({ registry, clock }).wait(here, { epoch: "epo_1", revision: 1n }, new AbortController().signal);
  clock.advance(61_000);
  const [enforcement] = await waited;
  assert.ok(enforcement?.boundedUntil && !enforcement.enforced);
  assert.ok(timestampMs(enforcement.boundedUntil) > clock.wallMs());
});

test("a guard that changes its name again and again pushes no other guard out, and is refused in the end", async () => {
  await using parts = await openParts();
  const clock = new TestClock();
  const registry = await GuardRegistry.open({ clock, policies: parts.policies, secrets: parts.log.store.secrets });
  registry.connect(guard("workload:quiet"), hello("gud_quiet"))?.[Symbol.dispose]();
  let linked = 0;
  for (let i = 0; i < 1200; i += 1) {
    const connection = registry.connect(guard("workload:loud"), hello(`gud_${i}`));
    if (connection) linked += 1;
    connection?.[Symbol.dispose]();
  }
  assert.equal(linked, 1000);
  assert.ok(registry.list(here).some(({ instance }) => instance === "gud_quiet"));
  assert.ok(registry.connect(guard("workload:loud"), hello("gud_7")), "one that is known may come back");
  clock.advance(AT_MOST_MS + 1);
  assert.ok(registry.connect(guard("workload:loud"), hello("gud_new")), "those that can permit no more make room");
  await registry.save();
});
