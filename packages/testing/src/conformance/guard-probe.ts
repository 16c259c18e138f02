// What a guard tells whoever asks what arrives at it: the same in every form, to callers with an identity only, and never of others.
import assert from "node:assert/strict";
import { GrpcCode, PROBE_METHOD, readStatus, STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import { GuardServiceProbeResponseSchema } from "@brevet/protocol/brevet/v1/guard";
import { fromBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { ScenePromise } from "./guard-scene.ts";
import { AUDIENCE } from "./guard-world.ts";

export function probeConformance(promise: ScenePromise): void {
  promise("a probe shows the names that arrived, the clock, the policy and the keys, and reaches no handler", async (at) => {
    const who = at.person();
    const before = at.service.handled.length;
    const answer = await at.client.call(PROBE_METHOD, [...at.as(who), ["brevet-grant", "not-a-grant"], ["x-mine", "secret-value"]]);
    assert.equal(answer.code, GrpcCode.OK);
    const probed = fromBinary(GuardServiceProbeResponseSchema, answer.messages[0] ?? assert.fail("no answer"));
    assert.deepEqual(probed.headersSeen, ["authorization", "brevet-grant", "x-mine"]);
    assert.deepEqual([probed.audience, probed.principal, probed.policyVersion > 0n, probed.grantKeyIds.length], [AUDIENCE, who, true, 1]);
    assert.ok(probed.instance.startsWith("gud_") && probed.form !== "" && probed.software !== "");
    // The machine's own clock is hours off in this scene, and is shown as it is.
    const [machineMs, authorityMs] = [timestampMs(probed.time ?? assert.fail()), timestampMs(probed.authorityTime ?? assert.fail())];
    assert.ok(Math.abs(authorityMs - at.clock.wallMs()) < 2000, "the estimate of the authority's time");
    assert.ok(machineMs - authorityMs > 3_600_000, "the machine's clock, uncorrected");
    assert.ok((probed.issuer?.keyIds.length ?? 0) > 0);
    assert.ok(
      !Buffer.from(answer.messages[0] ?? [])
        .toString("latin1")
        .includes("secret-value"),
    );
    assert.equal(at.service.handled.length, before);
  });

  promise("a probe without a good identity is refused like any call, and its refusal says what arrived", async (at) => {
    const { code, message, trailers } = await at.client.call(PROBE_METHOD, [["x-mine", "1"]]);
    const { reason, metadata } = readStatus(code ?? 0, message, Buffer.from(String(trailers[STATUS_DETAILS_TRAILER]), "base64"));
    assert.deepEqual([reason, metadata.headersSeen, metadata.policyVersion], ["IDENTITY_MISSING", "x-mine", undefined]);
    const expired = await at.client.call(PROBE_METHOD, at.as(at.person(), { claims: { exp: 1 } }));
    assert.match(expired.message, /^IDENTITY_EXPIRED: /);
  });
}
