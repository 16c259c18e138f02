import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationService, type ElevationServiceRequestRequestSchema } from "@brevet/protocol/brevet/v1/elevation";
import { startTestAuthority } from "@brevet/testing";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { status } from "@grpc/grpc-js";
import { AUDIENCE, DESCRIPTORS, POLICY, SAM } from "../testdata/facts.ts";
import { TestService } from "../testdata/service.ts";
import { guard } from "./grpc.ts";

const ANA = "user:ana@acme.test";
const GROUPS = ["group:support"];
let requests = 0;

async function story() {
  await using stack = new AsyncDisposableStack();
  const authority = stack.use(await startTestAuthority({ policy: POLICY, descriptors: DESCRIPTORS }));
  const lines: object[] = [];
  const log = (fields: object, message: string) => void lines.push({ ...fields, message });
  const payments = stack.use(
    guard({
      authority: authority.url,
      audience: AUDIENCE,
      identity: (audience) => authority.token("workload:guard", { audience }),
      logger: { info: log, warn: log, error: log },
    }),
  );
  await payments.ready(AbortSignal.timeout(10_000));
  const service = stack.use(await TestService.start([payments.interceptor]));
  const as = (principal: string) => {
    const identify: Interceptor = (next) => async (request) => {
      request.header.set("authorization", `Bearer ${await authority.token(principal, { groups: GROUPS })}`);
      return next(request);
    };
    return createClient(ElevationService, createGrpcTransport({ baseUrl: authority.url, interceptors: [identify] }));
  };
  const bearer = `Bearer ${await authority.token(SAM, { audience: AUDIENCE, groups: GROUPS })}`;
  const ask = async (fields: MessageInitShape<typeof ElevationServiceRequestRequestSchema>) => {
    requests += 1;
    const { elevation } = await as(SAM).request({ requestId: `request-${requests}`, audience: AUDIENCE, ...fields });
    assert.ok(elevation);
    return elevation;
  };
  const approve = async (id: string, seenRevision: bigint) => {
    requests += 1;
    const { elevation } = await as(ANA).approve({ requestId: `request-${requests}`, id, seenRevision });
    assert.ok(elevation);
    return elevation;
  };
  const parts = stack.move();
  return { authority, payments, service, as, bearer, ask, approve, lines, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}

test("with the real authority: calls go on while it is away, and what it says afterwards counts", async () => {
  await using at = await story();
  const { service, bearer: authorization } = at;
  const asked = await at.ask({ method: "test.v1.Ledger/Refund" });
  await at.approve(asked.id, asked.revision);
  assert.equal((await service.call("Refund", { authorization })).code, status.OK);
  await at.authority.restart(async () => {
    for (let i = 0; i < 20; i += 1) assert.equal((await service.call("Refund", { authorization })).code, status.OK);
  });
  while (!at.payments.status().connected) await new Promise((resolve) => setTimeout(resolve, 20));
  await at.as(ANA).revoke({ requestId: "revoke-it-2", target: { case: "id", value: asked.id }, wait: true });
  assert.equal((await service.call("Refund", { authorization })).status.reason, "ELEVATION_REVOKED");
});
