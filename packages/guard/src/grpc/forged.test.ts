// Forged tokens cost a check each: who sends them is slowed down, and nobody beside them.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { framed, rawCall, rawConnect, rawHeaders } from "../testdata/relay.ts";
import { scene } from "../testdata/scene.ts";

test("one connection's forged tokens slow down that connection, and no other of the same address", async () => {
  await using at = await scene();
  const session = rawConnect(at.service.port);
  try {
    const [head, claims] = (await at.authority.token()).split(".");
    const forged = async (i: number) => {
      const signature = createHash("sha512").update(String(i)).digest("base64url");
      const answer = await rawCall(
        session,
        [...rawHeaders("/test.v1.Ledger/GetEntry", "authorization", `Bearer ${head}.${claims}.${signature}`)],
        framed(new Uint8Array(1)),
      );
      return String(answer.headers["grpc-message"]).split(":")[0];
    };
    const outcomes = new Set<string | undefined>();
    for (let i = 0; i < 2000 && !outcomes.has("REQUEST_QUOTA_EXCEEDED"); i += 20)
      for (const outcome of await Promise.all(Array.from({ length: 20 }, (_, j) => forged(i + j)))) outcomes.add(outcome);
    assert.deepEqual([...outcomes], ["IDENTITY_SIGNATURE_INVALID", "REQUEST_QUOTA_EXCEEDED"]);
    for (let i = 0; i < 5; i += 1) {
      const authorization = await at.as(`user:p${i}@acme.test`, { groups: ["group:support"] });
      assert.equal((await at.service.call("GetEntry", { authorization })).code, 0);
    }
  } finally {
    session.destroy();
  }
});
