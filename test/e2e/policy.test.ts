// Policy documents at the command line: the example's is sound and does what its own tests say; a broken one is told at its place.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Stage } from "../../packages/cli/src/demo/stage.ts";
import { told } from "../scene.ts";

const POLICY = "examples/ledger/policy.yaml";

test("the example's policy has no finding, and its own tests pass", async () => {
  await using stage = new Stage({});
  const checked = await stage.brevet(["policy", "check", POLICY]);
  assert.deepEqual([checked.status, checked.stdout], [0, `${POLICY}: nothing found.\n`], told(checked));
  const tested = await stage.brevet(["policy", "test", POLICY]);
  assert.equal(tested.status, 0, told(tested));
  assert.match(tested.stdout, /\n\d+ passed, 0 failed\n$/);
});

test("a broken policy exits 1 and names file, line, column, rule and fix", async () => {
  await using stage = new Stage({});
  const folder = await mkdtemp(join(tmpdir(), "brevet-policy-"));
  try {
    const file = join(folder, "broken.yaml");
    const text = await readFile(POLICY, "utf8");
    await writeFile(join(folder, "ledger.binpb"), await readFile("examples/ledger/ledger.binpb"));
    await writeFile(file, text.replace("request.amount_cents <=", "request.amount_cent <=").replace("quorum: 1", "quorum: 9"));
    const checked = await stage.brevet(["policy", "check", file]);
    assert.equal(checked.status, 1, told(checked));
    assert.match(checked.stdout, new RegExp(`^${file}:\\d+:\\d+ error [a-z-]+: .*amount_cent`, "m"));
    const wrong = text.replace("expect: { decision: deny, reason: CONDITION_NOT_MET }", "expect: { decision: permit }");
    await writeFile(file, wrong);
    const tested = await stage.brevet(["policy", "test", file]);
    assert.equal(tested.status, 1, told(tested));
    assert.match(tested.stdout, /FAIL {2}support does not refund more +expected permit, got deny; CONDITION_NOT_MET/);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
