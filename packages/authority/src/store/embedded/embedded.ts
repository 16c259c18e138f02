// The embedded store: one directory, one process, SQLite with a write-ahead log. Commands run one after another on the main thread, on
// top of what their group has written so far; the group is then committed by a thread of its own, in one transaction, with one sync.
// Never decides what a command may do, and never answers one before it is on the disk.

import { chmodSync, closeSync, existsSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type Clock, systemClock } from "@brevet/protocol";
import { type Change, type Store, StoreError, type Transaction } from "../store.ts";
import { createPrivate, lockDirectory } from "./lock.ts";
import { Overlay } from "./overlay.ts";
import { Reader } from "./reader.ts";
import { blob } from "./rows.ts";
import { prepareSchema } from "./schema.ts";
import type { Step } from "./statements.ts";
import { OverlaidView } from "./view.ts";
import { Writer } from "./writer.ts";

/** How many commands one group takes at most, so that none waits long for its commit: about 5 ms of work. */
const GROUP_COMMANDS = 128;
/** And how many bytes. */
const GROUP_BYTES = 8 * 1024 * 1024;

export interface EmbeddedOptions {
  /** The authority's time. Default: the machine's clock. */
  readonly clock?: Clock;
  /** Commands that may wait, urgent ones and others each; one more is refused as `unwritable`. Default 10,000. */
  readonly queueLimit?: number;
}

/**
 * Opens the store in a directory, which is made where it is missing (mode 0700). After a kill it opens as it is.
 * @throws StoreError `locked` where another process has it; `format` where it was written by a newer version or is something else;
 * `corrupt`; `unwritable` where the directory cannot be written.
 */
export async function openEmbeddedStore(directory: string, options: EmbeddedOptions = {}): Promise<Store> {
  const clock = options.clock ?? systemClock;
  const home = resolve(directory);
  makeDirectory(home);
  const lock = attempt(() => lockDirectory(home, clock.wallMs()));
  const path = join(home, "log.db");
  let reader: Reader | undefined;
  let writer: Writer | undefined;
  try {
    prepareFile(path);
    syncDirectory(home);
    writer = await Writer.start(path);
    reader = new Reader(path);
    return new EmbeddedStore(reader, writer, lock, clock, options.queueLimit ?? 10_000);
  } catch (error) {
    reader?.[Symbol.dispose]();
    await writer?.close();
    lock[Symbol.dispose]();
    throw error;
  }
}

interface Job {
  /** Runs the command and keeps its answer. Throws what it throws. */
  run(transaction: EmbeddedTransaction): Promise<void>;
  answer(): void;
  reject(error: unknown): void;
}

interface Settled {
  readonly job: Job;
  readonly failed: { readonly error: unknown } | undefined;
}

class EmbeddedStore extends OverlaidView implements Store {
  readonly #writer: Writer;
  readonly #lock: Disposable;
  readonly #clock: Clock;
  readonly #queueLimit: number;
  readonly #urgent: Job[] = [];
  readonly #waiting: Job[] = [];
  readonly #listeners = new Set<(changes: readonly Change[]) => void>();
  #running: Promise<void> | undefined;
  #disposed: Promise<void> | undefined;

  constructor(reader: Reader, writer: Writer, lock: Disposable, clock: Clock, queueLimit: number) {
    const committed = new Overlay(reader);
    super(reader, () => committed);
    this.#writer = writer;
    this.#lock = lock;
    this.#clock = clock;
    this.#queueLimit = queueLimit;
  }

  write<T>(command: (transaction: Transaction) => Promise<T>, options?: { readonly urgent?: boolean }): Promise<T> {
    return this.#enqueue(command, options);
  }

  #enqueue<T>(command: (transaction: EmbeddedTransaction) => Promise<T>, options?: { readonly urgent?: boolean }): Promise<T> {
    if (this.#disposed) return Promise.reject(new StoreError("closed", "the store is closed"));
    // Each queue has the limit for itself: a flood of other commands does not keep a revocation out.
    const queue = options?.urgent === true ? this.#urgent : this.#waiting;
    if (queue.length >= this.#queueLimit)
      return Promise.reject(new StoreError("unwritable", `${this.#queueLimit} commands wait for the store already; try again later`));
    return new Promise((resolveWrite, reject) => {
      let settle: (() => void) | undefined;
      const job: Job = {
        async run(transaction) {
          const value = await command(transaction);
          settle = () => resolveWrite(value);
        },
        answer: () => settle?.(),
        reject,
      };
      queue.push(job);
      this.#running ??= this.#run();
    });
  }

  subscribe(listener: (changes: readonly Change[]) => void): Disposable {
    // A wrapper, so that the same listener may subscribe twice.
    const subscription = (changes: readonly Change[]) => listener(changes);
    this.#listeners.add(subscription);
    return { [Symbol.dispose]: () => void this.#listeners.delete(subscription) };
  }

  readonly secrets = {
    get: async (name: string): Promise<Uint8Array | undefined> => {
      const row = this.reader.get("SELECT value FROM secrets WHERE name = ?", name);
      return row && blob(row, "value");
    },
    set: async (name: string, value: Uint8Array): Promise<void> => {
      await this.#enqueue(async (transaction) => transaction.keep(name, new Uint8Array(value)));
    },
  };

  /** Takes no more commands, finishes those that wait, closes the files and lets go of the directory. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    await this.#running;
    this.#listeners.clear();
    this.reader[Symbol.dispose]();
    try {
      await this.#writer.close();
    } finally {
      this.#lock[Symbol.dispose]();
    }
  }

  async #run(): Promise<void> {
    // Commands of the same turn go together.
    await Promise.resolve();
    while (this.#urgent.length + this.#waiting.length > 0) await this.#group();
    this.#running = undefined;
  }

  async #group(): Promise<void> {
    const settled: Settled[] = [];
    try {
      await this.#commit(await this.#decide(settled));
    } catch (error) {
      // Where not one command could be run, those that wait could not either.
      const hopeless = settled.length === 0 ? [...this.#urgent.splice(0), ...this.#waiting.splice(0)] : [];
      for (const job of [...settled.map((each) => each.job), ...hopeless]) job.reject(error);
      return;
    }
    // What a command threw may rest on what others of its group wrote: told only now that this stands.
    for (const { job, failed } of settled) {
      if (failed) job.reject(failed.error);
      else job.answer();
    }
  }

  /** Runs commands, one after another, until none waits or the group is full; answers with what they wrote. */
  async #decide(settled: Settled[]): Promise<Overlay> {
    const snapshot = this.reader.hold();
    try {
      let overlay = new Overlay(this.reader);
      while (settled.length < GROUP_COMMANDS && overlay.bytes < GROUP_BYTES) {
        const job = this.#urgent.shift() ?? this.#waiting.shift();
        if (job === undefined) break;
        const before = overlay.changes.length;
        const error = await this.#runJob(job, overlay);
        settled.push({ job, failed: error });
        if (error) overlay = overlay.first(before);
      }
      return overlay;
    } finally {
      snapshot[Symbol.dispose]();
    }
  }

  /** Runs one command; answers with what it threw. */
  async #runJob(job: Job, overlay: Overlay): Promise<Settled["failed"]> {
    let transaction: EmbeddedTransaction | undefined;
    try {
      transaction = new EmbeddedTransaction(this.reader, overlay, Math.max(overlay.head.timeMs, Math.floor(this.#clock.wallMs())));
      await job.run(transaction);
      return undefined;
    } catch (error) {
      return { error };
    } finally {
      transaction?.end();
    }
  }

  async #commit(overlay: Overlay): Promise<void> {
    const steps: readonly Step[] = overlay.steps();
    if (steps.length > 0) await this.#writer.write(steps, { scrub: overlay.erased.size > 0 });
    const last = overlay.changes.at(-1);
    if (last === undefined) return;
    this.reader.committed(last.head);
    for (const listener of this.#listeners) {
      try {
        listener(overlay.changes);
      } catch (error) {
        // A listener that missed a change would go on with less than the truth: loud, and not at the expense of the others.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

class EmbeddedTransaction extends OverlaidView implements Transaction {
  readonly nowMs: number;
  #overlay: Overlay | undefined;

  constructor(reader: Reader, overlay: Overlay, nowMs: number) {
    super(reader, () => this.#current());
    this.nowMs = nowMs;
    this.#overlay = overlay;
  }

  put(change: Change): void {
    this.#current().add(change);
  }

  /** Keeps a secret together with the group. */
  keep(name: string, value: Uint8Array): void {
    this.#current().secrets.set(name, value);
  }

  /** The command is over: whatever still holds the transaction can do nothing with it. */
  end(): void {
    this.#overlay = undefined;
  }

  #current(): Overlay {
    if (this.#overlay === undefined) throw new StoreError("closed", "the command of this transaction is over");
    return this.#overlay;
  }
}

function makeDirectory(home: string): void {
  attempt(() => {
    if (existsSync(home)) return;
    const made = mkdirSync(home, { recursive: true, mode: 0o700 });
    chmodSync(home, 0o700);
    if (made !== undefined) syncDirectory(dirname(made));
  });
}

function prepareFile(path: string): void {
  attempt(() => createPrivate(path));
  const db = new DatabaseSync(path, { timeout: 5000 });
  try {
    prepareSchema(db);
  } catch (error) {
    if (error instanceof Error && "errcode" in error && error.errcode === 26 /* SQLITE_NOTADB */)
      throw new StoreError("format", `${path} is not a store of Brevet`, { cause: error });
    throw error instanceof StoreError ? error : new StoreError("unwritable", `${path}: ${String(error)}`, { cause: error });
  } finally {
    db.close();
  }
}

/** So that names of new files survive a power loss. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function attempt<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw new StoreError("unwritable", error instanceof Error ? error.message : String(error), { cause: error });
  }
}
