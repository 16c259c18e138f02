// A real fault of a process's clock, by libfaketime: what it reads of the wall clock, and of the monotonic one if wished, is moved while it runs.
import { existsSync, globSync } from "node:fs";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { MovableClock } from "../faults.ts";

const LIBRARY = "libfaketimeMT.so.1";

function find(): string | undefined {
  const named = process.env.BREVET_FAKETIME;
  if (named !== undefined) return existsSync(named) ? named : undefined;
  return globSync([`/usr/lib/*/faketime/${LIBRARY}`, `/usr/lib/faketime/${LIBRARY}`, `/usr/local/lib/faketime/${LIBRARY}`])[0];
}

/** The clock of the processes that are started with `environment`. True at first. */
export class FakeTime implements MovableClock, AsyncDisposable {
  readonly environment: NodeJS.ProcessEnv;
  readonly #folder: string;

  private constructor(library: string, folder: string, monotonicToo: boolean) {
    this.#folder = folder;
    this.environment = {
      LD_PRELOAD: library,
      NO_FAKE_STAT: "1",
      FAKETIME_TIMESTAMP_FILE: join(folder, "offset"),
      FAKETIME_NO_CACHE: "1",
      ...(monotonicToo ? {} : { FAKETIME_DONT_FAKE_MONOTONIC: "1" }),
    };
  }

  /** Undefined where the library is missing: said aloud, and skipped on a user's machine; in CI it fails. */
  static async open(t: TestContext, options: { monotonicToo?: boolean } = {}): Promise<FakeTime | undefined> {
    const library = find();
    if (library === undefined) {
      const message = `${LIBRARY} is missing; apt-get install faketime, or name it in BREVET_FAKETIME`;
      if (process.env.CI !== undefined) throw new Error(message);
      console.error(`SKIPPED: ${message}`);
      t.skip(message);
      return undefined;
    }
    const clock = new FakeTime(library, await mkdtemp(join(tmpdir(), "brevet-faketime-")), options.monotonicToo ?? false);
    await clock.step(0);
    return clock;
  }

  /** From now on the clock is this far ahead, or behind, at once. */
  async step(offsetMs: number): Promise<void> {
    // Renamed into place: the library ends a process that reads half a file.
    const file = join(this.#folder, "offset");
    await writeFile(`${file}.new`, `${offsetMs < 0 ? "-" : "+"}${Math.abs(offsetMs) / 1000}\n`);
    await rename(`${file}.new`, file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}
