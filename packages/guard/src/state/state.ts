// What a guard knows, kept on disk for a restart: one file per process, the whole state first, then each change behind it.
// Owns when what is written, and answers only for what is durable. Never keeps tokens, grants or the guard's identity, and never decides.
import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open, rename } from "node:fs/promises";
import type { Clock } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { type GuardServiceSyncResponse, GuardServiceSyncResponseSchema } from "@brevet/protocol/brevet/v1/guard";
import { create, toBinary } from "@bufbuild/protobuf";
import { isOpen } from "../core/knowledge.ts";
import type { GuardLogger } from "../log/logger.ts";
import { StateFolder } from "./folder.ts";
import { encodeHead, encodeRecord, HEAD_BYTES, RecordKind } from "./format.ts";
import type { ClockMark } from "./mark.ts";
import { MAX_FILE_BYTES, type RestoredState, readState, type StateOwner } from "./restored.ts";

/** Everything that has to be kept, at one instant. */
export interface WholeState {
  /** Welcome, policy and keys. */
  readonly head: readonly GuardServiceSyncResponse[];
  /** Those that are held, read while they are written: one that changes meanwhile comes again as a change. */
  readonly elevations: () => Iterable<Elevation>;
  /** `caught_up`, with position and time. */
  readonly tail: GuardServiceSyncResponse;
}

/** Where a keeper has from what it keeps. */
export interface StateSource {
  /** Undefined while nothing is complete. */
  whole(): WholeState | undefined;
  /** The position, and when the authority was heard of last. */
  heard(): GuardServiceSyncResponse | undefined;
  /** Undefined while the time is not known: nothing is kept then. */
  mark(): ClockMark | undefined;
  /** Verifier key of the log's checkpoints; empty: none. */
  pin(): string;
}

/** What a keeper is made with. */
export interface StateKeeperOptions {
  /** Path of the guard's own folder. */
  readonly folder: string;
  readonly owner: StateOwner;
  /** Names the process's file. */
  readonly instance: string;
  readonly source: StateSource;
  readonly clock: Clock;
  readonly logger: GuardLogger;
  /** Of the whole state, without changes; default 64 MiB. */
  readonly maxBytes?: number;
}

/** Changes are kept behind the state until they are this much, or as much as the state. */
const CHANGES_BYTES = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const HEARD_EVERY_MS = 5000;
const RETRY_MS = 10_000;
const CLEAN_EVERY_MS = 60_000;

interface OpenFile {
  readonly handle: FileHandle;
  readonly records: Hash;
  /** Of the state alone. */
  readonly base: number;
  length: number;
}

/** See the head of this file. */
export class StateKeeper {
  readonly #options: StateKeeperOptions;
  readonly #folder: StateFolder;
  readonly #path: string;
  readonly #maxBytes: number;
  #file: OpenFile | undefined;
  #changes: Uint8Array[] = [];
  #wholeWanted = false;
  /** A change waits that has to last. */
  #syncWanted = false;
  #keeps = false;
  /** The disk has what was last said, or nothing older. */
  #safe = true;
  #asked = 0;
  #done = 0;
  #waiting: { readonly upTo: number; readonly resolve: (safe: boolean) => void }[] = [];
  #working: Promise<void> | undefined;
  #problem: string | undefined;
  #retryAtMs = 0;
  #heardAtMs = -Infinity;
  #cleanedAtMs = -Infinity;

  /** @throws TypeError for a folder that may not be used, or cannot be made. */
  constructor(options: StateKeeperOptions) {
    this.#options = options;
    this.#folder = new StateFolder(options.folder, options.owner.audience);
    this.#path = this.#folder.fileOf(options.instance);
    this.#maxBytes = options.maxBytes ?? MAX_FILE_BYTES / 2;
  }

  /** Why nothing is kept, where that is so. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** What was kept before; undefined where nothing was, or where it is refused, which the log then says. */
  read(): RestoredState | undefined {
    const { owner, logger } = this.#options;
    let state: RestoredState | string | undefined;
    try {
      state = readState(this.#folder, owner);
    } catch (error) {
      state = error instanceof Error ? error.message : String(error);
    }
    if (typeof state !== "string") return state;
    const about = { folder: this.#folder.path, problem: state };
    logger.error(about, "what the guard kept is refused: it starts without, and waits for the authority");
    return undefined;
  }

  /** Whether changes are kept: a state was asked to be written, or is as soon as the disk lets it. */
  get keeps(): boolean {
    return this.#keeps;
  }

  /** All is other than before: the state is written anew, whole. */
  renew(): void {
    this.#keeps = true;
    this.#wholeWanted = true;
    this.#changes = [];
    this.#asked += 1;
    this.#work();
  }

  /** A change that was taken in: kept behind the state. */
  changed(message: GuardServiceSyncResponse): void {
    // Otherwise it comes with the whole.
    if (!this.#keeps || this.#wholeWanted || this.#problem !== undefined) return;
    this.#changes.push(encodeRecord(RecordKind.message, toBinary(GuardServiceSyncResponseSchema, message)));
    this.#syncWanted = true;
    this.#asked += 1;
    this.#work();
  }

  /** To be called often: keeps every few seconds that the authority was heard of, and the time. It may be lost; a restart is then stale earlier. */
  tick(): void {
    const { clock, source } = this.#options;
    const nowMs = clock.monotonicMs();
    if (this.#problem !== undefined) {
      if (nowMs >= this.#retryAtMs) this.renew();
      return;
    }
    if (this.#wholeWanted) return this.renew();
    if (this.#file === undefined || nowMs - this.#heardAtMs < HEARD_EVERY_MS) return;
    this.#heardAtMs = nowMs;
    const heard = source.heard();
    const mark = source.mark();
    if (heard === undefined || mark === undefined) return;
    this.#changes.push(encodeRecord(RecordKind.message, toBinary(GuardServiceSyncResponseSchema, heard)), clockRecord(mark));
    this.#asked += 1;
    this.#work();
  }

  /**
   * Whether a restart cannot bring back what was so before: resolves true once all that was said up to now is durable, or nothing older is
   * left on the disk; false where the disk lets neither happen.
   */
  saved(): Promise<boolean> {
    if (this.#done >= this.#asked) return Promise.resolve(this.#safe);
    return new Promise((resolve) => {
      this.#waiting.push({ upTo: this.#asked, resolve });
    });
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    this.#heardAtMs = -Infinity;
    if (this.#problem === undefined) this.tick();
    await this.#working;
    await this.#file?.handle.close();
    this.#file = undefined;
  }

  #work(): void {
    this.#working ??= this.#run();
  }

  async #run(): Promise<void> {
    // What is said in the same turn is written together.
    await Promise.resolve();
    while (this.#done < this.#asked) {
      const upTo = this.#asked;
      try {
        this.#safe = await this.#write();
        this.#problem = undefined;
      } catch (error) {
        this.#safe = await this.#giveUp(error);
      }
      this.#done = upTo;
      const told = this.#waiting.filter((each) => each.upTo <= upTo);
      this.#waiting = this.#waiting.filter((each) => each.upTo > upTo);
      for (const { resolve } of told) resolve(this.#safe);
    }
    // Here and not later: whoever was told may say the next thing at once.
    this.#working = undefined;
  }

  /** Whether it was possible: without the time nothing is kept. */
  async #write(): Promise<boolean> {
    const file = this.#file;
    // Another process that found it left behind may have removed it.
    const gone = file !== undefined && (await file.handle.stat()).nlink === 0;
    const changes = this.#changes;
    const bytes = changes.reduce((sum, { length }) => sum + length, 0);
    const grown = file === undefined ? 0 : file.length + bytes - file.base;
    if (file === undefined || this.#wholeWanted || gone || grown > Math.max(CHANGES_BYTES, file.base)) return this.#writeWhole();
    const sync = this.#syncWanted;
    this.#changes = [];
    this.#syncWanted = false;
    await append(file, changes);
    await this.#writeHead(file);
    if (sync) await file.handle.datasync();
    await this.#clean();
    return true;
  }

  async #writeWhole(): Promise<boolean> {
    const { owner, source } = this.#options;
    const whole = source.whole();
    const mark = source.mark();
    if (whole === undefined || mark === undefined) {
      this.#wholeWanted = true;
      return false;
    }
    // From here on changes come behind what is read now.
    this.#changes = [];
    this.#wholeWanted = false;
    this.#syncWanted = false;
    const path = `${this.#path}.new`;
    const handle = await open(path, "w", 0o600);
    const file = { handle, records: createHash("sha256"), base: 0, length: HEAD_BYTES };
    try {
      await append(file, [encodeRecord(RecordKind.about, Buffer.from(JSON.stringify(owner))), ...whole.head.map(messageRecord)]);
      await this.#writeElevations(file, whole);
      await append(file, [encodeRecord(RecordKind.pin, Buffer.from(source.pin())), messageRecord(whole.tail), clockRecord(mark)]);
      await this.#writeHead(file);
      await handle.sync();
      await rename(path, this.#path);
      await this.#folder.sync();
    } catch (error) {
      await handle.close();
      throw error;
    }
    const before = this.#file;
    this.#file = { ...file, base: file.length };
    await before?.handle.close();
    await this.#clean();
    return true;
  }

  /** Those that can permit first: of the others only as many as there is room for. */
  async #writeElevations(file: OpenFile, { elevations }: WholeState): Promise<void> {
    for (const open of [true, false]) {
      let chunk: Uint8Array[] = [];
      let bytes = 0;
      for (const elevation of elevations()) {
        if (isOpen(elevation) !== open) continue;
        const record = messageRecord(create(GuardServiceSyncResponseSchema, { message: { case: "elevation", value: elevation } }));
        if (file.length + bytes + record.length > this.#maxBytes) {
          if (open) throw new Error(`the state is larger than ${this.#maxBytes} bytes`);
          break;
        }
        chunk.push(record);
        bytes += record.length;
        if (bytes < CHUNK_BYTES) continue;
        await append(file, chunk);
        [chunk, bytes] = [[], 0];
      }
      await append(file, chunk);
    }
  }

  async #writeHead({ handle, records, length }: OpenFile): Promise<void> {
    const head = encodeHead(length, records, this.#folder.key);
    await handle.write(head, 0, head.length, 0);
  }

  /** Files that dead processes left behind. */
  async #clean(): Promise<void> {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#cleanedAtMs < CLEAN_EVERY_MS) return;
    this.#cleanedAtMs = nowMs;
    await this.#folder.remove(this.#path);
  }

  /** The disk failed: what is on it lacks what was said since, and a restart must not go by it. */
  async #giveUp(error: unknown): Promise<boolean> {
    const { clock, logger } = this.#options;
    const folder = this.#folder;
    const cause = error instanceof Error ? error.message : String(error);
    this.#retryAtMs = clock.monotonicMs() + RETRY_MS;
    const first = this.#problem === undefined;
    this.#problem = `the state cannot be kept in ${folder.path}: ${cause}`;
    this.#changes = [];
    try {
      await this.#file?.handle.close();
    } catch {
      // It was the disk's fault.
    }
    this.#file = undefined;
    try {
      await folder.remove();
      if (first) logger.error({ folder: folder.path, cause }, "the guard's state cannot be kept: a restart will need the authority");
      return true;
    } catch (left) {
      const which = left instanceof Error ? left.message : String(left);
      logger.error(
        { folder: folder.path, cause, left: which },
        "the guard's state can neither be kept nor removed: nothing is acknowledged, since a restart might undo it",
      );
      return false;
    }
  }
}

async function append(file: OpenFile, records: readonly Uint8Array[]): Promise<void> {
  if (records.length === 0) return;
  const bytes = Buffer.concat(records);
  for (let written = 0; written < bytes.length; )
    written += (await file.handle.write(bytes, written, bytes.length - written, file.length + written)).bytesWritten;
  file.records.update(bytes);
  file.length += bytes.length;
}

function messageRecord(message: GuardServiceSyncResponse): Uint8Array {
  return encodeRecord(RecordKind.message, toBinary(GuardServiceSyncResponseSchema, message));
}

function clockRecord(mark: ClockMark): Uint8Array {
  return encodeRecord(RecordKind.clock, Buffer.from(JSON.stringify(mark)));
}
