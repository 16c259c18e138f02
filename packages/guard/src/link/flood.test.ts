// Whoever has no identity may send what they like: the link to the real authority, which takes a mebibyte at once, stands.
import assert from "node:assert/strict";
import type { ClientHttp2Session } from "node:http2";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { startTestAuthority } from "@brevet/testing";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { guard } from "../grpc/grpc.ts";
import { AUDIENCE, DESCRIPTORS, METHODS, POLICY, SAM } from "../testdata/facts.ts";
import { framed, rawCall, rawConnect, rawHeaders } from "../testdata/relay.ts";
import { TestService } from "../testdata/service.ts";

const IDENTITIES = [
  [],
  ["authorization", "x"],
  ["authorization", "Bearer e30.e30.e30"],
  ["authorization", "Bearer eyJhbGciOiJub25lIn0.e30.e30"],
];
/** About 57 kB, which is nearly what HTTP/2 servers take. */
const NAMES = Array.from({ length: 110 }, (_, i) => [`x-${"a".repeat(500)}${i}`, ""]).flat();

async function flood(session: ClientHttp2Session): Promise<void> {
  for (const method of Object.keys(METHODS))
    await Promise.all(
      IDENTITIES.map((identity) =>
        rawCall(session, [...rawHeaders(`/test.v1.Ledger/${method}`), ...identity, ...NAMES], framed(new Uint8Array(1))),
      ),
    );
}

test("calls without an identity, however long their headers, keep no revocation from the guard", { timeout: 60_000 }, async () => {
  await using authority = await startTestAuthority({ policy: POLICY, descriptors: DESCRIPTORS });
  const lines: Record<string, unknown>[] = [];
  const log = (fields: object, message: string) => void lines.push({ ...fields, message });
  await using made = guard({
    authority: authority.url,
    audience: AUDIENCE,
    identity: (audience) => authority.token("workload:guard", { audience }),
    logger: { info: log, warn: log, error: log },
  });
  await made.ready(AbortSignal.timeout(10_000));
  await using service = await TestService.start([made.interceptor]);
  const as = async (principal: string) => {
    const authorization = `Bearer ${await authority.token(principal, { groups: ["group:support"] })}`;
    return {
      client: createClient(ElevationService, createGrpcTransport({ baseUrl: authority.url })),
      with: { headers: { authorization } },
    };
  };
  const [sam, ana] = [await as(SAM), await as("user:ana@acme.test")];
  const { elevation } = await sam.client.request(
    { requestId: "flood-it-1", audience: AUDIENCE, method: "test.v1.Ledger/Refund" },
    sam.with,
  );
  assert.ok(elevation);
  const { id, revision } = elevation;
  await ana.client.approve({ requestId: "flood-it-2", id, seenRevision: revision }, ana.with);
  const authorization = `Bearer ${await authority.token(SAM, { audience: AUDIENCE, groups: ["group:support"] })}`;
  assert.equal((await service.call("Refund", { authorization })).code, 0);

  const session = rawConnect(service.port);
  try {
    await flood(session);
    // Until all that was decided has been sent.
    await wait(1500);
    assert.equal(made.status().connected, true);
    await flood(session);
    await ana.client.revoke({ requestId: "flood-it-3", target: { case: "id", value: id }, wait: true }, ana.with);
    assert.equal((await service.call("Refund", { authorization })).status.reason, "ELEVATION_REVOKED");
    await wait(1500);
    assert.deepEqual(
      lines.filter(({ message }) => /link/.test(String(message))),
      [],
      "the link never broke",
    );
    assert.equal(made.status().connected, true);
  } finally {
    session.destroy();
  }
});
