// The decision by itself, in this process: what a guard does on each call whose caller it has seen before, for policies and elevations of
// several sizes, and the same for a grant. No network, no gRPC.
import { Decider, type GuardedCall, Knowledge } from "@brevet/guard";
import { loadPolicy } from "@brevet/policy";
import { generateSigningKey, keysOfJwks, signGrant } from "@brevet/protocol";
import { type Elevation, ElevationSchema, ElevationState, Presentation, PrincipalKind } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { createLocalJWKSet, exportJWK, generateKeyPair, SignJWT } from "jose";
import type { Effort } from "./effort.ts";
import { markdown, percentile } from "./figures.ts";

const AUDIENCE = "bench";
const ISSUER = "https://login.example.com";
const AUTHORITY = "https://brevet.example.com";
const NOW = Date.UTC(2027, 0, 31, 12);

/** Measures. Answers with Markdown. */
export async function measureDecision({ smoke }: Effort): Promise<string> {
  const rows: string[][] = [["rules", "elevations", "shown by", "p50 ns", "p99 ns", "heap kept a call, bytes"]];
  const sizes: readonly (readonly [rules: number, elevations: number])[] = smoke
    ? [[10, 10]]
    : [
        [10, 1],
        [1000, 1],
        [10_000, 1],
        [10, 10_000],
        [10, 1_000_000],
        [10_000, 1_000_000],
      ];
  for (const [rules, elevations] of sizes) {
    for (const shown of ["identity", "grant"] as const) {
      const { decider, call } = await prepared(rules, elevations, shown);
      const { p50, p99, kept } = measure(decider, call, smoke ? 1000 : 400_000);
      rows.push([rules.toLocaleString("en"), elevations.toLocaleString("en"), shown, p50.toFixed(0), p99.toFixed(0), kept.toFixed(1)]);
    }
  }
  return markdown(rows);
}

/** A batch of calls at a time: one call is shorter than the timer is exact. */
const BATCH = 50;

function measure(decider: Decider, call: GuardedCall, calls: number): { p50: number; p99: number; kept: number } {
  const run = (batches: number): number[] => {
    const samples: number[] = [];
    for (let batch = 0; batch < batches; batch += 1) {
      const began = process.hrtime.bigint();
      for (let i = 0; i < BATCH; i += 1) {
        const decision = decider.decide(call);
        if (decision instanceof Promise || decision.kind !== "permit") throw new Error(`not permitted: ${JSON.stringify(decision)}`);
      }
      samples.push(Number(process.hrtime.bigint() - began) / BATCH);
    }
    return samples.toSorted((a, b) => a - b);
  };
  run(Math.ceil(calls / BATCH / 4)); // warm-up
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const samples = run(Math.ceil(calls / BATCH));
  globalThis.gc?.();
  const kept = Math.max(0, process.memoryUsage().heapUsed - before - samples.length * 8) / calls;
  return { p50: percentile(samples, 0.5), p99: percentile(samples, 0.99), kept };
}

async function prepared(rules: number, elevations: number, shown: "identity" | "grant"): Promise<{ decider: Decider; call: GuardedCall }> {
  const { policy, findings } = loadPolicy(policyText(rules));
  if (policy === undefined) throw new Error(findings.map((finding) => finding.message).join("; "));
  const login = await generateKeyPair("EdDSA");
  const jwk = { ...(await exportJWK(login.publicKey)), kid: "login", alg: "EdDSA" };
  const grantKey = generateSigningKey();
  const knowledge = new Knowledge(AUDIENCE);
  knowledge.setAuthority({ issuer: AUTHORITY, publicUrl: AUTHORITY });
  knowledge.setPolicy({ compiled: policy, version: 1n });
  const publicJwk: unknown = typeof grantKey.publicJwk === "string" ? JSON.parse(grantKey.publicJwk) : grantKey.publicJwk;
  knowledge.setKeys({
    grants: keysOfJwks(JSON.stringify({ keys: [publicJwk] })),
    issuers: new Map([[ISSUER, { issuer: ISSUER, keys: createLocalJWKSet({ keys: [jwk] }), development: false, fetchedMs: 0 }]]),
  });
  for (let i = 0; i < elevations; i += 1) knowledge.setElevation(elevation(i));
  knowledge.heard(NOW, { epoch: "epo_bench", revision: 10n });
  const decider = new Decider({
    authorityAudience: "brevet",
    now: () => ({ authorityMs: NOW, errorMs: 1 }),
    use: () => Promise.reject(new Error("no first use here")),
  });
  decider.adopt(knowledge);
  const token = await new SignJWT({ sub: "sam" })
    .setProtectedHeader({ alg: "EdDSA", kid: "login", typ: "JWT" })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setIssuedAt(NOW / 1000 - 60)
    .setExpirationTime(NOW / 1000 + 3600)
    .sign(login.privateKey);
  const seconds = NOW / 1000;
  const grant = signGrant(
    {
      iss: AUTHORITY,
      sub: "user:sam",
      aud: AUDIENCE,
      iat: seconds - 60,
      nbf: seconds - 60,
      exp: seconds + 600,
      jti: "gnt_bench",
      elevation: elevation(0).id,
      epoch: "epo_bench",
      rev: "5",
      window_end: seconds + 600,
      authorization_details: [{ type: "grpc_method", actions: ["bench.v1.Bench0/Call"], entitlement: elevation(0).entitlement }],
    },
    grantKey,
  );
  const call: GuardedCall = {
    method: "bench.v1.Bench0/Call",
    requestStream: false,
    authorization: [`Bearer ${token}`],
    grants: shown === "grant" ? [grant] : [],
    peer: "127.0.0.1:1",
  };
  const first = await decider.decide(call);
  if (first.kind !== "permit") throw new Error(`not permitted: ${JSON.stringify(first)}`);
  return { decider, call };
}

function elevation(i: number): Elevation {
  return create(ElevationSchema, {
    id: `elv_${String(i).padStart(26, "0")}`,
    audience: AUDIENCE,
    entitlement: "e0",
    state: ElevationState.ACTIVE,
    requester: { id: `prn_${i}`, name: i === 0 ? "user:sam" : `user:other-${i}`, kind: PrincipalKind.USER },
    method: "bench.v1.Bench0/Call",
    methods: ["bench.v1.Bench0/Call"],
    windowStart: timestampFromMs(NOW - 60_000),
    windowEnd: timestampFromMs(NOW + 600_000),
    presentation: Presentation.ANY,
    revision: 5n,
  });
}

/** Methods of one entitlement, so that the largest policy stays under its size limit. */
const METHODS_EACH = 100;

function policyText(rules: number): string {
  const methods = Array.from({ length: rules }, (_, i) => `bench.v1.Bench${i}`);
  const services = methods.map((service) => `  ${service}: { methods: { Call: { access: elevated } } }`);
  const entitlements = Array.from({ length: Math.ceil(rules / METHODS_EACH) }, (_, i) => {
    const covered = methods.slice(i * METHODS_EACH, (i + 1) * METHODS_EACH).map((service) => `${service}/Call`);
    return `  e${i}: { methods: [${covered.join(",")}], requesters: ["group:callers"], duration: { default: 1h, max: 2h }, approval: { stages: [{ approvers: ["user:ana", "user:bo"], quorum: 1 }] } }`;
  });
  return `
apiVersion: brevet.dev/v1
audience: ${AUDIENCE}
identity:
  issuers:
    - issuer: ${ISSUER}
      audiences: [${AUDIENCE}]
      principal: "'user:' + claims.sub"
groups: { "group:callers": ["user:sam"] }
guards: ["workload:bench"]
roles: { admin: ["user:ana"], auditor: ["user:ana"] }
apply: { quorum: 1 }
services:
${services.join("\n")}
entitlements:
${entitlements.join("\n")}
`;
}
