// Child processes of the benchmarks: each a Node of its own, asked over IPC, so that its CPU is its own.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** A child that answers one question after another. */
export class Worker implements AsyncDisposable {
  readonly #child: ChildProcess;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(file: string, words: readonly string[] = []) {
    this.#child = fork(fileURLToPath(new URL(file, import.meta.url)), [...words], {
      execArgv: ["--expose-gc"],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
  }

  /** Sends a question, resolves with its answer. Questions wait for those before them. */
  ask<T>(question: unknown): Promise<T> {
    const answer = this.#tail.then(async () => {
      const done = new AbortController();
      const answered = once(this.#child, "message", { signal: done.signal });
      const ended = once(this.#child, "exit", { signal: done.signal }).then(([code]) => {
        throw new Error(`a bench process ended with ${String(code)}`);
      });
      this.#child.send(question as object);
      try {
        const [message] = (await Promise.race([answered, ended])) as [T];
        return message;
      } finally {
        done.abort();
        await Promise.allSettled([answered, ended]);
      }
    });
    this.#tail = answer.catch(() => undefined);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}

/** In a child: answers questions until the parent goes. */
export function answer(reply: (question: never) => Promise<unknown>): void {
  process.on("message", (question) => {
    reply(question as never).then(
      (message) => process.send?.(message ?? null),
      (error: unknown) => {
        console.error(error);
        process.exitCode = 1;
        process.disconnect();
      },
    );
  });
  process.on("disconnect", () => process.exit());
}
