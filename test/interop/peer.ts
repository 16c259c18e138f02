// Programs that are not ours. A missing one is said aloud and skipped on a user's machine; in CI nothing is skipped.
import { spawn, spawnSync } from "node:child_process";
import type { TestContext } from "node:test";

/** Whether `command` can be started; otherwise skips the test, or fails it in CI. */
export function requirePeer(t: TestContext, command: string, probe: readonly string[], install: string): boolean {
  const { status, error } = spawnSync(command, [...probe], { stdio: "ignore" });
  if (error === undefined && status === 0) return true;
  const message = `${command} is missing; ${install}`;
  if (process.env.CI !== undefined) throw new Error(message);
  console.error(`SKIPPED: ${message}`);
  t.skip(message);
  return false;
}

/** Runs a peer to its end. */
export function runPeer(
  command: string,
  words: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<{ status: number; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...words], { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.once("error", reject);
    child.once("close", (code) => resolve({ status: code ?? 1, stdout, stderr }));
  });
}
