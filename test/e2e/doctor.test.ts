// `brevet doctor` finds each fault that is really made, names it with its fix, and finds nothing where nothing is wrong.
import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Http2Server, type Http2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { newId } from "@brevet/protocol";
import { PolicyAppliedSchema } from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { credentials, InterceptingCall, Metadata } from "@grpc/grpc-js";
import { LedgerClient } from "../../examples/ledger/src/calls.ts";
import { RefundRequestSchema } from "../../examples/ledger/src/gen/payments/v1/ledger_pb.ts";
import { evolve, nextDueMs } from "../../packages/authority/src/elevation/evolve.ts";
import { Log } from "../../packages/authority/src/log/log.ts";
import { openEmbeddedStore } from "../../packages/authority/src/store/embedded/embedded.ts";
import { startTestAuthority, TestCa, TestIssuer } from "../../packages/testing/src/testing.ts";
import { AUDITOR, CALLER, REFUND, Scene } from "../scene.ts";

const SKEW = fileURLToPath(new URL("skew.mjs", import.meta.url));
const AHEAD: readonly (readonly [number, string])[] = [
  [45_000, "45s ahead"],
  [-45_000, "45s behind"],
  [2 * 3_600_000, "2h ahead"],
];

interface Found {
  readonly check: string;
  readonly outcome: string;
  readonly says: string;
  readonly fix?: string;
}

/** What the doctor says of a scene; `wrong`: its problems only. */
async function examine(scene: Scene, words: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  const before = Object.keys(environment).map((name) => [name, process.env[name]] as const);
  scene.stage.setEnvironment(environment);
  const finished = await scene.stage.brevet(["doctor", "--audience", "payments-prod", "--output", "json", ...words]);
  scene.stage.setEnvironment(Object.fromEntries(before));
  assert.ok(finished.stdout.startsWith("{"), `exit ${finished.status}: ${finished.stderr}`);
  const { findings } = JSON.parse(finished.stdout) as { findings: Found[] };
  const wrong = findings.filter(({ outcome }) => outcome === "problem");
  for (const { fix, check } of wrong) assert.ok(fix !== undefined && fix.length > 10, `${check} has no fix`);
  return { status: finished.status, findings, wrong, said: wrong.map(({ check, says }) => `${check}: ${says}`).join("\n") };
}

const target = (scene: Scene) => ["--target", scene.address];

/** A clock that a test moves, for the processes that are started with it. */
async function movable(folder: string, name: string): Promise<{ environment: NodeJS.ProcessEnv; to: (ms: number) => Promise<void> }> {
  const file = join(folder, name);
  await writeFile(file, "0");
  return { environment: { NODE_OPTIONS: `--import ${SKEW}`, BREVET_SKEW_FILE: file }, to: (ms) => writeFile(file, String(ms)) };
}

test("where nothing is wrong nothing is found; what callers did wrong is, with its fix", { timeout: 120_000 }, async (t) => {
  await using scene = await Scene.open();
  const both = [...target(scene), "--method", REFUND];

  await t.test("nothing wrong", async () => {
    const { status, wrong, findings } = await examine(scene, [...both, ...AUDITOR]);
    assert.deepEqual([status, wrong], [0, []]);
    for (const check of ["authority", "clocks", "deadlines", "callers without credentials", `${REFUND} at ${scene.address}`])
      assert.ok(
        findings.some((each) => each.check === check && each.outcome === "ok"),
        check,
      );
  });

  await t.test("no identity here", async () => {
    const { status, said } = await examine(scene, target(scene));
    assert.equal(status, 1);
    assert.match(said, /^identity: none is configured.*IDENTITY_MISSING/);
  });

  await t.test("a token of the wrong audience, of a wrong algorithm, for the service", async () => {
    for (const [token, reason] of [
      [await scene.token("user:sam@acme.test", "brevet"), "IDENTITY_AUDIENCE_MISMATCH"],
      [
        `${part({ alg: "HS256", typ: "JWT" })}.${part({ aud: "payments-prod", exp: 4e9 })}.${"A".repeat(43)}`,
        "IDENTITY_ALGORITHM_REJECTED",
      ],
    ] as const) {
      const file = join(scene.data, "service.token");
      await writeFile(file, token);
      const { status, said } = await examine(scene, [...target(scene), "--service-token-file", file, ...CALLER]);
      assert.equal(status, 1);
      assert.match(said, new RegExp(`^token for the service: ${reason}`, "m"));
      assert.match(said, new RegExp(`^identity at ${scene.address}: ${reason}`, "m"));
      assert.ok(!said.includes(token.slice(-40)), "no part of a token is shown");
    }
  });

  await t.test("a caller with a deadline that no approval fits into, and one without credentials", async () => {
    const client = new LedgerClient(scene.address, credentials.createInsecure(), {
      interceptors: [(options, next) => new InterceptingCall(next({ ...options, deadline: Date.now() + 2000 }))],
    });
    const request = create(RefundRequestSchema, { charge: scene.charge, amountCents: 1n, currency: "EUR" });
    const sams = new Metadata();
    sams.set("authorization", `Bearer ${await scene.token("user:sam@acme.test", "payments-prod", ["group:support"])}`);
    for (const metadata of [sams, new Metadata()])
      await new Promise<void>((resolve) => void client.refund(request, metadata, () => resolve()));
    client.close();
    let { said } = await examine(scene, [...target(scene), ...AUDITOR]);
    for (let i = 0; i < 20 && !said.includes("deadlines"); i += 1) ({ said } = await examine(scene, [...target(scene), ...AUDITOR]));
    assert.match(said, new RegExp(`^deadlines: 1 call of ${REFUND} needed an approval and came with a deadline of [12]s`, "m"));
    assert.match(said, new RegExp(`^callers without credentials: 1 call of ${REFUND} came without .authorization.`, "m"));
  });

  await t.test("a protected method without a guard in front of it, which is not run", async () => {
    const folder = await mkdtemp(join(scene.data, "bare-"));
    const bare = await scene.stage.service(folder, ["--unguarded", "--listen", "127.0.0.1:0"]);
    const { address } = bare.ready as { address: string };
    const { status, said } = await examine(scene, ["--target", address, "--method", REFUND, ...CALLER]);
    assert.equal(status, 1);
    assert.match(said, new RegExp(`^${REFUND} at ${address}: is not refused without an identity`, "m"));
  });

  await t.test("a proxy that takes off a credential", async () => {
    for (const name of ["authorization", "brevet-grant"]) {
      await using proxy = await Stripping.before(scene.address, name);
      const { status, said } = await examine(scene, ["--target", proxy.address, ...CALLER]);
      assert.equal(status, 1);
      assert.match(
        said,
        new RegExp(`^metadata to ${proxy.address}: ${name} is taken off on the way \\(sent authorization, brevet-grant, .*; seen `, "m"),
      );
    }
  });

  await t.test("the caller's own clock", async () => {
    const clock = await movable(scene.data, "caller.skew");
    for (const [ms, how] of AHEAD) {
      await clock.to(ms);
      const { said } = await examine(scene, [...target(scene), ...AUDITOR], clock.environment);
      assert.match(said, new RegExp(`^clock of this machine: the clock of this machine is ${how}`, "m"));
      assert.doesNotMatch(said, /clock of the (authority|guard)/);
    }
  });

  await t.test("an authority that is away: exit 3", async () => {
    await scene.stage.stop(scene.authority);
    const { status, said } = await examine(scene, [...target(scene), ...CALLER]);
    assert.equal(status, 3);
    assert.match(said, /^authority: .*was not reached: ECONNREFUSED.*AUTHORITY_UNREACHABLE/m);
  });
});

test("the guard's clock is named", { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-doctor-"));
  const clock = await movable(folder, "guard.skew");
  await using scene = await Scene.open({ ledgerEnvironment: clock.environment });
  for (const [ms, how] of AHEAD) {
    await clock.to(ms);
    await new Promise((resolve) => setTimeout(resolve, 60));
    const { said } = await examine(scene, [...target(scene), ...AUDITOR]);
    assert.match(said, new RegExp(`^clock of the guard at ${scene.address}: the clock of the guard at ${scene.address} is ${how}`, "m"));
    assert.doesNotMatch(said, /clock of (the authority|this machine)/);
  }
  await rm(folder, { recursive: true });
});

test("the authority's clock is named", { timeout: 120_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-doctor-"));
  for (const [ms, how] of AHEAD) {
    const clock = await movable(folder, "authority.skew");
    await clock.to(ms);
    await using scene = await Scene.open({ authorityEnvironment: clock.environment });
    const { said } = await examine(scene, [...target(scene), ...AUDITOR]);
    assert.match(said, new RegExp(`^clock of the authority: the clock of the authority is ${how}`, "m"));
    assert.doesNotMatch(said, /clock of (the guard|this machine)/);
  }
  await rm(folder, { recursive: true });
});

test("a certificate that has expired, is not yet valid, or is for another name", { timeout: 60_000 }, async () => {
  await using scene = await Scene.open();
  const ca = await TestCa.create();
  const caFile = join(scene.data, "ca.pem");
  await writeFile(caFile, ca.cert);
  const day = 24 * 3_600_000;
  const now = Date.now();
  for (const [names, says] of [
    [{ ip: ["127.0.0.1"], notBefore: new Date(now - 9 * day), notAfter: new Date(now - day) }, /expired 1d( 0h)? ?.*ago/],
    [{ ip: ["127.0.0.1"], notBefore: new Date(now + day), notAfter: new Date(now + 9 * day) }, /becomes valid in (1d|23h)/],
    [{ dns: ["ledger.acme.test"] }, /is for another name/],
  ] as const) {
    const { cert, key } = await ca.issue(names);
    await writeFile(join(scene.data, "tls.crt"), cert);
    await writeFile(join(scene.data, "tls.key"), key);
    const tls = ["--tls-cert", join(scene.data, "tls.crt"), "--tls-key", join(scene.data, "tls.key")];
    const secure = await scene.stage.service(await mkdtemp(join(scene.data, "tls-")), [
      "--authority",
      scene.url,
      "--as",
      "workload:ledger",
      ...tls,
    ]);
    const { address } = secure.ready as { address: string };
    const { status, said } = await examine(scene, ["--target", `https://${address}`, "--target-ca", caFile, ...CALLER]);
    assert.equal(status, 3);
    assert.match(said, new RegExp(`^certificate of service https://${address}: .*${says.source}`, "m"));
    await scene.stage.stop(secure);
  }
});

test("the authority's own certificate, expired", { timeout: 60_000 }, async () => {
  const ca = await TestCa.create();
  const { cert, key } = await ca.issue({ ip: ["127.0.0.1"], notBefore: new Date(Date.now() - 9e8), notAfter: new Date(Date.now() - 9e7) });
  await using scene = await Scene.open();
  await using authority = await startTestAuthority({ tls: { cert, key } });
  const caFile = join(scene.data, "ca.pem");
  await writeFile(caFile, ca.cert);
  const { status, said } = await examine(scene, ["--authority", authority.url, "--ca", caFile, ...CALLER]);
  assert.equal(status, 3);
  assert.match(said, /^certificate of authority: .*expired 1d/m);
});

test("a guard whose keys are older than the issuer's", { timeout: 60_000 }, async () => {
  await using issuer = await TestIssuer.start();
  const { scene, words } = await trusting(issuer);
  await using _ = scene;
  const good = await examine(scene, words);
  assert.deepEqual([good.status, good.said], [0, ""]);
  // The issuer has another key from now on; nobody has fetched it, since no token of it has come.
  await issuer.rotate("ES256", { keepOld: true });
  const { status, said } = await examine(scene, words);
  assert.equal(status, 1);
  assert.match(
    said,
    new RegExp(`^issuer's keys at ${scene.address}: its guard's are older than the issuer's: .*IDENTITY_KEY_UNKNOWN`, "m"),
  );
});

test("a guard that enforces an older policy than the current one", { timeout: 60_000 }, async () => {
  // Not the authority's own issuer, whose name is its address.
  await using issuer = await TestIssuer.start();
  const { scene, words } = await trusting(issuer);
  await using _ = scene;
  const data = join(scene.data, "authority");
  await scene.stage.stop(scene.authority);
  // Another version is applied, and the guard, which looks for the authority where it was, does not hear of it.
  await applyAgain(data);
  const { url } = await scene.stage.authority(data);
  assert.notEqual(url, scene.url);
  const { status, said } = await examine(scene, words);
  assert.equal(status, 1);
  assert.match(said, new RegExp(`^policy at ${scene.address}: version 1 is in force, and 2 is current`, "m"));
});

/** A scene whose policy trusts an issuer, and the words by which Sam, of that issuer, has the doctor look at it. */
async function trusting(issuer: TestIssuer): Promise<{ scene: Scene; words: readonly string[] }> {
  const example = fileURLToPath(new URL("../../examples/ledger/", import.meta.url));
  const identity = `identity:\n  issuers:\n    - issuer: ${issuer.issuer}\n      audiences: [payments-prod]\n      principal: "'user:' + claims.sub"\n`;
  const scene = await Scene.open({
    policy: async (data) => {
      await copyFile(join(example, "ledger.binpb"), join(data, "ledger.binpb"));
      const file = join(data, "policy.yaml");
      await writeFile(file, (await readFile(join(example, "policy.yaml"), "utf8")).replace("\ngroups:", `\n${identity}\ngroups:`));
      return file;
    },
  });
  const [own, service] = [join(scene.data, "own.token"), join(scene.data, "service.token")];
  await writeFile(own, await issuer.token({ audience: "brevet", subject: "sam@acme.test" }));
  await writeFile(service, await issuer.token({ audience: "payments-prod", subject: "sam@acme.test" }));
  return { scene, words: [...target(scene), "--token-file", own, "--service-token-file", service] };
}

/** The policy that is in force, once more, as version 2: what an authority would write, into the log of one that is stopped. */
async function applyAgain(data: string): Promise<void> {
  await using store = await openEmbeddedStore(data);
  await using log = await Log.open({ store, newId, fold: { evolve, nextDueMs } });
  const [stored] = await store.policies();
  assert.ok(stored !== undefined);
  const texts = await store.openings([stored.document, ...(stored.descriptors ? [stored.descriptors] : [])]);
  const textOf = (commitment: Uint8Array) => texts.get(Buffer.from(commitment).toString("hex")) ?? assert.fail("a text is gone");
  const document = Buffer.from(textOf(stored.document)).toString("utf8");
  await log.write(async (tx) => {
    const value = create(PolicyAppliedSchema, { version: 2n, document: tx.seal(`${document}\n# once more\n`) });
    if (stored.descriptors) value.descriptors = tx.seal(textOf(stored.descriptors));
    tx.append({ audience: stored.audience, actor: "", requestId: "", elevation: "", event: { case: "policyApplied", value } });
  });
}

function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

/** An HTTP/2 proxy that takes one header off: the fault itself. */
class Stripping implements AsyncDisposable {
  readonly address: string;
  readonly #server: Http2Server;
  readonly #sessions = new Set<Http2Session>();

  private constructor(server: Http2Server) {
    this.#server = server;
    this.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async before(address: string, name: string): Promise<Stripping> {
    const server = createServer();
    server.on("stream", (stream, headers) => {
      const up = connect(`http://${address}`);
      up.on("error", () => stream.close());
      const { [name]: _, ...rest } = headers;
      const request = up.request(rest);
      stream.pipe(request);
      request.on("response", (answer) => stream.respond(answer, { waitForTrailers: true }));
      request.on("trailers", (trailers) => {
        stream.on("wantTrailers", () => stream.sendTrailers(trailers));
      });
      request.on("data", (chunk: Buffer) => stream.write(chunk));
      request.on("end", () => stream.end());
      request.on("error", () => stream.close());
      stream.on("close", () => up.close());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const proxy = new Stripping(server);
    server.on("session", (session) => proxy.#sessions.add(session));
    return proxy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
