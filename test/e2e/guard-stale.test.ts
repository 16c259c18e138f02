// An authority that stops in its tracks while its connections stand: the guard notices by its silence, and the policy says what goes on.
import assert from "node:assert/strict";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { approved, keepCalling, Teller } from "../people.ts";
import { Scene } from "../scene.ts";

const example = fileURLToPath(new URL("../../examples/ledger/", import.meta.url));

/** The example's policy with another rule for when the authority is silent. */
async function policyWith(data: string, rule: string): Promise<string> {
  const text = await readFile(join(example, "policy.yaml"), "utf8");
  const changed = text.replace(/^whenStale: .*$/m, `whenStale: ${rule}`);
  assert.ok(changed.includes(rule));
  const file = join(data, "policy.yaml");
  await writeFile(file, changed);
  await copyFile(join(example, "ledger.binpb"), join(data, "ledger.binpb"));
  return file;
}

for (const [rule, silent] of [
  ["{ after: 2s, then: deny }", "POLICY_STALE"],
  ["{ after: 2s, then: known, atMost: 5m }", "permit"],
] as const) {
  test(`an authority that is stopped for longer than two seconds: ${rule} gives ${silent}, and all is well within a heartbeat afterwards`, {
    timeout: 60_000,
  }, async () => {
    await using scene = await Scene.open({ policy: (data) => policyWith(data, rule) });
    const { process: authority } = scene.authority;
    using teller = await Teller.hire(scene, "user:stale@acme.test");
    await approved(scene, teller.principal, 300_000, true);
    assert.equal((await teller.refund()).verdict, "permit");
    authority.kill("SIGSTOP");
    const stoppedMs = Date.now();
    let continuedMs = 0;
    try {
      const calls = await keepCalling(teller, ({ startedMs }) => startedMs > stoppedMs + 4000);
      for (const { startedMs, endedMs, verdict } of calls) {
        // The last heartbeat before the stop was up to half a second old.
        if (endedMs < stoppedMs + 1400) assert.equal(verdict, "permit", `${endedMs - stoppedMs} ms`);
        if (startedMs > stoppedMs + 2200) assert.equal(verdict, silent, `${startedMs - stoppedMs} ms`);
      }
    } finally {
      authority.kill("SIGCONT");
      continuedMs = Date.now();
    }
    const [back] = (await keepCalling(teller, ({ verdict, startedMs }) => verdict === "permit" || startedMs > continuedMs + 10_000)).slice(
      -1,
    );
    assert.equal(back?.verdict, "permit");
    // A heartbeat is a quarter of the limit: half a second, and as much again for a machine that is busy.
    assert.ok((back?.startedMs ?? Infinity) - continuedMs < 1500, `${(back?.startedMs ?? 0) - continuedMs} ms`);
  });
}
