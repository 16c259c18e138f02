import assert from "node:assert/strict";
import { test } from "node:test";
import { keysOfJwks, verifyGrant } from "@brevet/protocol";
import { ElevationSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ISSUER, inDirectory, TestAuthority } from "../elevation/testdata/authority.ts";
import { AUDIENCE, METHOD } from "../elevation/testdata/world.ts";

test("a grant names the epoch of the log beside the revision: revisions of two epochs compare to nothing", () =>
  inDirectory(async (directory) => {
    await using authority = await TestAuthority.start(directory);
    const { grants, log, clock } = authority;
    const nowMs = clock.wallMs();
    const elevation = create(ElevationSchema, {
      id: "elv_1",
      audience: AUDIENCE,
      entitlement: "refund",
      method: METHOD,
      methods: [METHOD],
      windowStart: timestampFromMs(nowMs),
      windowEnd: timestampFromMs(nowMs + 60_000),
      revision: 7n,
    });
    const terms = { key: new Uint8Array(0), condition: "", payload: new Uint8Array(0) };
    const facts = { elevation, grant: "gnt_1", principal: "user:sam@test", issuedMs: nowMs, ...terms };
    const token = grants.sign(facts, await grants.signer());
    const keys = keysOfJwks(await grants.jwks());
    const check = verifyGrant(token, { keys, issuer: ISSUER, audience: AUDIENCE, nowMs, errorMs: 0 });
    assert.ok(check.ok);
    assert.deepEqual([check.claims.epoch, check.claims.rev], [log.position().epoch, "7"]);
  }));
