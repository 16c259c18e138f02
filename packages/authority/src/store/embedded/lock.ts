// Keeps a second process out of a store's directory, for as long as this one lives: the system lets go when it dies.
// Never decides by the JSON file: that is for the message only.
import { chmodSync, closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StoreError } from "../store.ts";

// A collected connection is a lock let go, and a file opened by another way in this process drops it too (POSIX).
const held = new Set<DatabaseSync>();

/**
 * Takes the lock, or throws StoreError `locked` at once, naming who has it. Dispose to let go.
 * @param nowMs For the message to others.
 */
export function lockDirectory(directory: string, nowMs: number): Disposable {
  const path = join(directory, "lock.db");
  const owner = join(directory, "lock.json");
  createPrivate(path);
  const db = new DatabaseSync(path, { timeout: 0 });
  try {
    // Nothing is ever written, so no journal is to lie about.
    db.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    db.close();
    const isBusy = error instanceof Error && "errcode" in error && error.errcode === 5; /* SQLITE_BUSY */
    if (!isBusy) throw error;
    throw new StoreError("locked", `${directory} is locked by ${ownerOf(owner)}`, { cause: error });
  }
  held.add(db);
  const temporary = `${owner}.new`;
  writeFileSync(temporary, `${JSON.stringify({ pid: process.pid, since: new Date(nowMs).toISOString() })}\n`, { mode: 0o600 });
  renameSync(temporary, owner);
  return {
    [Symbol.dispose]() {
      if (!held.delete(db)) return;
      rmSync(owner, { force: true });
      db.close();
    },
  };
}

/** Makes an empty file that only its owner reads; leaves one that is there as it is, without opening it. */
export function createPrivate(path: string): boolean {
  try {
    closeSync(openSync(path, "wx", 0o600));
    chmodSync(path, 0o600);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

function ownerOf(path: string): string {
  try {
    const owner: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof owner === "object" && owner !== null && "pid" in owner && "since" in owner)
      return `pid ${String(owner.pid)} since ${String(owner.since)}`;
  } catch {
    // Not written yet, or gone in between: the lock itself is what counts.
  }
  return "another process";
}
