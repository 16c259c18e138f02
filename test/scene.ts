// A real authority and the guarded ledger, each a process, for tests that play with both. Ended, and their data gone, when disposed.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Finished, type Running, Stage } from "../packages/cli/src/demo/stage.ts";

/** The method that the tests need an elevation for. */
export const REFUND = "payments.v1.Ledger/Refund";
/** The words by which each of them signs in. */
export const CALLER = ["--as", "user:sam@acme.test", "--groups", "group:support"];
export const APPROVER = ["--as", "user:ana@acme.test"];
export const AUDITOR = ["--as", "user:kim@acme.test", "--groups", "group:security"];

/** The processes and where they are. */
export class Scene implements AsyncDisposable {
  readonly stage: Stage;
  readonly data: string;
  readonly authority: Running;
  readonly ledger: Running;
  /** Of the authority. */
  readonly url: string;
  /** Of the ledger, host:port. */
  readonly address: string;
  /** A charge over 1299.00 EUR, to refund from. */
  readonly charge: string;

  private constructor(parts: {
    stage: Stage;
    data: string;
    authority: Running;
    ledger: Running;
    url: string;
    address: string;
    charge: string;
  }) {
    this.stage = parts.stage;
    this.data = parts.data;
    this.authority = parts.authority;
    this.ledger = parts.ledger;
    this.url = parts.url;
    this.address = parts.address;
    this.charge = parts.charge;
  }

  /**
   * Starts both. Each environment is for that process alone. `policy` writes another policy than the example's into the scene's folder, and
   * answers with its path; `ledgerWords` are more words of the ledger's command line.
   */
  static async open(
    options: {
      authorityEnvironment?: NodeJS.ProcessEnv;
      ledgerEnvironment?: NodeJS.ProcessEnv;
      policy?: (data: string) => Promise<string>;
      ledgerWords?: (data: string) => readonly string[];
    } = {},
  ): Promise<Scene> {
    const data = await mkdtemp(join(tmpdir(), "brevet-scene-"));
    const stage = new Stage({});
    const restore = (own: NodeJS.ProcessEnv) => {
      for (const name of Object.keys(own)) stage.setEnvironment({ [name]: process.env[name] });
    };
    const { authorityEnvironment = {}, ledgerEnvironment = {} } = options;
    try {
      stage.setEnvironment(authorityEnvironment);
      const { authority, url } = options.policy
        ? await serve(stage, data, await options.policy(data))
        : await stage.authority(join(data, "authority"));
      restore(authorityEnvironment);
      stage.setEnvironment(ledgerEnvironment);
      const ledger = await stage.ledger(data, url, CALLER, options.ledgerWords?.(data));
      restore(ledgerEnvironment);
      return new Scene({ stage, data, authority, url, ...ledger });
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      await rm(data, { recursive: true, force: true });
      throw error;
    }
  }

  /** A token of a made-up person for an audience. */
  async token(principal: string, audience: string, groups: readonly string[] = []): Promise<string> {
    const { dev } = this.authority.ready as { dev: { code: string } };
    const response = await fetch(`${this.url}/dev/token`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ code: dev.code, principal, groups, audience }),
    });
    assert.equal(response.status, 200, await response.clone().text());
    return ((await response.json()) as { token: string }).token;
  }

  /** Runs `brevet` and expects it to succeed; answers with its JSON. */
  async brevet(...words: string[]): Promise<Record<string, unknown>> {
    const finished = await this.stage.brevet([...words, "--output", "json"]);
    assert.equal(finished.status, 0, told(finished));
    return JSON.parse(finished.stdout) as Record<string, unknown>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stage[Symbol.asyncDispose]();
    await rm(this.data, { recursive: true, force: true });
  }
}

/** What a process said, for the message of a failed assertion. */
export function told({ status, stdout, stderr }: Finished): string {
  return `exit ${status}\n${stdout}\n${stderr}`;
}

/** As the stage's own authority, with another policy. */
async function serve(stage: Stage, data: string, policy: string): Promise<{ authority: Running; url: string }> {
  const where = ["--data", join(data, "authority"), "--listen", "127.0.0.1:0", "--admin-listen", "off"];
  const authority = await stage.serve(["--dev", "--policy", policy, ...where]);
  const { url, dev } = authority.ready as { url: string; dev: { code: string } };
  stage.setEnvironment({ BREVET_AUTHORITY: url, BREVET_DEV_CODE: dev.code });
  return { authority, url };
}
