// A guard that is started again while the authority is away: from what it kept, or not at all.
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { type Guard, type GuardOptions, guard } from "../grpc/grpc.ts";
import { StateFolder } from "../state/folder.ts";
import { GUARD_TOKEN, TestAuthority } from "../testdata/authority.ts";
import { AUDIENCE, DESCRIPTORS, POLICY } from "../testdata/facts.ts";
import { TestService } from "../testdata/service.ts";

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await wait(5);
}

/** An authority, a folder, and as many guards on it as are started. */
async function world(t: TestContext, policy = POLICY) {
  const folder = await mkdtemp(join(tmpdir(), "brevet-state-"));
  const authority = await TestAuthority.start({ policy, descriptors: DESCRIPTORS });
  const lines: Record<string, unknown>[] = [];
  const write = (fields: object, message: string) => void lines.push({ ...fields, message });
  const started: { guard: Guard; service: TestService }[] = [];
  const start = async (options: Partial<GuardOptions> = {}) => {
    const logger = { info: write, warn: write, error: write };
    const made = guard({
      authority: authority.url,
      audience: AUDIENCE,
      identity: () => GUARD_TOKEN,
      logger,
      state: join(folder, "guard"),
      ...options,
    });
    const service = await TestService.start([made.interceptor]);
    started.push({ guard: made, service });
    return { guard: made, service };
  };
  t.after(async () => {
    for (const each of started) {
      await each.service[Symbol.asyncDispose]();
      await each.guard.close();
    }
    await authority.stop();
    await rm(folder, { recursive: true, force: true });
  });
  const state = join(folder, "guard");
  const files = async () => (await readdir(state)).filter((name) => name.endsWith(".state")).map((name) => join(state, name));
  const as = async (principal?: string) => `Bearer ${await authority.token(principal)}`;
  return { folder, state, authority, lines, start, files, as };
}

test("a guard that starts while the authority is away goes on from what it kept, and is ready at once", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  // Begun long before: a start is judged at now - error.
  at.authority.elevate({ id: "elv_a", startedAgoMs: 60_000 });
  at.authority.elevate({ id: "elv_b", principal: "user:eve@acme.test", state: ElevationState.REVOKED });
  await at.authority.settled();
  assert.equal(first.guard.status().source, "authority");
  await at.authority.stop();
  // Nothing is written at its end that a kill would lose: the file is as it was when it acknowledged.
  const second = await at.start();
  // Nobody else could make it ready: the authority is gone.
  await second.guard.ready(AbortSignal.timeout(10_000));
  const status = second.guard.status();
  assert.deepEqual(
    [status.ready, status.source, status.connected, status.elevations, status.revision],
    [true, "snapshot", false, 2, at.authority.revision],
  );
  assert.ok(
    (status.snapshotAgeMs ?? -1) >= 0 && status.clockErrorMs < 1000,
    JSON.stringify(status, (_key, value: unknown) => String(value)),
  );
  assert.equal((await second.service.call("Refund", { authorization: await at.as() })).code, 0);
  assert.equal((await second.service.call("GetEntry", { authorization: await at.as() })).code, 0);
  assert.equal((await second.service.call("Ping")).code, 0);
  const eve = await second.service.call("Refund", { authorization: await at.as("user:eve@acme.test") });
  assert.equal(eve.status.reason, "ELEVATION_REVOKED");
});

test("what was acknowledged is on the disk: policy, keys and revocations, each before its acknowledgement", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  for (let i = 0; i < 20; i += 1) {
    at.authority.elevate({ id: `elv_${i}` });
    at.authority.elevate({ id: `elv_${i}`, state: ElevationState.REVOKED });
    await at.authority.settled();
    // Read by another at the very moment of the acknowledgement, as after a kill.
    const other = await at.start({ authority: at.authority.url, identity: () => Promise.reject(new Error("away")) });
    const refused = await other.service.call("Refund", { authorization: await at.as() });
    assert.equal(refused.status.reason, "ELEVATION_REVOKED", `${i}`);
    await other.guard.close();
  }
  at.authority.applyPolicy(POLICY.replace("Ping: { access: open }", "Ping: { access: forbidden }"));
  await at.authority.until(() => at.authority.acknowledgements.some(({ policyVersion }) => policyVersion === 2n));
  const other = await at.start({ identity: () => Promise.reject(new Error("away")) });
  assert.equal((await other.service.call("Ping", { authorization: await at.as() })).status.reason, "METHOD_FORBIDDEN");
  assert.equal(other.guard.status().policyVersion, 2n);
});

test("when the authority is back the guard resumes behind what it kept, and hears what it missed", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  const { revision, port, keys } = at.authority;
  await first.guard.close();
  await at.authority.stop();
  const second = await at.start();
  await using again = await TestAuthority.start({ policy: POLICY, descriptors: DESCRIPTORS, port, keys });
  again.revision = revision;
  again.elevations.set("elv_a", again.make({ id: "elv_a", state: ElevationState.REVOKED }));
  await until(() => second.guard.status().connected);
  await again.settled();
  assert.equal(again.hellos[0]?.after?.revision, revision);
  assert.equal(second.guard.status().source, "authority");
  assert.equal(second.guard.status().snapshotAgeMs, undefined);
  assert.equal((await second.service.call("Refund", { authorization: await at.as() })).status.reason, "ELEVATION_REVOKED");
});

test("a file that is cut, changed, renamed or another guard's is refused with a line in the log, and the guard starts without", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  await first.guard.close();
  const [file = ""] = await at.files();
  const bytes = await readFile(file);
  await at.authority.stop();
  const away = { authority: at.authority.url };
  const edited = Buffer.from(bytes);
  edited[bytes.length - 40] = (edited[bytes.length - 40] ?? 0) ^ 1;
  const cases: Record<string, [() => Promise<unknown>, RegExp, Partial<GuardOptions>]> = {
    cut: [() => truncate(file, bytes.length - 1), /cut short/, away],
    "cut to nothing": [() => truncate(file, 0), /cut short/, away],
    changed: [() => writeFile(file, edited), /was changed/, away],
    "of another version": [() => writeFile(file, Buffer.concat([Buffer.from("BREVETG9"), bytes.subarray(8)])), /another version/, away],
    "of another authority": [() => writeFile(file, bytes), /of the authority http/, { authority: "http://127.0.0.1:1" }],
    "with its key lost": [() => rm(join(at.state, "key")), /another key/, away],
  };
  for (const [name, [damage, problem, options]] of Object.entries(cases)) {
    await writeFile(file, bytes);
    await damage();
    at.lines.length = 0;
    const next = await at.start(options);
    const refused = at.lines.find(({ message }) => /is refused/.test(String(message)));
    assert.match(String(refused?.problem), problem, name);
    assert.equal(next.guard.status().ready, false, name);
    assert.equal((await next.service.call("Refund")).status.reason, "POLICY_UNAVAILABLE", name);
    await next.guard.close();
  }
});

test("files of another audience in the same folder are left alone, and copied to this one's name refused", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  await first.guard.close();
  const [file = ""] = await at.files();
  await at.authority.stop();
  const other = await at.start({ audience: "payments-other" });
  assert.equal(other.guard.status().ready, false);
  assert.ok(!at.lines.some(({ message }) => /is refused/.test(String(message))));
  await writeFile(new StateFolder(at.state, "payments-other").fileOf("gud_copy"), await readFile(file));
  const deceived = await at.start({ audience: "payments-other" });
  assert.equal(deceived.guard.status().ready, false);
  assert.match(String(at.lines.find(({ message }) => /is refused/.test(String(message)))?.problem), /it is of the audience payments-test/);
});

test("the folder and its files are the guard's alone, and hold no token", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  const authorization = await at.as();
  await first.service.call("Refund", { authorization, "brevet-grant": at.authority.grant(at.authority.make({ id: "elv_a" })) });
  await first.guard.close();
  assert.equal((await stat(at.state)).mode & 0o777, 0o700);
  for (const name of await readdir(at.state)) {
    const path = join(at.state, name);
    assert.equal((await stat(path)).mode & 0o777, 0o600, name);
    const text = (await readFile(path)).toString("latin1");
    for (const secret of [GUARD_TOKEN, authorization.slice(-20)]) assert.ok(!text.includes(secret), name);
  }
  const open = join(at.folder, "open");
  await mkdir(open);
  await chmod(open, 0o777);
  await assert.rejects(at.start({ state: open }), /others may write to the state folder .*chmod 700/);
});

test("many changes do not let the file grow without end", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  at.authority.elevate({ id: "elv_0" });
  await at.authority.settled();
  const [file = ""] = await at.files();
  let most = 0;
  for (let i = 0; i < 60; i += 1) {
    for (let j = 0; j < 200; j += 1) at.authority.elevate({ id: `elv_${j % 10}` });
    await at.authority.settled();
    most = Math.max(most, (await stat(file)).size);
  }
  const { size } = await stat(file);
  assert.ok(most > 600_000, `the changes were many: ${most}`);
  assert.ok(size < most, `${size} ${most}`);
  await first.guard.close();
  await at.authority.stop();
  const second = await at.start();
  assert.equal(second.guard.status().elevations, 10);
  assert.equal((await second.service.call("Refund", { authorization: await at.as() })).code, 0);
});

test("what a dead process left behind is removed once the next one has its own", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  await first.guard.close();
  const [file = ""] = await at.files();
  await writeFile(file.replace(".state", ".state.new"), "half");
  for (const each of [file, file.replace(".state", ".state.new")]) await utimes(each, 0, 0);
  const second = await at.start();
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  await until(async () => !(await readdir(at.state)).some((name) => file.includes(name.split(".")[0] ?? "")));
  assert.equal((await at.files()).length, 1);
  assert.equal(second.guard.status().source, "authority");
});

test("a disk that fails takes the kept state with it, loudly, and acknowledgements go on", async (t) => {
  const at = await world(t);
  const first = await at.start();
  await first.guard.ready(AbortSignal.timeout(10_000));
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  const [file = ""] = await at.files();
  // The next whole state cannot be written where a folder stands in its way; that the file is gone makes it be written.
  await mkdir(`${file}.new`);
  await rm(file);
  at.authority.elevate({ id: "elv_a", state: ElevationState.REVOKED });
  await until(() => first.guard.status().problem !== undefined);
  assert.match(first.guard.status().problem ?? "", /the state (cannot|can neither) be kept/);
  assert.deepEqual(await at.files(), []);
});

test("of several processes that share a folder the newest state counts, and each keeps its own", async (t) => {
  const at = await world(t);
  const [one, other] = [await at.start(), await at.start()];
  await Promise.all([one.guard.ready(), other.guard.ready()]);
  at.authority.elevate({ id: "elv_a" });
  await at.authority.settled();
  await until(async () => (await at.files()).length === 2);
  await one.guard.close();
  at.authority.elevate({ id: "elv_a", state: ElevationState.REVOKED });
  await until(() => at.authority.acknowledgements.some(({ position }) => position?.revision === at.authority.revision));
  await at.authority.stop();
  const next = await at.start();
  assert.equal((await next.service.call("Refund", { authorization: await at.as() })).status.reason, "ELEVATION_REVOKED");
});
