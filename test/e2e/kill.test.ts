// The authority as a real process, killed with SIGKILL at random points under load: what it acknowledged is there afterwards, once, and the log verifies.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { newId } from "@brevet/protocol";
import { type Elevation, ElevationService, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Running, Stage } from "../../packages/cli/src/demo/stage.ts";

const ROUNDS = Number(process.env.BREVET_KILL_ROUNDS ?? 8);
const METHOD = "payments.v1.Ledger/Refund";

interface Acknowledged {
  readonly state: ElevationState;
  readonly revision: bigint;
  readonly votes: number;
}

function clientOf(url: string, token: string) {
  const transport = createGrpcTransport({
    baseUrl: url,
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  return createClient(ElevationService, transport);
}

async function signIn(authority: Running, principal: string, groups: readonly string[]): Promise<string> {
  const { url, dev } = authority.ready as { url: string; dev: { code: string } };
  const response = await fetch(`${url}/dev/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code: dev.code, principal, groups, audience: "brevet" }),
  });
  assert.equal(response.status, 200, await response.clone().text());
  return ((await response.json()) as { token: string }).token;
}

test(`nothing acknowledged is lost or doubled over ${ROUNDS} kills`, { timeout: 15 * 60_000 }, async () => {
  const data = await mkdtemp(join(tmpdir(), "brevet-kill-"));
  await using stage = new Stage({});
  const acknowledged = new Map<string, Acknowledged>();
  const start = async () => (await stage.authority(data, ["--log-level", "error"])).authority;
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const authority = await start();
      const { url } = authority.ready as { url: string };
      const requester = clientOf(url, await signIn(authority, `user:caller-${round}@example.com`, ["group:support"]));
      const approver = clientOf(url, await signIn(authority, "user:ana@acme.test", ["group:payments-oncall"]));
      const remember = (elevation: Elevation | undefined) => {
        if (elevation === undefined) return;
        acknowledged.set(elevation.id, { state: elevation.state, revision: elevation.revision, votes: elevation.votes.length });
      };
      let going = true;
      const load = Array.from({ length: 8 }, async (_unused, lane) => {
        for (let i = 0; going; i += 1) {
          try {
            const ask = {
              requestId: newId("req"),
              audience: "payments-prod",
              method: METHOD,
              reason: `LOAD-${round} ${lane}.${i}`,
              run: `run-${lane}-${i}`,
            };
            const { elevation } = await requester.request(ask);
            remember(elevation);
            const id = elevation?.id ?? "";
            if (i % 3 === 0) remember((await requester.withdraw({ requestId: newId("req"), id })).elevation);
            else {
              remember((await approver.approve({ requestId: newId("req"), id })).elevation);
              // Some stay open, as many as one requester may have.
              if (i % 3 === 1 || i > 30) remember((await requester.end({ requestId: newId("req"), id, all: true })).elevation);
            }
          } catch (error) {
            if (going) throw error;
          }
        }
      });
      await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 400));
      going = false;
      authority.process.kill("SIGKILL");
      await once(authority.process, "close");
      const failed = (await Promise.allSettled(load)).filter((lane) => lane.status === "rejected");
      assert.deepEqual(failed, [], "no call fails before the kill");
    }
    const authority = await start();
    const { url } = authority.ready as { url: string };
    const admin = clientOf(url, await signIn(authority, "user:root@acme.test", ["group:platform"]));
    assert.ok(acknowledged.size > ROUNDS, `the load was real: ${acknowledged.size} elevations`);
    for (const [id, known] of acknowledged) {
      const { elevation } = await admin.get({ id });
      assert.ok(elevation !== undefined && elevation.revision >= known.revision, `${id} was acknowledged at revision ${known.revision}`);
      assert.ok(elevation.votes.length >= known.votes && elevation.votes.length <= 1, `${id}: ${elevation.votes.length} votes`);
      if (known.state > ElevationState.ACTIVE) assert.equal(elevation.state, known.state, `${id} was final`);
    }
    const dev = (authority.ready as { dev: { code: string } }).dev;
    stage.setEnvironment({ BREVET_AUTHORITY: url, BREVET_DEV_CODE: dev.code });
    const verified = await stage.brevet([
      "audit",
      "verify",
      "--as",
      "user:auditor@acme.test",
      "--groups",
      "group:security",
      "--output",
      "json",
    ]);
    assert.equal(verified.status, 0, verified.stderr + verified.stdout);
    const report = JSON.parse(verified.stdout) as { ok: boolean; entries: number };
    assert.ok(report.ok && report.entries > acknowledged.size);
  } finally {
    await rm(data, { recursive: true, force: true });
  }
});
