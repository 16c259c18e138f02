// Signing in somebody made up: what is said where that fails.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { startTestAuthority } from "@brevet/testing";
import { CommandError, exitStatus } from "../output/status.ts";
import { tokenSource } from "./identity.ts";

const POLICY = `
apiVersion: brevet.dev/v1
audience: payments-test
guards: ["workload:guard"]
roles: { admin: ["user:kim@acme.test"] }
apply: { quorum: 0 }
services:
  test.v1.Ledger: { default: authenticated }
`;

async function failure(action: () => unknown): Promise<CommandError> {
  try {
    await action();
  } catch (error) {
    assert.ok(error instanceof CommandError, String(error));
    return error;
  }
  return assert.fail("it succeeded");
}

async function folderWith(t: TestContext, code: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "brevet-identity-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "dev.json"), JSON.stringify({ code }));
  return folder;
}

test("a code that is not the authority's is refused with the reason first, and where it was taken from", async (t) => {
  delete process.env.BREVET_DEV_CODE;
  await using authority = await startTestAuthority({ policy: POLICY });
  const devData = await folderWith(t, "AAAA-AAAA-AAAA");
  const source = tokenSource(authority.url, { as: "user:sam@acme.test", devData });
  const ofFile = await failure(() => source?.("brevet"));
  assert.match(ofFile.message, /^The code is not the one that was printed/);
  assert.match(ofFile.message, /user:sam@acme\.test/);
  assert.ok(ofFile.hints.join("\n").includes(join(devData, "dev.json")));
  assert.match(ofFile.hints.join("\n"), /--dev-data/);
  assert.match(ofFile.hints.join("\n"), /BREVET_DATA/);
  process.env.BREVET_DEV_CODE = "BBBB-BBBB-BBBB";
  t.after(() => delete process.env.BREVET_DEV_CODE);
  const ofEnvironment = await failure(() => source?.("brevet"));
  assert.match(ofEnvironment.hints.join("\n"), /BREVET_DEV_CODE/);
  for (const { message, hints } of [ofFile, ofEnvironment]) assert.doesNotMatch([message, ...hints].join("\n"), /[{}]|AAAA|BBBB/);
});

test("a refusal that is no JSON is told as it is", async (t) => {
  const server = createServer((_request, response) => response.writeHead(502).end("bad gateway"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const source = tokenSource(`http://127.0.0.1:${port}`, { as: "user:sam@acme.test", devData: await folderWith(t, "C") });
  assert.match((await failure(() => source?.("brevet"))).message, /^Bad gateway/);
});

test("a name without its kind is misuse, and shows the form", async () => {
  for (const as of ["sam", "sam@acme.test", "group:support", "user:"]) {
    const { status, message, hints } = await failure(() => tokenSource("http://127.0.0.1:1", { as }));
    assert.equal(status, exitStatus.misuse);
    assert.ok(message.includes(as));
    assert.match(hints.join("\n"), /user:sam@example\.com/);
  }
});
