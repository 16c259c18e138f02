// The tables of the embedded store, and the check that a file holds them in this version.
// Never migrates silently: a newer or foreign file is refused.
import type { DatabaseSync } from "node:sqlite";
import { StoreError } from "../store.ts";

const APPLICATION = "brevet";
const VERSION = 1;

// An elevation's `created` is the revision of its first entry: the order of every list, and at the end of every index for nothing.
// An opening's `id` is its entry's revision × 65536 + its place, so that those of an entry lie together.
// `ended_ms` and `due_ms` are null while an elevation is open, or once it is final.
const TABLES = `
CREATE TABLE format (application TEXT NOT NULL, version INTEGER NOT NULL) STRICT;
CREATE TABLE head (
  one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, revision INTEGER NOT NULL, time_ms INTEGER NOT NULL, frontier BLOB NOT NULL
) STRICT;
CREATE TABLE entries (
  revision INTEGER PRIMARY KEY, audience TEXT NOT NULL, elevation TEXT NOT NULL, leaf_hash BLOB NOT NULL, leaf BLOB NOT NULL
) STRICT;
CREATE INDEX entries_audience ON entries (audience);
CREATE INDEX entries_elevation ON entries (elevation) WHERE elevation <> '';
CREATE TABLE openings (id INTEGER PRIMARY KEY, commitment BLOB NOT NULL UNIQUE, salt BLOB NOT NULL, value BLOB NOT NULL) STRICT;
CREATE TABLE requests (
  actor TEXT NOT NULL, request TEXT NOT NULL, elevation TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (actor, request)
) STRICT, WITHOUT ROWID;
CREATE TABLE elevations (
  created INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, audience TEXT NOT NULL, entitlement TEXT NOT NULL, requester TEXT NOT NULL,
  key_thumbprint BLOB, state INTEGER NOT NULL, changed INTEGER NOT NULL, ended_ms INTEGER, due_ms INTEGER, message BLOB NOT NULL
) STRICT;
CREATE INDEX elevations_requester ON elevations (requester, state);
CREATE INDEX elevations_key ON elevations (key_thumbprint) WHERE key_thumbprint IS NOT NULL;
CREATE INDEX elevations_entitlement ON elevations (entitlement, state);
CREATE INDEX elevations_audience ON elevations (audience, state);
CREATE INDEX elevations_state ON elevations (state);
CREATE INDEX elevations_changed ON elevations (changed);
CREATE INDEX elevations_ended ON elevations (ended_ms, audience) WHERE ended_ms IS NOT NULL;
CREATE INDEX elevations_due ON elevations (due_ms) WHERE due_ms IS NOT NULL;
CREATE TABLE principals (id TEXT PRIMARY KEY, kind INTEGER NOT NULL, name TEXT, name_commitment BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX principals_name ON principals (name) WHERE name IS NOT NULL;
CREATE INDEX principals_commitment ON principals (name_commitment);
CREATE TABLE policies (
  audience TEXT NOT NULL, version INTEGER NOT NULL, shadow INTEGER NOT NULL, document BLOB NOT NULL, descriptors BLOB,
  author TEXT NOT NULL, time_ms INTEGER NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (audience, version)
) STRICT;
CREATE INDEX policies_current ON policies (audience, version) WHERE shadow = 0;
CREATE TABLE proposals (
  id TEXT PRIMARY KEY, audience TEXT NOT NULL, document BLOB NOT NULL, descriptors BLOB, comment BLOB,
  author TEXT NOT NULL, base_version INTEGER NOT NULL, quorum INTEGER NOT NULL, approvers TEXT NOT NULL, shadow INTEGER NOT NULL,
  time_ms INTEGER NOT NULL, revision INTEGER NOT NULL, version INTEGER NOT NULL
) STRICT;
CREATE TABLE keys (
  place INTEGER PRIMARY KEY, kid TEXT NOT NULL UNIQUE, purpose INTEGER NOT NULL, public_jwk TEXT NOT NULL, retired_ms INTEGER,
  revoked INTEGER NOT NULL
) STRICT;
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
INSERT INTO head VALUES (1, '', 0, 0, x'');
`;

/**
 * Makes the tables in an empty file; otherwise checks that they are there, and that the head is that of the last entry.
 * @throws StoreError `format` where the file is of a newer version or of something else; `corrupt` where it contradicts itself.
 */
export function prepareSchema(db: DatabaseSync): void {
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
  if (tables.length === 0) {
    db.exec(`BEGIN IMMEDIATE; ${TABLES}`);
    db.prepare("INSERT INTO format VALUES (?, ?)").run(APPLICATION, VERSION);
    db.exec("COMMIT");
    return;
  }
  const columns = db.prepare("SELECT name FROM pragma_table_info('format')").all();
  const names = columns.map((column) => column["name"]).join();
  const format = names === "application,version" ? db.prepare("SELECT application, version FROM format").get() : undefined;
  if (format?.["application"] !== APPLICATION) throw new StoreError("format", "this is not a store of Brevet");
  const version = format["version"];
  if (version !== VERSION)
    throw new StoreError(
      "format",
      `the store has format ${String(version)}, this program reads format ${VERSION}; use the version that wrote it`,
    );
  const last = db.prepare("SELECT (SELECT revision FROM head) AS head, (SELECT max(revision) FROM entries) AS entry").get();
  if (last?.["head"] !== (last?.["entry"] ?? 0))
    throw new StoreError("corrupt", `the head says ${String(last?.["head"])} entries, the last entry is ${String(last?.["entry"])}`);
}
