// Who comes first wins, and the others are told so: approve, deny, withdraw, revoke and the pending limit, in every order.
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFinal } from "./evolve.ts";
import { stateName } from "./refusal.ts";
import { METHOD, MINUTE, opened, reasonOf, World } from "./testdata/world.ts";

type Racer = "approve" | "deny" | "withdraw" | "revoke" | "lapse";
const RACERS: readonly Racer[] = ["approve", "deny", "withdraw", "revoke", "lapse"];

function run(racer: Racer, world: World, id: string): string {
  switch (racer) {
    case "approve":
      return reasonOf(world.run("approve", "user:bo@test", id));
    case "deny":
      return reasonOf(world.run("deny", "user:cy@test", id));
    case "withdraw":
      return reasonOf(world.run("withdraw", "user:rita@test", id));
    case "revoke":
      return reasonOf(world.run("revoke", "user:admin@test", id));
    case "lapse":
      world.pass(30 * MINUTE);
      return "";
    default:
      return racer satisfies never;
  }
}

function orders(racers: readonly Racer[]): Racer[][] {
  if (racers.length === 0) return [[]];
  return racers.flatMap((first) => orders(racers.filter((other) => other !== first)).map((rest) => [first, ...rest]));
}

const DECIDES: Readonly<Record<Racer, string>> = {
  approve: "elevationApproved",
  deny: "elevationDenied",
  withdraw: "elevationWithdrawn",
  revoke: "elevationRevoked",
  lapse: "elevationLapsed",
};

test("one of approve, deny, withdraw, revoke and lapse decides, in every order", () => {
  for (const order of orders(RACERS)) {
    const world = new World();
    const id = opened(world.request("user:rita@test", { method: METHOD, entitlement: "refund" }));
    opened(world.run("approve", "user:ana@test", id));
    const answers = order.map((racer) => [racer, run(racer, world, id)] as const);
    const events = world.events(id);
    const decisive = events.filter((event) => Object.values(DECIDES).includes(event));
    assert.equal(decisive[0], DECIDES[order[0] ?? "lapse"], `${order.join(", ")}: ${events.join(", ")}`);
    // An approval may still be revoked, or lapse unused; nothing else follows a decision.
    const allowed = order[0] === "approve" ? 2 : 1;
    assert.equal(decisive.length, allowed, `${order.join(", ")}: ${decisive.join(", ")}`);
    assert.ok(isFinal(world.state(id)), stateName(world.state(id).state));
    for (const [racer, reason] of answers) {
      const won = racer === "lapse" || decisive.includes(DECIDES[racer]);
      assert.equal(reason, won ? "" : "ALREADY_DECIDED", `${racer} in ${order.join(", ")}`);
    }
  }
});
