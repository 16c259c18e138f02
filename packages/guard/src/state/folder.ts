// The folder that a guard keeps its state in: whose it has to be, the key in it, the files of one audience.
// Never reads what a file says.
import { createHash, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, unlinkSync, writeSync } from "node:fs";
import { open, readdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";

const KEY_FILE = "key";
const KEY_BYTES = 32;
const SUFFIX = ".state";
const FIX = "name a folder of the guard's own, or one that does not exist yet, with --state (the option `state` in code)";
/** Of a process that lives its file is never older than this. */
const LEFT_BEHIND_MS = 60_000;

/** See the head of this file. */
export class StateFolder {
  readonly path: string;
  /** Seals the files. */
  readonly key: Uint8Array;
  readonly #prefix: string;

  /**
   * Makes the folder where there is none (mode 0700), and the key in it.
   * @throws TypeError for one that others may write to, that is somebody else's, or that cannot be made or read.
   */
  constructor(path: string, audience: string) {
    this.path = path;
    this.#prefix = createHash("sha256").update(audience).digest("hex").slice(0, 16);
    try {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      checkOwner(path);
      this.key = keyIn(path);
    } catch (error) {
      if (error instanceof TypeError && codeOf(error) === undefined) throw error;
      // Whoever starts the guard reads only this: an error of the system would be taken for one of the address.
      throw new TypeError(`the state folder ${path} cannot be used: ${problemOf(error)}; ${FIX}`, { cause: error });
    }
  }

  /** The file of one process: each has its own, so that several may share the folder. */
  fileOf(instance: string): string {
    return join(this.path, `${this.#prefix}-${instance}${SUFFIX}`);
  }

  /** All files of the audience. */
  files(): string[] {
    return readdirSync(this.path)
      .filter((name) => this.#isOurs(name))
      .map((name) => join(this.path, name));
  }

  /** Removes all files of the audience but `keep`; with `keep` only those that no living process writes. Never throws where they are gone. */
  async remove(keep?: string): Promise<void> {
    const newestMs = keep === undefined ? Infinity : (await stat(keep)).mtimeMs;
    for (const name of await readdir(this.path)) {
      const file = join(this.path, name);
      if (file === keep || !name.startsWith(`${this.#prefix}-`)) continue;
      try {
        if ((await stat(file)).mtimeMs < newestMs - LEFT_BEHIND_MS || keep === undefined) await unlink(file);
      } catch (error) {
        if (codeOf(error) !== "ENOENT") throw error;
      }
    }
    await this.sync();
  }

  /** Makes what was renamed or removed in the folder last. */
  async sync(): Promise<void> {
    const folder = await open(this.path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  #isOurs(name: string): boolean {
    return name.startsWith(`${this.#prefix}-`) && name.endsWith(SUFFIX);
  }
}

function checkOwner(path: string): void {
  const { uid, mode } = statSync(path);
  const own = process.getuid?.();
  if (own !== undefined && uid !== own) throw new TypeError(`the state folder ${path} belongs to another user (${uid}): ${FIX}`);
  if ((mode & 0o022) !== 0 && own !== undefined)
    throw new TypeError(`others may write to the state folder ${path} (mode ${(mode & 0o777).toString(8)}): chmod 700 it, or ${FIX}`);
}

/** The key of the folder, made where there is none. One that is damaged is replaced: what it sealed is refused then. */
function keyIn(path: string): Uint8Array {
  const file = join(path, KEY_FILE);
  const key = readKey(file);
  if (key?.length === KEY_BYTES) return key;
  if (key !== undefined) unlinkSync(file);
  // Whole before it has its name: another process may be making one at this moment.
  const own = `${file}-${randomBytes(8).toString("hex")}`;
  const written = openSync(own, "wx", 0o600);
  try {
    writeSync(written, randomBytes(KEY_BYTES));
    fsyncSync(written);
  } finally {
    closeSync(written);
  }
  try {
    linkSync(own, file);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  } finally {
    unlinkSync(own);
  }
  return readFileSync(file);
}

function readKey(file: string): Uint8Array | undefined {
  try {
    return readFileSync(file);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function problemOf(error: unknown): string {
  if (codeOf(error) === "EEXIST") return "it is a file";
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
