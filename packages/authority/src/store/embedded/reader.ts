// Reads of committed state: the connection of the main thread, its prepared statements, and how a query of elevations is scanned.
// Never writes. Synchronous: a row costs microseconds, and the file's pages are in memory.

import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { type ElevationQuery, type Head, StoreError } from "../store.ts";
import { type Row, readHead } from "./rows.ts";

/** All that there are. */
export const STATES = Object.values(ElevationState).filter((state) => typeof state === "number");
const OPEN_STATES = [ElevationState.PENDING, ElevationState.SCHEDULED, ElevationState.ACTIVE];

// A resume is behind by little; from further behind, another index than that of the last change serves better.
const NEARLY_CURRENT = 10_000n;

/** A connection that reads, and nothing else. */
export class Reader implements Disposable {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #head: Head | undefined;
  #closed = false;

  constructor(path: string) {
    this.#db = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
    this.#db.exec("PRAGMA cache_size = -65536; PRAGMA mmap_size = 1073741824");
  }

  /** The committed head. Kept until {@link committed}. */
  get head(): Head {
    this.#checkOpen();
    const row = this.#head ? undefined : this.get("SELECT epoch, revision, time_ms, frontier FROM head");
    if (row) this.#head = readHead(row);
    if (this.#head === undefined) throw new StoreError("corrupt", "the store has no head");
    return this.#head;
  }

  /** Told after each commit. */
  committed(head: Head): void {
    this.#head = head;
  }

  /**
   * Keeps one read transaction over many reads, until the answer is disposed: taking a snapshot for each costs more than the read. Nothing
   * may be committed meanwhile.
   */
  hold(): Disposable {
    this.#checkOpen();
    this.#db.exec("BEGIN");
    return { [Symbol.dispose]: () => this.#db.exec("COMMIT") };
  }

  get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#read(sql, (statement) => statement.get(...values));
  }

  all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#read(sql, (statement) => statement.all(...values));
  }

  /**
   * Rows (`id`, `created`, `message`) of what a query asks for, newest first, at most `limit`. Each scan names its index, so that a slow plan is an error and not a surprise.
   */
  elevations(query: ElevationQuery, beforeCreated: number | undefined, limit: number): Row[] {
    const scans = this.#scans(query);
    const rest = residual(query, beforeCreated);
    const rows = scans.flatMap((scan) => {
      const where = [...scan.where, ...rest.where].join(" AND ") || "1";
      const index = scan.index === undefined ? "NOT INDEXED" : `INDEXED BY ${scan.index}`;
      const sql = `SELECT id, created, message FROM elevations ${index} WHERE ${where} ORDER BY created DESC LIMIT ?`;
      return this.all(sql, ...scan.values, ...rest.values, limit);
    });
    if (scans.length > 1) rows.sort((a, b) => Number(b["created"]) - Number(a["created"]));
    return rows.slice(0, limit);
  }

  #scans(query: ElevationQuery): Scan[] {
    const one = (index: string | undefined, condition?: string, ...values: SQLInputValue[]): Scan[] => [
      { index, where: condition === undefined ? [] : [condition], values },
    ];
    // Each id apart: the list may have any length, and a statement is prepared once.
    if (query.ids !== undefined) return query.ids.flatMap((id) => one("sqlite_autoindex_elevations_1", "id = ?", id));
    if (query.keyThumbprint !== undefined) return one("elevations_key", "key_thumbprint = ?", query.keyThumbprint);
    if (query.changedAfter !== undefined && this.head.revision - query.changedAfter <= NEARLY_CURRENT)
      return one("elevations_changed", "changed > ?", query.changedAfter);
    const states = query.openOrEndedSinceMs === undefined ? (query.states ?? STATES) : OPEN_STATES;
    const ended =
      query.openOrEndedSinceMs === undefined
        ? []
        : one("elevations_ended", "ended_ms IS NOT NULL AND ended_ms >= ?", Math.ceil(query.openOrEndedSinceMs));
    const inEachState = (index: string, condition?: string, ...values: SQLInputValue[]): Scan[] => [
      ...states.map((state) => ({ index, where: [...(condition ? [condition] : []), "state = ?"], values: [...values, state] })),
      ...ended,
    ];
    // One pipeline may have had a hundred thousand, and a handful that are open.
    if (query.requester !== undefined) return inEachState("elevations_requester", "requester = ?", query.requester);
    if (query.entitlement !== undefined) return inEachState("elevations_entitlement", "entitlement = ?", query.entitlement);
    if (query.audience !== undefined) return inEachState("elevations_audience", "audience = ?", query.audience);
    if (query.states !== undefined || ended.length > 0) return inEachState("elevations_state");
    return one(undefined);
  }

  #read<T>(sql: string, read: (statement: StatementSync) => T): T {
    this.#checkOpen();
    try {
      let statement = this.#statements.get(sql);
      if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
      return read(statement);
    } catch (error) {
      throw new StoreError("corrupt", `the store cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new StoreError("closed", "the store is closed");
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#statements.clear();
    this.#db.close();
  }
}

interface Scan {
  /** Undefined: by `created` itself. */
  readonly index: string | undefined;
  readonly where: readonly string[];
  readonly values: readonly SQLInputValue[];
}

// The unary plus keeps a condition from being served by an index: the scan's own does that.
function residual(query: ElevationQuery, beforeCreated: number | undefined): { where: string[]; values: SQLInputValue[] } {
  const where: string[] = [];
  const values: SQLInputValue[] = [];
  const add = (condition: string, ...given: SQLInputValue[]) => {
    where.push(condition);
    values.push(...given);
  };
  if (query.audience !== undefined) add("+audience = ?", query.audience);
  if (query.requester !== undefined) add("+requester = ?", query.requester);
  if (query.entitlement !== undefined) add("+entitlement = ?", query.entitlement);
  if (query.states !== undefined) add(`+state IN (${query.states.map(Number).join(", ")})`);
  if (query.changedAfter !== undefined) add("+changed > ?", query.changedAfter);
  if (query.openOrEndedSinceMs !== undefined) add("(+ended_ms IS NULL OR +ended_ms >= ?)", Math.ceil(query.openOrEndedSinceMs));
  if (beforeCreated !== undefined) add("created < ?", beforeCreated);
  return { where, values };
}
