// The book: charges and refunds in one SQLite file, durable before they are answered, and the rules that an entry must meet.
// Owns the data file. Knows nothing of gRPC calls, of callers, or of who may do what.
import { createHash } from "node:crypto";
import { DatabaseSync, type SQLInputValue, type SQLOutputValue } from "node:sqlite";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import { type Entry, EntryKind, EntrySchema } from "./gen/payments/v1/ledger_pb.ts";

/** How the book is written: `plain`, or `chained`, where each entry carries a hash over itself and the entry before. */
export type Format = "plain" | "chained";

/** A rule that was not met: a gRPC status, and what is wrong. */
export interface Refusal {
  readonly ok: false;
  readonly code: status;
  readonly message: string;
}

/** What came of an attempt to change the book. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | Refusal;

/** A charge to book. */
export interface NewCharge {
  readonly account: string;
  readonly amountCents: bigint;
  readonly currency: string;
}

/** Most charges in one import. */
export const MAX_IMPORT = 10_000;
const MAX_AMOUNT_CENTS = 10n ** 15n;
const formats: readonly string[] = ["plain", "chained"] satisfies Format[];

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY, account TEXT NOT NULL, kind INTEGER NOT NULL, amount_cents INTEGER NOT NULL,
    currency TEXT NOT NULL, charge INTEGER REFERENCES entries, time_ms INTEGER NOT NULL, hash BLOB
  ) STRICT;
  CREATE INDEX IF NOT EXISTS entries_of_account ON entries (account, position);
  CREATE INDEX IF NOT EXISTS refunds_of_charge ON entries (charge) WHERE charge IS NOT NULL;
  CREATE TABLE IF NOT EXISTS book (format TEXT NOT NULL) STRICT;
  INSERT INTO book SELECT 'plain' WHERE NOT EXISTS (SELECT 1 FROM book);`;

/** An open book. One process at a time: a second one that opens the file gets "database is locked". */
export class Book implements Disposable {
  readonly #database: DatabaseSync;
  readonly #nowMs: () => number;
  readonly #watchers = new Set<() => void>();

  /**
   * Opens the file, or begins a new book.
   * @throws Error where the file is in use, is no book, or its hashes do not fit its entries.
   */
  constructor(file: string, options: { nowMs?: () => number } = {}) {
    this.#nowMs = options.nowMs ?? (() => Date.now());
    this.#database = new DatabaseSync(file, { timeout: 0, readBigInts: true });
    try {
      this.#database.exec(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON",
      );
      this.#database.exec(SCHEMA);
      this.#checkHashes();
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** How many entries there are. */
  get size(): number {
    return Number(this.#one("SELECT count(*) AS n FROM entries")?.n);
  }

  /** How the book is written now. */
  get format(): Format {
    return this.#one("SELECT format FROM book")?.format === "chained" ? "chained" : "plain";
  }

  /** The entry with this id. */
  entry(id: string): Outcome<Entry> {
    const position = positionOf(id);
    const row = position === undefined ? undefined : this.#one("SELECT * FROM entries WHERE position = ?", [position]);
    if (row === undefined) return refuse(status.NOT_FOUND, `"${id.slice(0, 40)}" is not in the book`);
    return { ok: true, value: entryOf(row) };
  }

  /** At most `limit` entries that stand behind `after` (an id; empty: from the start), oldest first. An empty account means all. */
  entries(after: string, account: string, limit: number): Entry[] {
    return this.#all("SELECT * FROM entries WHERE position > ? AND (? = '' OR account = ?) ORDER BY position LIMIT ?", [
      positionOf(after) ?? 0n,
      account,
      account,
      limit,
    ]).map(entryOf);
  }

  /** Calls back after every change, until disposed. */
  watch(changed: () => void): Disposable {
    this.#watchers.add(changed);
    return { [Symbol.dispose]: () => void this.#watchers.delete(changed) };
  }

  /** Books all charges, or none. */
  charge(charges: readonly NewCharge[]): Outcome<readonly Entry[]> {
    if (charges.length === 0) return refuse(status.INVALID_ARGUMENT, "nothing to book");
    if (charges.length > MAX_IMPORT) return refuse(status.RESOURCE_EXHAUSTED, `at most ${MAX_IMPORT} charges in one import`);
    for (const [index, charge] of charges.entries()) {
      const problem = charge.account.trim() === "" ? "account is empty" : problemOfMoney(charge);
      if (problem !== undefined) return refuse(status.INVALID_ARGUMENT, `charge ${index + 1}: ${problem}; nothing was booked`);
    }
    return this.#change(() => ({ ok: true, value: charges.map((charge) => this.#append({ ...charge, kind: EntryKind.CHARGE })) }));
  }

  /** Books a refund: never more, in all, than the charge, and in its currency. */
  refund(request: { readonly charge: string; readonly amountCents: bigint; readonly currency: string }): Outcome<Entry> {
    const problem = request.charge === "" ? "charge is empty" : problemOfMoney(request);
    if (problem !== undefined) return refuse(status.INVALID_ARGUMENT, problem);
    return this.#change(() => {
      const found = this.entry(request.charge);
      if (!found.ok) return found;
      const charge = found.value;
      if (charge.kind !== EntryKind.CHARGE)
        return refuse(status.FAILED_PRECONDITION, `${charge.id} is a refund, and only charges are refunded`);
      if (charge.currency !== request.currency) {
        return refuse(status.FAILED_PRECONDITION, `${charge.id} is in ${charge.currency}, not in ${request.currency}`);
      }
      const left = charge.amountCents - this.#refunded(charge);
      if (request.amountCents > left) {
        return refuse(
          status.FAILED_PRECONDITION,
          `${left} of ${charge.amountCents} cents of ${charge.id} are left to refund, not ${request.amountCents}`,
        );
      }
      return { ok: true, value: this.#append({ ...request, account: charge.account, kind: EntryKind.REFUND }) };
    });
  }

  /** Rewrites every entry into another format, all or none, and says how many; with `dryRun`, only says. */
  migrate(format: string, dryRun: boolean): Outcome<number> {
    if (!formats.includes(format)) return refuse(status.INVALID_ARGUMENT, `target_format is "${format}"; known are ${formats.join(", ")}`);
    if (format === this.format) return refuse(status.FAILED_PRECONDITION, `the book is ${format} already`);
    if (dryRun) return { ok: true, value: this.size };
    return this.#change(() => {
      this.#run("UPDATE book SET format = ?", [format]);
      let hash: Uint8Array | null = null;
      const rows = this.#all("SELECT * FROM entries ORDER BY position", []);
      for (const row of rows) {
        hash = format === "chained" ? hashOf(hash, entryOf(row)) : null;
        this.#run("UPDATE entries SET hash = ? WHERE position = ?", [hash, row.position ?? null]);
      }
      return { ok: true, value: rows.length };
    });
  }

  [Symbol.dispose](): void {
    this.#watchers.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  #refunded(charge: Entry): bigint {
    const row = this.#one("SELECT coalesce(sum(amount_cents), 0) AS cents FROM entries WHERE charge = ?", [positionOf(charge.id) ?? null]);
    return BigInt(String(row?.cents));
  }

  #append(line: NewCharge & { readonly kind: EntryKind; readonly charge?: string }): Entry {
    const last = this.#one("SELECT position, hash FROM entries ORDER BY position DESC LIMIT 1");
    const position = BigInt(String(last?.position ?? 0n)) + 1n;
    const entry = create(EntrySchema, { ...line, id: idOf(position), time: timestampFromMs(this.#nowMs()) });
    const before = last?.hash instanceof Uint8Array ? last.hash : null;
    this.#run("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [
      position,
      entry.account,
      entry.kind,
      entry.amountCents,
      entry.currency,
      positionOf(entry.charge) ?? null,
      entry.time === undefined ? null : timestampMs(entry.time),
      this.format === "chained" ? hashOf(before, entry) : null,
    ]);
    return entry;
  }

  /** Runs one change as a transaction: committed and synced when this returns, taken back where a rule refuses. */
  #change<T>(work: () => Outcome<T>): Outcome<T> {
    this.#database.exec("BEGIN IMMEDIATE");
    let outcome: Outcome<T>;
    try {
      outcome = work();
      this.#database.exec(outcome.ok ? "COMMIT" : "ROLLBACK");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
    if (outcome.ok) for (const changed of this.#watchers) changed();
    return outcome;
  }

  #checkHashes(): void {
    if (this.format !== "chained") return;
    let hash: Uint8Array | null = null;
    for (const row of this.#all("SELECT * FROM entries ORDER BY position", [])) {
      const entry = entryOf(row);
      hash = hashOf(hash, entry);
      if (!(row.hash instanceof Uint8Array) || Buffer.compare(row.hash, hash) !== 0)
        throw new Error(`the book is damaged: the hash of ${entry.id} does not fit`);
    }
  }

  #one(sql: string, values: SQLInputValue[] = []): Row | undefined {
    return this.#database.prepare(sql).get(...values);
  }

  #all(sql: string, values: SQLInputValue[]): Row[] {
    return this.#database.prepare(sql).all(...values);
  }

  #run(sql: string, values: SQLInputValue[]): void {
    this.#database.prepare(sql).run(...values);
  }
}

type Row = Record<string, SQLOutputValue>;

function entryOf(row: Row): Entry {
  return create(EntrySchema, {
    id: idOf(BigInt(String(row.position))),
    account: String(row.account),
    kind: Number(row.kind) as EntryKind,
    amountCents: BigInt(String(row.amount_cents)),
    currency: String(row.currency),
    charge: row.charge === null ? "" : idOf(BigInt(String(row.charge))),
    time: timestampFromMs(Number(row.time_ms)),
  });
}

/** Entries are numbered without a gap, as auditors like it. */
function idOf(position: bigint): string {
  return `ent_${position}`;
}

function positionOf(id: string): bigint | undefined {
  const digits = /^ent_([1-9][0-9]{0,17})$/.exec(id)?.[1];
  return digits === undefined ? undefined : BigInt(digits);
}

function problemOfMoney(money: { readonly amountCents: bigint; readonly currency: string }): string | undefined {
  if (money.amountCents <= 0n || money.amountCents > MAX_AMOUNT_CENTS)
    return `amount_cents is ${money.amountCents}, not from 1 to ${MAX_AMOUNT_CENTS}`;
  if (!/^[A-Z]{3}$/.test(money.currency)) return `currency is "${money.currency.slice(0, 20)}", not three capital letters`;
  return undefined;
}

function hashOf(before: Uint8Array | null, entry: Entry): Uint8Array {
  const hash = createHash("sha256").update(before ?? new Uint8Array(32));
  return hash.update(toBinary(EntrySchema, entry)).digest();
}

function refuse(code: status, message: string): Refusal {
  return { ok: false, code, message };
}
