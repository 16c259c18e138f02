// The thread that writes: one connection, one transaction per message, an answer once it is on the disk.
// Never reads state and decides nothing; a slow disk stalls this thread only.
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { STATEMENTS, type Step } from "./statements.ts";

/** What the main thread asks for. `scrub`: also empty the write-ahead log, which still has what was erased. */
export type WriterRequest = { readonly do: "write"; readonly steps: readonly Step[]; readonly scrub: boolean } | { readonly do: "close" };

/** What it gets back, one answer per request, in order; the first one says that the connection is open. */
export type WriterAnswer = { readonly ok: true } | { readonly ok: false; readonly message: string; readonly lasting: boolean };

const port = parentPort;
if (port !== null) serve(port, String(workerData));

function serve(to: NonNullable<typeof parentPort>, path: string): void {
  const answer = (message: WriterAnswer) => to.postMessage(message, []);
  const db = new DatabaseSync(path, { timeout: 5000 });
  db.exec(
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000",
  );
  const statements = new Map<Step[0], StatementSync>();
  const run = ([name, ...values]: Step) => {
    let statement = statements.get(name);
    if (statement === undefined) statements.set(name, (statement = db.prepare(STATEMENTS[name])));
    statement.run(...(values satisfies SQLInputValue[]));
  };
  to.on("message", (request: WriterRequest) => {
    if (request.do === "close") {
      db.close();
      answer({ ok: true });
      to.close();
      return;
    }
    try {
      db.exec("BEGIN IMMEDIATE");
      for (const step of request.steps) run(step);
      db.exec("COMMIT");
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      answer({ ok: false, message: error instanceof Error ? error.message : String(error), lasting: isSyncFailure(error) });
      return;
    }
    if (request.scrub) scrub(db);
    answer({ ok: true });
  });
  answer({ ok: true });
}

function scrub(db: DatabaseSync): void {
  try {
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  } catch {
    // The commit stands; the next checkpoint does it.
  }
}

// After a failed fsync the system may have dropped the pages and call the next one a success: nothing written later could be trusted.
function isSyncFailure(error: unknown): boolean {
  const IOERR_FSYNC = 1034;
  const IOERR_DIR_FSYNC = 1290;
  return error instanceof Error && "errcode" in error && (error.errcode === IOERR_FSYNC || error.errcode === IOERR_DIR_FSYNC);
}
