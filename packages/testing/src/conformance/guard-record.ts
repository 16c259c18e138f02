// What is written down of a call: in the guard's log, and in its reports to the authority. The same decision on both sides, and no credential.
import assert from "node:assert/strict";
import { catalogue, STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import { Reason } from "@brevet/protocol/brevet/v1/reason";
import { ErrorInfoSchema } from "@brevet/protocol/google/rpc/error_details";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import type { ScenePromise } from "./guard-scene.ts";
import type { Headers, WireAnswer } from "./guard-wire.ts";
import { ALL_KINDS, methodOf } from "./guard-world.ts";

const TRACE = "ab".repeat(16);

export function recordConformance(promise: ScenePromise): void {
  promise("caller, log and authority have the same decision, by the same id", async (at) => {
    const who = at.person();
    for (const kind of ALL_KINDS) {
      const method = methodOf("Plain", kind);
      const headers: Headers = [...at.as(who), ["traceparent", `00-${TRACE}-${"cd".repeat(8)}-01`], ["x-mine", "1"]];
      const answer = await at.client.call(method, headers);
      const sent = detailsOf(answer);
      const [info] = fromBinary(StatusSchema, sent).details;
      const decisionId = (info && anyUnpack(info, ErrorInfoSchema)?.metadata.decisionId) ?? "";
      assert.match(decisionId, /^dec_/);
      const line = at.lines.find((fields) => fields.decisionId === decisionId);
      assert.deepEqual([line?.reason, line?.method, line?.principal, line?.traceId], ["ELEVATION_REQUIRED", method, who, TRACE]);
      await at.advance(1000);
      await at.authority.reported((decision) => decision.decisionId === decisionId);
      const told = at.authority.decisions.find((decision) => decision.decisionId === decisionId);
      assert.deepEqual(
        [told?.reason, told?.method, told?.principal, told?.permitted, told?.traceId],
        [Reason.ELEVATION_REQUIRED, method, who, false, TRACE],
      );
      assert.deepEqual(Buffer.from(told?.status ?? []), sent, "the very status that was sent");
      assert.deepEqual(told?.headersSeen, ["authorization", "traceparent", "x-mine"]);
    }
  });

  promise("what was left of a refused call's deadline is reported, and the shortest of those that are counted", async (at) => {
    const method = methodOf("Plain", "Unary");
    const who = at.person();
    await at.client.call(method, [...at.as(who), ["grpc-timeout", "2500m"]]);
    await at.client.call(method, at.as(at.person()));
    for (const timeout of ["9S", "3S"]) await at.client.call(method, [["grpc-timeout", timeout]]);
    await at.advance(1000);
    const of = (principal: string, reason: Reason) =>
      at.authority.decisions.find(
        (decision) => decision.principal === principal && decision.reason === reason && decision.method === method,
      );
    await at.authority.reported(({ principal }) => principal === "");
    const deadline = of(who, Reason.ELEVATION_REQUIRED)?.deadline;
    const leftMs = deadline === undefined ? 0 : durationMs(deadline);
    assert.ok(leftMs > 1000 && leftMs <= 2500, `${leftMs} ms`);
    const counted = of("", Reason.IDENTITY_MISSING)?.deadline;
    const shortestMs = counted === undefined ? Infinity : durationMs(counted);
    assert.ok(shortestMs > 1000 && shortestMs <= 3000, `${shortestMs} ms`);
    assert.ok(at.lines.some((line) => line.principal === who && Number(line.deadlineMs) <= 2500));
  });

  promise("permitted calls under an elevation are counted, with the status that they ended with", async (at) => {
    const { headers, who, elevation } = await at.elevated("Plain");
    for (const kind of ALL_KINDS) {
      const method = methodOf("Plain", kind);
      await at.service.during(
        (call) => call.end({ code: status.NOT_FOUND, details: "not here" }),
        async () => {
          for (let i = 0; i < 3; i += 1) assert.equal((await at.client.call(method, headers)).code, status.NOT_FOUND);
        },
      );
      await at.advance(1000);
      const mine = () => at.authority.decisions.filter((each) => each.permitted && each.principal === who && each.method === method);
      const counted = () => mine().reduce((sum, { count }) => sum + Math.max(1, Number(count)), 0);
      await at.authority.reported(() => counted() >= 3);
      for (const { elevation: id, callStatus } of mine()) assert.deepEqual([id, callStatus], [elevation.id, status.NOT_FOUND]);
      assert.equal(counted(), 3);
    }
  });

  promise("no credential is in the log, nor in what is reported", async (at) => {
    const { headers, elevation } = await at.elevated("Shown");
    const grant = at.authority.facts.grant(elevation);
    for (const sent of [
      [...headers, ["brevet-grant", grant]],
      [...headers, ["brevet-grant", `${grant}x`]],
      [["authorization", `Bearer x${headers[0]?.[1] ?? ""}`]],
      [["authorization", `Basic ${grant}`]],
    ] satisfies Headers[])
      await at.client.call(methodOf("Shown", "Unary"), sent);
    await at.advance(1000);
    const written =
      JSON.stringify(at.lines) + at.authority.decisions.map(({ status: bytes }) => Buffer.from(bytes).toString("latin1")).join("");
    for (const part of [...grant.split("."), ...(headers[0]?.[1] ?? "").split(/[ .]/)])
      if (part.length > 20) assert.ok(!written.includes(part), "a part of a token was written down");
    assert.ok(written.includes(catalogue.GRANT_MALFORMED.reason) || written.includes(catalogue.IDENTITY_MALFORMED.reason));
  });
}

function detailsOf({ trailers }: WireAnswer): Buffer {
  return Buffer.from(String(trailers[STATUS_DETAILS_TRAILER]), "base64");
}
