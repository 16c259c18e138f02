// The statements that change the embedded store. Alone in a file, so that the writer thread starts without the rest.
// Never executed anywhere but in worker.ts.
import type { SQLInputValue } from "node:sqlite";

/** All that the writer ever executes. */
export const STATEMENTS = {
  head: "UPDATE head SET epoch = ?, revision = ?, time_ms = ?, frontier = ?",
  entry: "INSERT INTO entries (revision, audience, elevation, leaf_hash, leaf) VALUES (?, ?, ?, ?, ?)",
  opening: "INSERT OR IGNORE INTO openings (id, commitment, salt, value) VALUES (?, ?, ?, ?)",
  erase: "DELETE FROM openings WHERE commitment = ?",
  request: "INSERT OR IGNORE INTO requests (actor, request, elevation, revision) VALUES (?, ?, ?, ?)",
  elevation: `INSERT INTO elevations (created, id, audience, entitlement, requester, key_thumbprint, state, changed, ended_ms, due_ms, message)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (created) DO UPDATE SET
    state = excluded.state, changed = excluded.changed, ended_ms = excluded.ended_ms, due_ms = excluded.due_ms, message = excluded.message`,
  principal: "INSERT OR REPLACE INTO principals (id, kind, name, name_commitment) VALUES (?, ?, ?, ?)",
  policy: "INSERT OR REPLACE INTO policies VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  proposal: "INSERT OR REPLACE INTO proposals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
  key: `INSERT INTO keys (kid, purpose, public_jwk, retired_ms, revoked) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (kid) DO UPDATE SET retired_ms = excluded.retired_ms, revoked = excluded.revoked`,
  secret: "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
} as const;

/** One statement with its values. */
export type Step = readonly [name: keyof typeof STATEMENTS, ...values: SQLInputValue[]];
