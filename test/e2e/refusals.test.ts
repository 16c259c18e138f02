// Each refusal that the catalogue promises is provoked by the commands of `brevet demo --refusal REASON`, in real processes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import { isReasonName, MAX_MESSAGE_BYTES } from "@brevet/protocol";
import { provocations } from "../../packages/cli/src/demo/refusals/refusals.ts";
import { messageIn, normalised, Rehearsal } from "../../packages/cli/src/demo/refusals/rehearsal.ts";
import { Stage } from "../../packages/cli/src/demo/stage.ts";
import { told } from "../scene.ts";

const page = readFileSync(new URL("../../docs/questions.md", import.meta.url), "utf8");

/** The sections of docs/questions.md: the reason that is provoked, the text on the left, the answer on the right. */
const questions = page
  .split(/^## /m)
  .slice(1)
  .map((section) => {
    const [question = ""] = section.split("\n");
    const [, text = "", cause = "", next = ""] = /^\| `([^`]+)` \| \*\*Cause:\*\* (.+)<br>\*\*Next:\*\* (.+) \|$/m.exec(section) ?? [];
    const reason = /^Provoke it: `npx brevet demo --refusal (\w+)`$/m.exec(section)?.[1] ?? "";
    return { question, reason, text, cause: quotes(cause), next: quotes(next) };
  });

function quotes(answer: string): string[] {
  return [...answer.matchAll(/“([^”]+)”/g)].map(([, quoted = ""]) => quoted);
}

suite("each refusal comes when it is provoked, and its message says what helps", { concurrency: 2, timeout: 240_000 }, () => {
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
      const steps = await rehearsal.play(reason, provoke);
      const last = steps.at(-1);
      const message = last && messageIn(reason, last);
      assert.ok(last !== undefined && message !== undefined);
      assert.ok(Buffer.byteLength(message) <= MAX_MESSAGE_BYTES, message);
      // What a guard or a client library says is all that many callers print; the command line adds the catalogue's remedy.
      const helps = last.command.startsWith("npx brevet ") ? last.stderr : message;
      assert.match(helps, /Run: brevet |`brevet |Sign in|[Aa]sk |[Cc]orrect|Call it|has to|Set the option/, `${reason}: ${helps}`);
      for (const { question, text } of questions.filter((each) => each.reason === reason))
        assert.equal(normalised(message), text, `docs/questions.md: ${question}`);
    });
  }
});

test("the page of ten questions asks ten, and each text alone names its cause and the next step", () => {
  assert.equal(questions.length, 10);
  assert.equal(new Set(questions.map(({ reason }) => reason)).size, 10);
  for (const { question, reason, text, cause, next } of questions) {
    assert.ok(reason in provocations, `${question} is provoked by a test: ${reason}`);
    assert.ok(text.startsWith(`${reason}: `), question);
    assert.ok(cause.length > 0 && next.length > 0, `${question} quotes a cause and a next step`);
    for (const quoted of [...cause, ...next]) assert.ok(text.includes(quoted), `${question}: “${quoted}” stands in: ${text}`);
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
