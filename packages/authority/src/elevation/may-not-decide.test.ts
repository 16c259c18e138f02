// Who may decide about nobody's elevation, or not about this one: the same identities, whatever is to be decided.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReasonName } from "@brevet/protocol";
import { MINUTE, opened, PAYOUT, POLICY, reasonOf, World } from "./testdata/world.ts";

interface Barred {
  readonly name: string;
  /** The person that the identity runs for. */
  readonly runsFor?: string;
  readonly reason: ReasonName;
  readonly says: RegExp;
}

const BARRED: readonly Barred[] = [
  { name: "user:sam@test", reason: "SELF_APPROVAL", says: /asked for it/ },
  { name: "user:ines@test", reason: "SELF_APPROVAL", says: /started the run that asked for it/ },
  { name: "user:sams-laptop@test", runsFor: "user:sam@test", reason: "SELF_APPROVAL", says: /runs for user:sam@test, who asked for it/ },
  { name: "user:ines-laptop@test", runsFor: "user:ines@test", reason: "SELF_APPROVAL", says: /runs for user:ines@test, who asked for it/ },
  {
    name: "user:agent@test",
    runsFor: "user:cy@test",
    reason: "NOT_AN_APPROVER",
    says: /runs for user:cy@test; people decide as themselves/,
  },
  { name: "workload:bot", reason: "NOT_AN_APPROVER", says: /only people (vote|review), and this is a program/ },
  { name: "ci:bot", runsFor: "user:cy@test", reason: "NOT_AN_APPROVER", says: /a program that runs for user:cy@test/ },
];

/** All of them, and bo, are in every group that approves or is told. */
function world(): World {
  const made = new World(POLICY);
  made.initiators.set("user:sam@test", "user:ines@test");
  for (const { name, runsFor } of BARRED) {
    made.claimed.set(name, ["group:oncall", "group:leads"]);
    if (runsFor !== undefined) made.initiators.set(name, runsFor);
  }
  return made;
}

for (const [verb, breakGlass] of [
  ["approve", false],
  ["deny", false],
  ["review", true],
] as const)
  for (const { name, runsFor, reason, says } of BARRED)
    test(`${name}${runsFor === undefined ? "" : `, who runs for ${runsFor},`} may not ${verb}`, () => {
      const at = world();
      const asked = breakGlass ? { method: PAYOUT, breakGlass } : { entitlement: "refund" };
      const id = opened(at.request("user:sam@test", asked));
      at.pass(MINUTE);
      const comment = { comment: "all fine" };
      const outcome = at.run(verb, name, id, comment);
      assert.equal(reasonOf(outcome), reason);
      assert.match(outcome.ok ? "" : outcome.denial.message, says);
      assert.match(
        outcome.ok ? "" : outcome.denial.message,
        new RegExp(`${name} may not ${verb === "review" ? "review" : "vote on"} ${id}`),
      );
      opened(at.run(verb, "user:bo@test", id, comment));
    });
