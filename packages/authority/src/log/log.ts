// The one log: the only way in which authority changes. Gives entries their place, commits personal fields, folds the projections in the
// same transaction, publishes after the commit, signs checkpoints. Never decides what may be appended.

import { createPublicKey } from "node:crypto";
import { formatVerifier, type NewId, signCheckpoint } from "@brevet/protocol";
import { EpochCause, EpochOpenedSchema, KeyAddedSchema, KeyPurpose, KeyRetiredSchema, type LogEntry } from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { type Change, type Store, StoreError, type View } from "../store/store.ts";
import type { Draft, Seal } from "./draft.ts";
import { createKey, isInUse, KEY_PURPOSES, privateKeyOf, signingKey } from "./keys.ts";
import type { ElevationFold } from "./projection.ts";
import { type NewSalt, randomSalt } from "./seal.ts";
import { Appending } from "./transaction.ts";
import { rootOf } from "./tree.ts";

/** Version of the entry format. */
export const ENTRY_FORMAT = 1;

/** Where the log stands. */
export interface Position {
  /** The log's incarnation. */
  readonly epoch: string;
  /** Number of entries. */
  readonly revision: bigint;
}

/** What a command reads and writes. Reads see what the command has appended so far. */
export interface LogTransaction extends View {
  /** The authority's time for the whole command, milliseconds since 1970: never before the last entry's. */
  readonly nowMs: number;
  /** Seals a value; what opens it is stored with the first entry of this command that has the commitment. */
  readonly seal: Seal;
  /**
   * Gives a draft the next place in the log. An entry that contradicts the log (an event for an elevation that nobody asked for) rejects the
   * command at its next read, or at its end.
   */
  append(draft: Draft): LogEntry;
  /** The pseudonymous id of a principal; one that was never seen is appended as PrincipalSeen. The kind is that of the name's prefix. */
  principalId(facts: { readonly name: string }): Promise<string>;
}

export interface LogOptions {
  /** Belongs to the log once it is open. */
  readonly store: Store;
  readonly newId: NewId;
  /** `evolve` and `nextDueMs` of elevation/evolve.ts. */
  readonly fold: ElevationFold;
  /** Salts of commitments, 32 bytes each. Default: the system's generator. */
  readonly newSalt?: NewSalt;
}

/** A signed statement of what the log is, and what is needed to check it. */
export interface SignedCheckpoint {
  /** C2SP tlog-checkpoint; its origin is `brevet/EPOCH`. */
  readonly note: string;
  /** C2SP signed-note verifier key. */
  readonly verifierKey: string;
  readonly position: Position;
  readonly root: Uint8Array;
}

export class Log implements AsyncDisposable {
  /** For reading. Writing goes through {@link write}. */
  readonly store: Store;
  readonly #options: LogOptions;
  readonly #subscription: Disposable;
  #position: Position;
  #checkpoint: SignedCheckpoint | undefined;

  private constructor(options: LogOptions, position: Position) {
    this.store = options.store;
    this.#options = options;
    this.#position = position;
    this.#subscription = options.store.subscribe((changes) => {
      const head = changes.at(-1)?.head;
      if (head) this.#position = { epoch: head.epoch, revision: head.revision };
    });
  }

  /**
   * Opens the log of a store. An empty one gets its first epoch; a purpose without a key that this store can sign with gets one. Takes
   * the same time for any length.
   */
  static async open(options: LogOptions): Promise<Log> {
    const { epoch, revision } = await options.store.head();
    const log = new Log(options, { epoch, revision });
    try {
      await log.#prepare();
      return log;
    } catch (error) {
      log.#subscription[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Runs a command inside the write and resolves with its answer once its entries are durable. The command may run more than once.
   * `urgent` ones, such as revocations, go before all others that wait.
   */
  async write<T>(command: (transaction: LogTransaction) => Promise<T>, options?: { readonly urgent?: boolean }): Promise<T> {
    return this.#write(command, undefined, options);
  }

  /** Calls back with each committed group of changes in log order, before the commands that made it are answered. */
  subscribe(listener: (changes: readonly Change[]) => void): Disposable {
    return this.store.subscribe(listener);
  }

  /** Of the newest committed entry. */
  position(): Position {
    return this.#position;
  }

  /** The newest head, signed; signed anew only when it has moved. */
  async checkpoint(): Promise<SignedCheckpoint> {
    const head = await this.store.head();
    const before = this.#checkpoint;
    if (before?.position.revision === head.revision && before.position.epoch === head.epoch) return before;
    const key = await signingKey(this.store, KeyPurpose.CHECKPOINT);
    if (key === undefined) throw new StoreError("corrupt", "the store has no key that signs checkpoints");
    const origin = originOf(head.epoch);
    const root = rootOf(head.frontier);
    this.#checkpoint = {
      note: signCheckpoint({ origin, size: head.revision, root }, key.privateKey),
      verifierKey: formatVerifier(origin, createPublicKey(key.privateKey)),
      position: { epoch: head.epoch, revision: head.revision },
      root,
    };
    return this.#checkpoint;
  }

  /** Stops publishing and closes the store. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]();
    await this.store[Symbol.asyncDispose]();
  }

  #write<T>(command: (transaction: LogTransaction) => Promise<T>, newEpoch?: string, options?: { readonly urgent?: boolean }): Promise<T> {
    const { fold, newId, newSalt = randomSalt } = this.#options;
    return this.store.write(async (inner) => {
      const head = await inner.head();
      const epoch = newEpoch !== undefined && head.revision === 0n ? { epoch: newEpoch } : {};
      const transaction = new Appending(inner, head, { fold, newId, newSalt, ...epoch });
      const answer = await command(transaction);
      await transaction.finish();
      return answer;
    }, options);
  }

  async #prepare(): Promise<void> {
    const { store } = this;
    const present = await store.keys();
    const unusable = new Set<string>();
    for (const { kid } of present) if ((await privateKeyOf(store, kid)) === undefined) unusable.add(kid);
    const missing = KEY_PURPOSES.filter((purpose) => !present.some((key) => isInUse(key, purpose) && !unusable.has(key.kid)));
    if (missing.length === 0 && this.#position.revision > 0n) return;
    const added = await Promise.all(missing.map(async (purpose) => ({ purpose, key: await createKey(store) })));
    await this.#write(async (transaction) => {
      const own = { audience: "", actor: "", requestId: "", elevation: "" };
      if ((await transaction.head()).revision === 0n) {
        const value = create(EpochOpenedSchema, { cause: EpochCause.CREATED, format: ENTRY_FORMAT });
        transaction.append({ ...own, event: { case: "epochOpened", value } });
      }
      for (const { purpose, key } of added) {
        for (const { kid } of present.filter((old) => isInUse(old, purpose)))
          transaction.append({ ...own, event: { case: "keyRetired", value: create(KeyRetiredSchema, { kid }) } });
        const value = create(KeyAddedSchema, { kid: key.kid, purpose, publicJwk: key.publicJwk });
        transaction.append({ ...own, event: { case: "keyAdded", value } });
      }
    }, this.#options.newId("epo"));
  }
}

/** Whose checkpoints these are. A restored log is another one: it may grow otherwise than what was lost. */
export function originOf(epoch: string): string {
  return `brevet/${epoch}`;
}
