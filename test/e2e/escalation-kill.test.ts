// An elevation that waits, with everything that waits for it, over kill -9 of the authority: its escalation, those who watch, the caller.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Stage } from "../../packages/cli/src/demo/stage.ts";
import { told } from "../scene.ts";

const SAM = ["--as", "user:sam@acme.test"];
const ANA = ["--as", "user:ana@acme.test"];
const LEA = ["--as", "user:lea@acme.test"];
const METHOD = "payments.v1.Ledger/Refund";
const POLICY = `
apiVersion: brevet.dev/v1
audience: payments-prod
guards: ["workload:ledger"]
roles: { admin: ["user:pat@acme.test"] }
services:
  payments.v1.Ledger:
    methods: { Refund: { access: elevated } }
entitlements:
  refund:
    methods: [${METHOD}]
    requesters: ["user:sam@acme.test"]
    approval:
      stages:
        - { approvers: ["user:ana@acme.test"], escalate: { after: 4s, to: ["user:lea@acme.test"] } }
        - { approvers: ["user:ana@acme.test"], escalate: { after: 1s, to: ["user:pat@acme.test"] } }
`;

interface Seen {
  readonly id: string;
  readonly stateName: string;
  readonly stage?: number;
  readonly stages: readonly { readonly escalatedTo?: readonly { readonly text: string }[] }[];
}

/** Lines of JSON as they come, to be waited for. */
class Lines {
  readonly seen: Seen[] = [];
  #wake = () => {};

  readonly push = (line: string) => {
    if (!line.startsWith("{")) return;
    this.seen.push(JSON.parse(line) as Seen);
    this.#wake();
  };

  async until(done: (seen: Seen) => boolean): Promise<Seen> {
    for (;;) {
      const found = this.seen.find(done);
      if (found) return found;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

const escalated = ({ stages }: Seen, stage: number) => stages[stage]?.escalatedTo?.map(({ text }) => text) ?? [];

test("kill -9 while an elevation waits: it is escalated once, who watches sees it, the caller who waits gets it", {
  timeout: 120_000,
}, async () => {
  const data = await mkdtemp(join(tmpdir(), "brevet-escalation-"));
  await using stage = new Stage({});
  try {
    const policy = join(data, "policy.yaml");
    await writeFile(policy, POLICY);
    const serve = (port: string) => {
      const where = ["--data", join(data, "authority"), "--listen", `127.0.0.1:${port}`, "--admin-listen", "off", "--log-level", "error"];
      return stage.serve(["--dev", "--policy", policy, ...where]);
    };
    const first = await serve("0");
    const { url, dev } = first.ready as { url: string; dev: { code: string } };
    stage.setEnvironment({ BREVET_AUTHORITY: url, BREVET_DEV_CODE: dev.code });
    const watched = new Lines();
    const waiting = stage.brevet(["request", METHOD, "--wait", "--output", "json", ...SAM]);
    const watching = stage.brevet(["watch", "--output", "json", ...ANA], watched.push);
    const { id } = await watched.until(({ stateName }) => stateName === "PENDING");
    first.process.kill("SIGKILL");
    await once(first.process, "close");
    const second = await serve(new URL(url).port);
    // Not before the kill: nothing shows when it has signed in, and without that it would end there.
    const asked = new Lines();
    const deciding = stage.brevet(["watch", "--decidable", "--output", "json", ...LEA], asked.push);
    await watched.until((seen) => escalated(seen, 0).length > 0);
    await asked.until((seen) => seen.id === id);
    const early = await stage.brevet(["approve", id, ...LEA]);
    assert.equal(early.status, 0, told(early));
    second.process.kill("SIGKILL");
    await once(second.process, "close");
    await serve(new URL(url).port);
    await watched.until((seen) => escalated(seen, 1).length > 0);
    const last = await stage.brevet(["approve", id, "--as", "user:pat@acme.test"]);
    assert.equal(last.status, 0, told(last));
    const waited = await waiting;
    assert.equal(waited.status, 0, told(waited));
    const got = JSON.parse(waited.stdout) as Seen;
    assert.deepEqual([got.id, got.stateName], [id, "ACTIVE"], "the caller who waits starts the window");
    assert.deepEqual([escalated(got, 0), escalated(got, 1)], [["user:lea@acme.test"], ["user:pat@acme.test"]], "once each");
    const verified = await stage.brevet(["audit", "verify", "--output", "json", "--as", "user:pat@acme.test"]);
    assert.equal(verified.status, 0, told(verified));
    await watched.until(({ stateName }) => stateName === "ACTIVE");
    void [watching, deciding];
  } finally {
    await rm(data, { recursive: true, force: true });
  }
});
