// The thread that has the file of decisions: one connection, one question after another, and the bounds. Knows nothing of what it keeps.
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import type { DecisionBounds, DecisionQuery } from "./decisions.ts";

/** A record as a row. */
export interface RecordRow {
  readonly decisionId: string;
  readonly method: string;
  readonly principal: string;
  readonly reason: number;
  readonly timeMs: number;
  readonly message: Uint8Array;
}

/** What it is asked. */
export type Ask =
  | { readonly do: "open" | "close" }
  | {
      readonly do: "add";
      readonly audience: string;
      /** Names the guard's process. */
      readonly batch: string;
      readonly sequence: bigint;
      readonly rows: readonly RecordRow[];
      readonly dropped: bigint;
      readonly nowMs: number;
    }
  | { readonly do: "get" | "reports"; readonly decisionId: string }
  | { readonly do: "list"; readonly query: DecisionQuery }
  | { readonly do: "dropped"; readonly audience: string }
  | {
      readonly do: "report";
      readonly principal: string;
      readonly rows: readonly { readonly decisionId: string; readonly message: Uint8Array }[];
      readonly nowMs: number;
    };

/** One for each question, in order. */
export type Answer = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly message: string };

// known: whether it is about a caller with an identity. A power loss may take the newest records: guards do not rest on them.
const SCHEMA = `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS decisions (
  place INTEGER PRIMARY KEY AUTOINCREMENT, audience TEXT NOT NULL, known INTEGER NOT NULL, decision_id TEXT NOT NULL, time_ms INTEGER NOT NULL,
  principal TEXT NOT NULL, method TEXT NOT NULL, reason INTEGER NOT NULL, message BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS decisions_id ON decisions (decision_id) WHERE decision_id != '';
CREATE INDEX IF NOT EXISTS decisions_order ON decisions (audience, known, place);
CREATE INDEX IF NOT EXISTS decisions_audience ON decisions (audience, place);
CREATE INDEX IF NOT EXISTS decisions_principal ON decisions (audience, principal, place);
CREATE TABLE IF NOT EXISTS tallies (
  audience TEXT NOT NULL, known INTEGER NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL,
  PRIMARY KEY (audience, known)) STRICT;
CREATE TABLE IF NOT EXISTS batches (batch TEXT PRIMARY KEY, sequence INTEGER NOT NULL, time_ms INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS reports (
  decision_id TEXT NOT NULL, principal TEXT NOT NULL, time_ms INTEGER NOT NULL, message BLOB NOT NULL, PRIMARY KEY (decision_id, principal)) STRICT;
CREATE INDEX IF NOT EXISTS reports_principal ON reports (principal, time_ms);
CREATE INDEX IF NOT EXISTS reports_time ON reports (time_ms);
`;
/** Of a row beside its message. */
const ROW_BYTES = 200;
/** Numbers of processes that were not heard of for this long are forgotten. */
const BATCHES_MS = 7 * 24 * 3_600_000;

interface Tally {
  count: number;
  bytes: number;
  dropped: number;
}

class Decisions {
  readonly #db: DatabaseSync;
  readonly #bounds: DecisionBounds;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string, bounds: DecisionBounds) {
    this.#db = new DatabaseSync(path, { timeout: 5000 });
    this.#db.exec(SCHEMA);
    this.#bounds = bounds;
  }

  answer(ask: Ask): unknown {
    switch (ask.do) {
      case "open":
        return true;
      case "close":
        this.#db.close();
        return true;
      case "add":
        return this.#whole(() => this.#add(ask));
      case "report":
        this.#whole(() => this.#report(ask));
        return true;
      case "get":
        return this.#all("SELECT place, message FROM decisions WHERE decision_id = ? ORDER BY place LIMIT 1", ask.decisionId);
      case "list":
        return this.#list(ask.query);
      case "dropped": {
        const rows = this.#all("SELECT dropped FROM tallies WHERE audience = ?", ask.audience);
        return rows.reduce((sum, { dropped }) => sum + (dropped as bigint), 0n);
      }
      case "reports":
        return this.#all("SELECT principal, message FROM reports WHERE decision_id = ? ORDER BY time_ms", ask.decisionId);
      default:
        return ask satisfies never;
    }
  }

  #add({ audience, batch, sequence, rows, dropped, nowMs }: Ask & { readonly do: "add" }): boolean {
    const before = this.#all("SELECT sequence FROM batches WHERE batch = ?", batch)[0]?.["sequence"];
    if (typeof before === "bigint" && sequence <= before) return false;
    this.#run("INSERT OR REPLACE INTO batches VALUES (?, ?, ?)", batch, sequence, Math.floor(nowMs));
    this.#run("DELETE FROM batches WHERE time_ms < ?", Math.floor(nowMs - BATCHES_MS));
    const tallies = [this.#tally(audience, 0), this.#tally(audience, 1)] as const;
    tallies[1].dropped += Number(dropped);
    for (const { decisionId, timeMs, principal, method, reason, message } of rows) {
      const known = principal === "" ? 0 : 1;
      const insert =
        "INSERT INTO decisions (audience, known, decision_id, time_ms, principal, method, reason, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
      this.#run(insert, audience, known, decisionId, Math.floor(timeMs), principal, method, reason, message);
      tallies[known].count += 1;
      tallies[known].bytes += message.length + ROW_BYTES;
    }
    for (const known of [0, 1] as const) {
      this.#forget(audience, known, tallies[known], nowMs);
      const { count, bytes, dropped: gone } = tallies[known];
      this.#run("INSERT OR REPLACE INTO tallies VALUES (?, ?, ?, ?, ?)", audience, known, count, bytes, gone);
    }
    return true;
  }

  /** The oldest go, until the bounds hold. */
  #forget(audience: string, known: 0 | 1, tally: Tally, nowMs: number): void {
    const { count, bytes, ageMs } = this.#bounds;
    const oldest =
      "SELECT place, time_ms, length(message) AS length FROM decisions WHERE audience = ? AND known = ? ORDER BY place LIMIT 100";
    for (;;) {
      let last: bigint | undefined;
      const rows = this.#all(oldest, audience, known);
      for (const row of rows) {
        const old = Number(row["time_ms"]) < nowMs - ageMs;
        if (!old && tally.count <= count && tally.bytes <= bytes) break;
        last = row["place"] as bigint;
        tally.count -= 1;
        tally.bytes -= Number(row["length"]) + ROW_BYTES;
        tally.dropped += 1;
      }
      if (last === undefined) return;
      this.#run("DELETE FROM decisions WHERE audience = ? AND known = ? AND place <= ?", audience, known, last);
      if (last !== rows.at(-1)?.["place"]) return;
    }
  }

  #report({ principal, rows, nowMs }: Ask & { readonly do: "report" }): void {
    const { reportsEach, reports, ageMs } = this.#bounds;
    const time = Math.floor(nowMs);
    for (const { decisionId, message } of rows)
      this.#run("INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?)", decisionId, principal, time, message);
    this.#run(
      "DELETE FROM reports WHERE rowid IN (SELECT rowid FROM reports WHERE principal = ? ORDER BY time_ms DESC, rowid DESC LIMIT -1 OFFSET ?)",
      principal,
      reportsEach,
    );
    this.#run("DELETE FROM reports WHERE time_ms < ?", Math.floor(nowMs - ageMs));
    const [{ many = 0n } = {}] = this.#all("SELECT count(*) AS many FROM reports");
    const over = Number(many) - reports;
    if (over > 0) this.#run("DELETE FROM reports WHERE rowid IN (SELECT rowid FROM reports ORDER BY time_ms, rowid LIMIT ?)", over);
  }

  #list({ audience, method, principal, reason, fromMs, before, limit }: DecisionQuery): unknown {
    const conditions: [string, SQLInputValue | undefined][] = [
      ["audience = ?", audience],
      ["principal = ?", principal],
      ["method = ?", method],
      ["reason = ?", reason],
      ["time_ms >= ?", fromMs],
      ["place < ?", before],
    ];
    const given = conditions.flatMap(([text, value]) => (value === undefined ? [] : [[text, value] as const]));
    const where = given.map(([text]) => text).join(" AND ");
    const values = given.map(([, value]) => value);
    return this.#all(`SELECT place, message FROM decisions WHERE ${where} ORDER BY place DESC LIMIT ?`, ...values, Math.min(limit, 1000));
  }

  #tally(audience: string, known: 0 | 1): Tally {
    const [row] = this.#all("SELECT count, bytes, dropped FROM tallies WHERE audience = ? AND known = ?", audience, known);
    return { count: Number(row?.["count"] ?? 0), bytes: Number(row?.["bytes"] ?? 0), dropped: Number(row?.["dropped"] ?? 0) };
  }

  #whole<T>(work: () => T): T {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      const done = work();
      this.#db.exec("COMMIT");
      return done;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  #all(sql: string, ...values: SQLInputValue[]): Record<string, unknown>[] {
    return this.#statement(sql).all(...values);
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#statement(sql).run(...values);
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      statement.setReadBigInts(true);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

const port = parentPort;
if (port !== null) {
  const { path, bounds } = workerData as { readonly path: string; readonly bounds: DecisionBounds };
  let decisions: Decisions | undefined;
  port.on("message", (ask: Ask) => {
    let answer: Answer;
    try {
      decisions ??= new Decisions(path, bounds);
      answer = { ok: true, value: decisions.answer(ask) };
    } catch (error) {
      answer = { ok: false, message: error instanceof Error ? error.message : String(error) };
    }
    port.postMessage(answer, []);
    if (ask.do === "close") port.close();
  });
}
