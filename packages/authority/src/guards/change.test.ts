// What a guard's link does when things change under it: the policy, its own right, and its own speed. In process, on a real log.
import assert from "node:assert/strict";
import { test } from "node:test";
import { GuardServiceSyncRequestSchema, type GuardServiceSyncResponse } from "@brevet/protocol/brevet/v1/guard";
import { create } from "@bufbuild/protobuf";
import { DecisionIntake } from "../decisions/intake.ts";
import { openParts } from "../testdata/parts.ts";
import { AUDIENCE, policyText } from "../testdata/scene.ts";
import { Refused } from "../watch/refused.ts";
import { GuardRegistry } from "./registry.ts";
import { GuardLink } from "./sync.ts";

const GUARD = `workload:guard-${AUDIENCE}`;

async function linked(options: { mostWaiting?: number } = {}) {
  const parts = await openParts();
  const registry = await GuardRegistry.open({ ...parts, secrets: parts.log.store.secrets });
  const decisions = new DecisionIntake(parts.decisions, parts.logger);
  const own = { issuer: "", publicUrl: "", registry, decisions, drain: new AbortController().signal };
  const link = new GuardLink({ ...parts, ...own, ...options });
  async function* hello() {
    yield create(GuardServiceSyncRequestSchema, { message: { case: "hello", value: { audience: AUDIENCE } } });
    await new Promise<void>((resolve) => parts.gone.addEventListener("abort", () => resolve()));
  }
  const stream = link.sync(await parts.callerAs(GUARD), hello(), parts.gone);
  const seen: GuardServiceSyncResponse["message"][] = [];
  const until = async (name: string) => {
    for (;;) {
      const next = await stream.next();
      if (next.done === true) throw new Error("the stream ended");
      seen.push(next.value.message);
      if (next.value.message.case === name) return;
    }
  };
  return { ...parts, registry, seen, until };
}

test("a new policy version is sent as it is applied, with its issuers' keys behind it", async () => {
  await using scene = await linked();
  await scene.until("caughtUp");
  scene.seen.length = 0;
  const text = policyText({ more: "# the second\n" });
  await scene.apply(text, 2n);
  await scene.until("keys");
  const [policy] = scene.seen;
  assert.ok(policy?.case === "policy" && policy.value.version === 2n && policy.value.document === text);
});

test("a guard that the policy does not name any more is cut, and told why", async () => {
  await using scene = await linked();
  await scene.until("caughtUp");
  await scene.apply(policyText().replace(`"${GUARD}", `, ""), 2n);
  await assert.rejects(scene.until("nothing"), (error) => error instanceof Refused && error.denial.reason === "ROLE_REQUIRED");
  assert.equal(scene.registry.list(new Set([AUDIENCE]))[0]?.connected, false);
});

test("a guard that does not read is cut, and others are not kept waiting for it", async () => {
  await using scene = await linked({ mostWaiting: 5 });
  await scene.until("caughtUp");
  for (let version = 2n; version < 12n; version += 1n) await scene.apply(policyText({ more: `# ${version}\n` }), version);
  await assert.rejects(scene.until("nothing"), (error) => error instanceof Refused && error.denial.reason === "AUTHORITY_UNREACHABLE");
});
