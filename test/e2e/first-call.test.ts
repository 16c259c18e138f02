// The first call, end to end, with real processes and the real commands: the happy path and the unhappy ones.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { APPROVER, AUDITOR, CALLER, REFUND, Scene, told } from "../scene.ts";

const ID = /^elv_[0-9A-Z]{26}$/;
const ASK = ["request", REFUND, "--reason", "OPS-7 charged twice", ...CALLER];

test("the first call: refused, asked for, approved, run, expired", { timeout: 120_000 }, async (t) => {
  await using scene = await Scene.open();
  const { stage } = scene;
  const refund = ["refund", "--charge", scene.charge, "--amount", "100", "--currency", "EUR", "--address", scene.address, ...CALLER];

  await t.test("a refusal names what failed, why, what to run, and its record, and the guard logs the same decision", async () => {
    const refused = await stage.caller(refund);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /ELEVATION_REQUIRED: payments\.v1\.Ledger\/Refund .*refund-operator.*brevet request/s);
    const decision = /dec_[0-9A-Z]{26}/.exec(refused.stderr)?.[0] ?? "none";
    for (let i = 0; i < 100 && !scene.ledger.log.some((line) => line.includes(decision)); i += 1)
      await new Promise((resolve) => setTimeout(resolve, 20));
    const line = scene.ledger.log.find((text) => text.includes(decision));
    assert.ok(line !== undefined, "the guard logged the decision");
    const logged = JSON.parse(line) as Record<string, unknown>;
    assert.equal(logged.reason, "ELEVATION_REQUIRED");
    assert.equal(logged.principal, "user:sam@acme.test");
  });

  await t.test("a request that a rule forbids is refused before anybody is asked", async () => {
    const without = await stage.brevet(["request", REFUND, ...CALLER]);
    assert.equal(without.status, 1, told(without));
    assert.match(without.stderr, /^REASON_REQUIRED: /);
    const long = await stage.brevet([...ASK, "--for", "9h"]);
    assert.match(long.stderr, /^DURATION_TOO_LONG: .*1h/s);
    const stranger = await stage.brevet(["request", REFUND, "--reason", "OPS-1", "--as", "user:eve@acme.test"]);
    assert.match(stranger.stderr, /^NOT_ELIGIBLE: /);
    const nowhere = await stage.brevet(["request", "payments.v1.Ledger/Nope", "--reason", "OPS-1", ...CALLER]);
    assert.equal(nowhere.status, 1, told(nowhere));
    assert.equal((await stage.brevet(["request", "not a method", ...CALLER])).status, 2);
  });

  await t.test("a dry run asks for nothing", async () => {
    const dry = await scene.brevet(...ASK, "--dry-run");
    assert.equal(dry.validateOnly, true);
    const { elevations } = (await scene.brevet("list", ...CALLER)) as { elevations: unknown[] };
    assert.equal(elevations.length, 0);
  });

  await t.test("the requester cannot approve, a stranger sees nothing", async () => {
    const asked = await scene.brevet(...ASK);
    const own = await stage.brevet(["approve", String(asked.id), ...CALLER]);
    assert.equal(own.status, 1, told(own));
    assert.match(own.stderr, /SELF_APPROVAL: /);
    const stranger = await stage.brevet(["show", String(asked.id), "--as", "user:eve@acme.test"]);
    assert.match(stranger.stderr, /^NOT_FOUND: /);
    const again = await scene.brevet(...ASK);
    assert.equal(again.id, asked.id, "the same question finds the same elevation");
    assert.equal(again.existing, true);
    const withdrawn = await scene.brevet("withdraw", String(asked.id), ...CALLER);
    assert.equal(withdrawn.stateName, "WITHDRAWN");
    const late = await stage.brevet(["approve", String(asked.id), ...APPROVER]);
    assert.match(late.stderr, /ALREADY_DECIDED: .*(withdrawn|WITHDRAWN)/s);
  });

  await t.test("a parked call goes on by itself after the approval, and its window ends", async () => {
    const began = stage.caller([...refund, "--authority", scene.url, "--for", "4s", "--wait", "1m", "--reason", "OPS-8"]);
    let pending: { id: string } | undefined;
    for (let i = 0; i < 100 && pending === undefined; i += 1) {
      const { elevations } = (await scene.brevet("list", "--decidable", "--state", "pending", ...APPROVER)) as {
        elevations: { id: string }[];
      };
      pending = elevations[0];
    }
    const id = pending?.id ?? "";
    assert.match(id, ID);
    const shown = await stage.brevet(["show", id, ...APPROVER]);
    assert.match(shown.stdout, /user:sam@acme\.test[\s\S]*OPS-8[\s\S]*You may decide/);
    await scene.brevet("approve", id, ...APPROVER);
    const done = await began;
    assert.equal(done.status, 0, told(done));
    assert.match(done.stdout, /"amountCents":\s*"?100"?/);
    const plain = await stage.caller(refund);
    assert.equal(plain.status, 0, told(plain));
    const { windowEnd } = (await scene.brevet("show", id, ...APPROVER)) as { windowEnd: string };
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, Date.parse(windowEnd) - Date.now()) + 100));
    const expired = await stage.caller(refund);
    assert.equal(expired.status, 1, told(expired));
    assert.match(expired.stderr, /ELEVATION_EXPIRED: /);
    const after = await scene.brevet("show", id, ...APPROVER);
    assert.equal(after.stateName, "EXPIRED");
  });

  await t.test("a waiting requester hears the approver's words", async () => {
    const waiting = stage.brevet(["request", REFUND, "--reason", "OPS-9", "--wait", "--timeout", "1m", ...CALLER, "--output", "json"]);
    let id = "";
    for (let i = 0; i < 100 && id === ""; i += 1) {
      const { elevations } = (await scene.brevet("list", "--decidable", "--state", "pending", ...APPROVER)) as {
        elevations: { id: string }[];
      };
      id = elevations[0]?.id ?? "";
    }
    await scene.brevet("deny", id, "--comment", "not this customer", ...APPROVER);
    const told1 = await waiting;
    assert.equal(told1.status, 1, told(told1));
    assert.match(told1.stderr, /ELEVATION_DENIED.*not this customer/s);
  });

  await t.test("a revocation that waits says of each guard that it enforces it", async () => {
    const ask = ["request", REFUND, "--reason", "OPS-11", "--as", "user:dora@acme.test", "--groups", "group:support"];
    const asked = await scene.brevet(...ask);
    const revoked = await stage.brevet(["revoke", String(asked.id), "--wait", ...APPROVER]);
    assert.equal(revoked.status, 0, told(revoked));
    assert.match(revoked.stdout, /is REVOKED.*\n[\w-]+: workload:ledger \S+ \(grpc\): enforced$/m);
    const again = await scene.brevet(...ask);
    const { enforcement } = (await scene.brevet("revoke", String(again.id), "--wait", ...APPROVER)) as {
      enforcement: { guard: { name: string }; enforced: boolean }[];
    };
    assert.deepEqual(
      enforcement.map(({ guard, enforced }) => [guard.name, enforced]),
      [["workload:ledger", true]],
    );
  });

  await t.test("a wait that ends first leaves the request open, with status 4", async () => {
    const cleo = ["--as", "user:cleo@acme.test", "--groups", "group:support"];
    const asked = await stage.brevet(["request", REFUND, "--reason", "OPS-10", "--wait", "--timeout", "300ms", ...cleo]);
    assert.equal(asked.status, 4, told(asked));
    const id = /APPROVAL_WAIT_TIMEOUT: (elv_[0-9A-Z]{26})/.exec(asked.stderr)?.[1] ?? "none";
    assert.equal((await scene.brevet("show", id, ...cleo)).stateName, "PENDING");
  });

  await t.test("the log verifies, for who may read it only", async () => {
    const report = await scene.brevet("audit", "verify", ...AUDITOR);
    assert.equal(report.ok, true);
    const stranger = await stage.brevet(["audit", "verify", "--as", "user:eve@acme.test"]);
    assert.equal(stranger.status, 1, told(stranger));
    assert.match(stranger.stderr, /ROLE_REQUIRED/);
  });

  await t.test("an authority that is away is unreachable, not a refusal", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    taken.close();
    await once(taken, "close");
    const away = await stage.brevet(["list", ...CALLER, "--authority", `http://127.0.0.1:${port}`]);
    assert.equal(away.status, 3, told(away));
    assert.match(away.stderr, /^AUTHORITY_UNREACHABLE: /);
  });
});
