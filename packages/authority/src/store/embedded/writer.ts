// The main thread's end of the writer thread: sends transactions, tells when they are durable.
// Never retries: whoever asked is told what happened.
import { Worker } from "node:worker_threads";
import { StoreError } from "../store.ts";
import type { Step } from "./statements.ts";
import type { WriterAnswer, WriterRequest } from "./worker.ts";

interface Waiting {
  resolve(): void;
  reject(error: StoreError): void;
}

/** A thread with the only connection that writes. It keeps the process alive only while a transaction is under way. */
export class Writer {
  readonly #worker: Worker;
  readonly #waiting: Waiting[] = [];
  #broken: StoreError | undefined;

  private constructor(path: string) {
    // Sources run as they are; published packages carry JavaScript.
    this.#worker = new Worker(new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url), {
      workerData: path,
      name: "brevet-store",
    });
    this.#worker.on("message", (answer: WriterAnswer) => this.#answered(answer));
    this.#worker.on("error", (error) => this.#break("the writing thread failed", error));
    this.#worker.on("exit", () => this.#break("the writing thread has ended"));
  }

  /** Starts the thread and waits until its connection is open. */
  static async start(path: string): Promise<Writer> {
    const writer = new Writer(path);
    await writer.#answer();
    return writer;
  }

  /**
   * Resolves when the steps are on the disk, all or none.
   * @throws StoreError `unwritable`; nothing was written.
   */
  async write(steps: readonly Step[], options: { readonly scrub?: boolean } = {}): Promise<void> {
    await this.#ask({ do: "write", steps, scrub: options.scrub === true });
  }

  /** Closes the connection and ends the thread. */
  async close(): Promise<void> {
    if (this.#broken === undefined) await this.#ask({ do: "close" });
    await this.#worker.terminate();
  }

  #ask(request: WriterRequest): Promise<void> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken);
    this.#worker.postMessage(request, []);
    return this.#answer();
  }

  #answer(): Promise<void> {
    this.#worker.ref();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #answered(answer: WriterAnswer): void {
    const asked = this.#waiting.shift();
    if (this.#waiting.length === 0) this.#worker.unref();
    if (answer.ok) return asked?.resolve();
    const error = new StoreError("unwritable", `the store cannot be written: ${answer.message}`);
    if (answer.lasting) this.#broken = new StoreError("unwritable", `the disk failed to keep a write: ${answer.message}; restart to go on`);
    asked?.reject(error);
  }

  #break(what: string, cause?: unknown): void {
    this.#broken ??= new StoreError("unwritable", `${what}${cause instanceof Error ? `: ${cause.message}` : ""}`, { cause });
    for (const asked of this.#waiting.splice(0)) asked.reject(this.#broken);
  }
}
