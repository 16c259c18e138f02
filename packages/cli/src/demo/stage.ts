// The processes of the demo: an authority, the guarded ledger, callers and approvers, each a real process of its own. Started, watched, ended here.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The checkout's root. */
const root = fileURLToPath(new URL("../../../../", import.meta.url));
const cli = fileURLToPath(new URL("../main.ts", import.meta.url));
const server = `${root}examples/ledger/src/server.ts`;
const client = `${root}examples/ledger/src/client.ts`;
const scripts = `${root}examples/ledger/python/`;
const policy = `${root}examples/ledger/policy.yaml`;

/** What a finished process said. */
export interface Finished {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process that goes on, with its first line of standard output. */
export interface Running {
  readonly process: ChildProcess;
  /** The JSON object that it printed when it was ready. */
  readonly ready: Record<string, unknown>;
  /** Lines of its log so far. */
  readonly log: string[];
}

/** All processes of one demo. Disposing ends those that still run. */
export class Stage implements AsyncDisposable {
  readonly #children = new Set<ChildProcess>();
  readonly #environment: NodeJS.ProcessEnv;

  constructor(environment: NodeJS.ProcessEnv) {
    this.#environment = { ...process.env, ...environment, NO_COLOR: "1", PYTHONDONTWRITEBYTECODE: "1" };
  }

  /** Whether the example that the demo plays with is here. */
  static available(): boolean {
    return existsSync(server) && existsSync(client);
  }

  /** A Python that has grpcio and protobuf; undefined where there is none. */
  static python(): string | undefined {
    const python = process.env.BREVET_PYTHON ?? "python3";
    const { status } = spawnSync(python, ["-c", "import grpc, google.protobuf"], { stdio: "ignore" });
    return status === 0 ? python : undefined;
  }

  /** Later processes see these too. */
  setEnvironment(environment: NodeJS.ProcessEnv): void {
    Object.assign(this.#environment, environment);
  }

  /** `brevet serve` with these words. */
  serve(words: readonly string[]): Promise<Running> {
    return this.#start([cli, "serve", "--output", "json", ...words]);
  }

  /** A development authority that keeps its log in `data`, with the example's policy; later processes know where it is and its code. */
  async authority(data: string, more: readonly string[] = []): Promise<{ authority: Running; url: string; code: string }> {
    const where = ["--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "off"];
    const authority = await this.serve(["--dev", "--policy", policy, ...where, ...more]);
    const { url, dev } = authority.ready as { url: string; dev: { code: string } };
    this.setEnvironment({ BREVET_AUTHORITY: url, BREVET_DEV_CODE: dev.code });
    return { authority, url, code: dev.code };
  }

  /** The ledger with these words, its book under `data` with one charge over 1299.00 EUR; its environment as given beside the stage's. */
  async service(data: string, words: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Running> {
    const seed = join(data, "charges.csv");
    await writeFile(seed, "account,amount_cents,currency\nacme,129900,EUR\n");
    return this.#start([server, "--data", join(data, "ledger.db"), "--seed", seed, "--listen", "127.0.0.1:0", ...words], environment);
  }

  /** The guarded ledger; resolves once `reader` may list its charge. */
  async ledger(
    data: string,
    url: string,
    reader: readonly string[],
    more: readonly string[] = [],
  ): Promise<{ ledger: Running; address: string; charge: string }> {
    const ledger = await this.service(data, ["--authority", url, "--as", "workload:ledger", ...more]);
    const { address } = ledger.ready as { address: string };
    // The guard answers UNAVAILABLE until it knows the policy.
    for (let attempt = 1; ; attempt += 1) {
      const { stdout, stderr } = await this.caller(["list", "--address", address, ...reader]);
      const charge = /"id":\s*"(ent_[^"]+)"/.exec(stdout)?.[1];
      if (charge !== undefined) return { ledger, address, charge };
      if (attempt === 30 || !stderr.includes("UNAVAILABLE")) throw new Error(`the ledger does not list its charge: ${stdout}${stderr}`);
    }
  }

  /** `brevet guard` with these words. */
  proxy(words: readonly string[]): Promise<Running> {
    return this.#start([cli, "guard", "--output", "json", "--proxy", "127.0.0.1:0", ...words]);
  }

  /** A script of the example's that is in Python, to go on. */
  pythonService(python: string): Promise<Running> {
    return this.#start([`${scripts}service.py`], {}, python);
  }

  /** Ends a process, and waits until it is gone. */
  async stop({ process: child }: Running, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    child.kill(signal);
    await closed;
  }

  /** Runs one command of the command line to its end. */
  brevet(words: readonly string[], onLine?: (line: string) => void): Promise<Finished> {
    return this.#run([cli, ...words], onLine);
  }

  /** Makes one call with the example's client. */
  caller(words: readonly string[], onLine?: (line: string) => void): Promise<Finished> {
    return this.#run([client, ...words], onLine);
  }

  /** Makes one call with the example's client in Python. */
  pythonCaller(python: string, token: string, words: readonly string[]): Promise<Finished> {
    return this.#run([`${scripts}client.py`, ...words], undefined, { TOKEN: token }, python);
  }

  #spawn(words: readonly string[], environment: NodeJS.ProcessEnv = {}, program: string = process.execPath): ChildProcess {
    const child = spawn(program, [...words], { env: { ...this.#environment, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
    this.#children.add(child);
    child.once("close", () => this.#children.delete(child));
    return child;
  }

  async #start(words: readonly string[], environment: NodeJS.ProcessEnv = {}, program?: string): Promise<Running> {
    const child = this.#spawn(words, environment, program);
    const log: string[] = [];
    if (child.stderr !== null) createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
    const ready = new Promise<Record<string, unknown>>((resolve, reject) => {
      if (child.stdout !== null) {
        createInterface({ input: child.stdout }).on("line", (line) => {
          try {
            resolve(JSON.parse(line) as Record<string, unknown>);
          } catch {
            log.push(line);
          }
        });
      }
      child.once("error", reject);
      child.once("close", (code) => reject(new Error(`${words.join(" ")} ended with ${code}:\n${log.slice(-10).join("\n")}`)));
    });
    return { process: child, ready: await ready, log };
  }

  async #run(
    words: readonly string[],
    onLine?: (line: string) => void,
    environment: NodeJS.ProcessEnv = {},
    program?: string,
  ): Promise<Finished> {
    const child = this.#spawn(words, environment, program);
    const said = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      const stream = child[name];
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => {
        said[name] += `${line}\n`;
        onLine?.(line);
      });
    }
    const [status] = (await once(child, "close")) as [number | null];
    return { status: status ?? 1, ...said };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ending = [...this.#children].map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 3000);
      await once(child, "close");
      clearTimeout(late);
    });
    await Promise.all(ending);
  }
}
