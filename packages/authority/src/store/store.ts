// The contract of every store. A store keeps the log and the projections of it; it knows nothing of the rules.
// Never decides, never publishes: log/log.ts does both, before and after.
import type { Elevation, ElevationState, PrincipalKind } from "@brevet/protocol/brevet/v1/elevation";
import type { KeyPurpose, LogEntry, LogRecord, Opening } from "@brevet/protocol/brevet/v1/log";

/** Where the log ends. One row; whoever holds its lock gives the order. */
export interface Head {
  /** Incarnation of the log; "" before the first entry. */
  readonly epoch: string;
  /** Number of entries. */
  readonly revision: bigint;
  /** Time of the last entry, milliseconds since 1970; 0 before the first. */
  readonly timeMs: number;
  /** Roots of the perfect subtrees over all leaves, largest first: enough to append and to compute the root (RFC 6962). */
  readonly frontier: readonly Uint8Array[];
}

/** A principal as the projections know it. */
export interface StoredPrincipal {
  readonly id: string;
  readonly kind: PrincipalKind;
  /** Undefined once erased. */
  readonly name: string | undefined;
  /** Of the name, as in the log: erasing it erases the name. */
  readonly nameCommitment: Uint8Array;
}

/** A policy version as the projections know it. */
export interface StoredPolicy {
  readonly audience: string;
  readonly version: bigint;
  /** Commitments; the texts are openings. */
  readonly document: Uint8Array;
  readonly descriptors: Uint8Array | undefined;
  /** Id of the principal, "" for a seed. */
  readonly author: string;
  readonly timeMs: number;
  readonly revision: bigint;
  readonly shadow: boolean;
}

/** A proposed policy version as the projections know it. */
export interface StoredProposal {
  readonly id: string;
  readonly audience: string;
  /** Commitments; the texts are openings. */
  readonly document: Uint8Array;
  readonly descriptors: Uint8Array | undefined;
  readonly comment: Uint8Array | undefined;
  /** Id of the principal. */
  readonly author: string;
  /** The version that it was made against. */
  readonly baseVersion: bigint;
  /** Approvals that it needs, and the ids of the admins who gave one. */
  readonly quorum: number;
  readonly approvers: readonly string[];
  readonly shadow: boolean;
  readonly timeMs: number;
  readonly revision: bigint;
  /** The version that it became; 0 while it waits. */
  readonly version: bigint;
}

/** A signing key as the projections know it. The private half is in {@link Store.secrets}. */
export interface StoredKey {
  readonly kid: string;
  readonly purpose: KeyPurpose;
  readonly publicJwk: string;
  readonly retired: boolean;
  /** When it was, milliseconds since 1970; undefined while it is in use. */
  readonly retiredMs: number | undefined;
  readonly revoked: boolean;
}

/** Which elevations a query is about; what is absent does not restrict. Answers come newest (largest create revision) first. */
export interface ElevationQuery {
  /** Unknown ones are left out. */
  readonly ids?: readonly string[];
  readonly audience?: string;
  /** Id of the principal. */
  readonly requester?: string;
  readonly entitlement?: string;
  readonly states?: readonly ElevationState[];
  readonly keyThumbprint?: Uint8Array;
  /** Only those whose last change is behind this revision. */
  readonly changedAfter?: bigint;
  /** Only open ones, and final ones whose end is not before this. */
  readonly openOrEndedSinceMs?: number;
  /** Only those created before the one with this id: the next page. */
  readonly before?: string;
  /** At most this many; default 100, highest 10,000. */
  readonly limit?: number;
}

/**
 * Reading. Within a {@link Transaction} it sees that transaction's own writes, and all reads belong to one state;
 * outside, each call sees the newest committed state. Messages that are answered belong to the caller.
 */
export interface View {
  head(): Promise<Head>;
  /** Entries behind a revision, oldest first, with their revisions and the leaf hashes as they were when they were appended; at most `limit` (default 100, highest 10,000). */
  entries(after: bigint, options?: { limit?: number; audience?: string; elevation?: string }): Promise<LogRecord[]>;
  elevation(id: string): Promise<Elevation | undefined>;
  elevations(query: ElevationQuery): Promise<Elevation[]>;
  /** Ids of elevations with a timer at or before this, most overdue first. */
  due(atMs: number, limit: number): Promise<string[]>;
  /** The earliest timer of all elevations. */
  nextDueMs(): Promise<number | undefined>;
  principal(id: string): Promise<StoredPrincipal | undefined>;
  principals(ids: readonly string[]): Promise<Map<string, StoredPrincipal>>;
  principalByName(name: string): Promise<StoredPrincipal | undefined>;
  /** What the changing call with this idempotency id did: the elevation that it concerned ("" for none) and its first entry. */
  request(actor: string, requestId: string): Promise<{ readonly elevation: string; readonly revision: bigint } | undefined>;
  /** The values behind commitments, keyed by lower-case hexadecimal commitment; erased ones are missing. */
  openings(commitments: readonly Uint8Array[]): Promise<Map<string, Uint8Array>>;
  /** The current policy of every audience (shadow versions apart). */
  policies(): Promise<StoredPolicy[]>;
  policy(audience: string, version?: bigint): Promise<StoredPolicy | undefined>;
  policyVersions(audience: string, options?: { before?: bigint; limit?: number }): Promise<StoredPolicy[]>;
  proposal(id: string): Promise<StoredProposal | undefined>;
  /** In the order in which they came into use. */
  keys(): Promise<StoredKey[]>;
  /**
   * The leaf hashes of the entries behind a revision, as they were when the entries were appended; at most `limit` (default 100,
   * highest 10,000). Kept apart from the entries, they tell which entry is not what was appended.
   */
  leafHashes(after: bigint, limit?: number): Promise<Uint8Array[]>;
}

/** A state change: one entry with all that is derived from it. Written whole or not at all. */
export interface Change {
  readonly entry: LogEntry;
  /** Exactly the bytes whose hash is the tree's leaf. */
  readonly leaf: Uint8Array;
  /** SHA-256(0x00 || leaf). */
  readonly leafHash: Uint8Array;
  readonly openings: readonly Opening[];
  /** What the openings open, one for each. */
  readonly commitments: readonly Uint8Array[];
  /** The head behind this entry. */
  readonly head: Head;
  /** The elevation after this entry, with its next timer; absent if the entry concerns none. */
  readonly elevation?: { readonly state: Elevation; readonly dueMs: number | undefined };
  readonly principal?: StoredPrincipal;
  readonly policy?: StoredPolicy;
  readonly proposal?: StoredProposal;
  readonly key?: StoredKey;
  /** Commitments whose openings go, and the names of principals behind them. */
  readonly erased?: readonly Uint8Array[];
}

/** One serializable transaction. */
export interface Transaction extends View {
  /**
   * The authority's time, milliseconds since 1970, taken inside the write: never before the head's time, the same for the
   * whole command. With several replicas it is the database's clock.
   */
  readonly nowMs: number;
  /**
   * Adds a change. Reads of this transaction see it at once; others only after the commit.
   * @throws StoreError `corrupt` if it does not come right behind the head; `closed` after the command.
   */
  put(change: Change): void;
}

/**
 * A store. `write` runs commands one after another on the evolving state, or as if so: a command sees all that earlier ones
 * wrote. Commands that wait together are committed together, with one sync. A command that throws leaves nothing behind
 * and does not touch the others of its group. A store that cannot append because something that a command read has moved runs the
 * command again, so a command must have no effect but through its transaction. A command waits for nothing but its transaction: others
 * stand behind it, and a `write` within it would wait for ever.
 */
export interface Store extends View, AsyncDisposable {
  /** Resolves with the command's answer after its changes are durable: they survive kill -9 and power loss. Rejects with what the command threw, or {@link StoreError}. */
  write<T>(command: (transaction: Transaction) => Promise<T>, options?: { readonly urgent?: boolean }): Promise<T>;
  /**
   * Calls back with each committed group of changes, in log order, after it is durable and before the commands that made it are
   * answered; also for groups of other replicas. The changes are shared: a listener changes nothing in them and does not throw.
   */
  subscribe(listener: (changes: readonly Change[]) => void): Disposable;
  /** Small values that are not in the log: private keys, the development issuer, the last known time. Durable when it resolves. */
  readonly secrets: { get(name: string): Promise<Uint8Array | undefined>; set(name: string, value: Uint8Array): Promise<void> };
}

/** Why a store could not answer. */
export class StoreError extends Error {
  /**
   * `locked`: another process has it. `unwritable`: disk full, read-only, connection lost, too many commands waiting; nothing was written. `corrupt`: what is
   * stored contradicts itself. `closed`: after dispose. `format`: written by another version.
   */
  readonly code: "locked" | "unwritable" | "corrupt" | "closed" | "format";
  constructor(code: StoreError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "StoreError";
    this.code = code;
  }
}
