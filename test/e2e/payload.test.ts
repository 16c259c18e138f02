// An approval that covers one exact request: the approver sees what will run, another request is refused, and it runs once.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Scene, told } from "../scene.ts";

const DAN = ["--as", "user:dan@acme.test", "--groups", "group:dba"];
const PLATFORM = ["--as", "user:pat@acme.test"];

test("a payload-bound approval is for one request, once, seen by both stages of approvers", async () => {
  await using scene = await Scene.open();
  const migrate = (to: string) => scene.stage.caller(["migrate", "--to", to, "--address", scene.address, ...DAN]);
  const refused = await migrate("chained");
  assert.match(refused.stderr, /ELEVATION_REQUIRED: .*brevet request payments\.v1\.Ledger\/Migrate .*--payload FILE/s);

  // payments.v1.MigrateRequest { target_format: "chained" } in wire form.
  const file = join(scene.data, "request.bin");
  await writeFile(file, Buffer.from([0x0a, 7, ...Buffer.from("chained")]));
  const asked = await scene.brevet("request", "payments.v1.Ledger/Migrate", "--payload", file, "--reason", "DB-1", ...DAN);
  const id = String(asked.id);
  const one = await scene.brevet("approve", id, "--as", "user:ana@acme.test");
  assert.equal(one.stateName, "PENDING", "one stage of two");
  const seen = await scene.stage.brevet(["show", id, ...PLATFORM]);
  assert.match(seen.stdout, /9 bytes .*chained.*SHA-256 [0-9a-f]{64}/, told(seen));
  const two = await scene.brevet("approve", id, ...PLATFORM);
  assert.equal(two.stateName, "SCHEDULED");

  const other = await migrate("plain");
  assert.match(other.stderr, /GRANT_PAYLOAD_MISMATCH: /, told(other));
  const first = await migrate("chained");
  assert.equal(first.status, 0, told(first));
  const second = await migrate("chained");
  assert.match(second.stderr, /GRANT_PAYLOAD_MISMATCH: /, told(second));
});
