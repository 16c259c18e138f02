// Each refusal that the catalogue promises is provoked by the commands of `brevet demo --refusal REASON`, in real processes.
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { isReasonName } from "@brevet/protocol";
import { provocations } from "../../packages/cli/src/demo/refusals/refusals.ts";
import { Rehearsal } from "../../packages/cli/src/demo/refusals/rehearsal.ts";
import { Stage } from "../../packages/cli/src/demo/stage.ts";
import { told } from "../scene.ts";

suite("each refusal comes when it is provoked", { concurrency: 2, timeout: 240_000 }, () => {
  let rehearsal: Rehearsal | undefined;
  before(async () => {
    rehearsal = await Rehearsal.open();
  });
  after(async () => {
    await rehearsal?.[Symbol.asyncDispose]();
  });
  for (const [reason, provoke] of Object.entries(provocations)) {
    test(reason, async () => {
      assert.ok(rehearsal !== undefined && isReasonName(reason));
      // Fails by itself where the last command does not show the reason.
      const steps = await rehearsal.play(reason, provoke);
      const { stderr } = steps.at(-1) ?? { stderr: "" };
      assert.match(stderr, /[Rr]un |Run: |`brevet |ask|Ask|correct|Correct|Change|Tell an admin|Call it/, `${reason} says what helps: ${stderr}`);
    });
  }
});

test("one command tells a refusal, with the commands that provoke it", { timeout: 60_000 }, async () => {
  await using stage = new Stage({});
  const played = await stage.brevet(["demo", "--refusal", "self_approval"]);
  assert.equal(played.status, 0, told(played));
  assert.match(
    played.stdout,
    /\$ npx brevet request payments\.v1\.Ledger\/Refund [\s\S]*\$ npx brevet approve elv_\w+ [\s\S]*SELF_APPROVAL: user:bo@acme\.test /,
  );
  const unknown = await stage.brevet(["demo", "--refusal", "NO_SUCH"]);
  assert.equal(unknown.status, 2, told(unknown));
});
