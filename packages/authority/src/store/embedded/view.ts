// Reading: what a group of commands has written, in front of what is committed. Without an overlay of its own, the committed state.
// Never writes.
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { type LogRecord, LogRecordSchema, type Opening, OpeningSchema } from "@brevet/protocol/brevet/v1/log";
import { clone, create } from "@bufbuild/protobuf";
import type { ElevationQuery, Head, StoredKey, StoredPolicy, StoredPrincipal, StoredProposal, View } from "../store.ts";
import { type Overlay, requestKey } from "./overlay.ts";
import { type Reader, STATES } from "./reader.ts";
import { blob, hex, int, OPENINGS_PER_ENTRY, readElevation, readKey, readPolicy, readPrincipal, readProposal, text } from "./rows.ts";

const NOTHING = new Uint8Array();
const DEFAULT_LIMIT = 100;
const HIGHEST_LIMIT = 10_000;

/** The committed state, with an overlay in front of it. */
export class OverlaidView implements View {
  protected readonly reader: Reader;
  readonly #overlay: () => Overlay;

  /** @param overlay Asked for at each call, so that it may be replaced. */
  constructor(reader: Reader, overlay: () => Overlay) {
    this.reader = reader;
    this.#overlay = overlay;
  }

  async head(): Promise<Head> {
    return this.#overlay().head;
  }

  async entries(after: bigint, options: { limit?: number; audience?: string; elevation?: string } = {}): Promise<LogRecord[]> {
    const { audience, elevation } = options;
    const limit = bounded(options.limit);
    const overlay = this.#overlay();
    const where = `revision > ?${elevation === undefined ? "" : " AND elevation = ?"}${audience === undefined ? "" : " AND audience = ?"}`;
    const partial = elevation === undefined ? "" : " AND elevation <> ''";
    const rows = this.reader.all(
      `SELECT revision, leaf_hash, leaf FROM entries WHERE ${where}${partial} ORDER BY revision LIMIT ?`,
      ...[after, elevation, audience, limit].filter((value) => value !== undefined),
    );
    const records = rows.map((row) =>
      create(LogRecordSchema, {
        entry: blob(row, "leaf"),
        openings: this.#openingsOf(int(row, "revision"), overlay),
        revision: BigInt(int(row, "revision")),
        leafHash: blob(row, "leaf_hash"),
      }),
    );
    for (const change of overlay.changes) {
      if (records.length >= limit) break;
      const { entry } = change;
      if (entry.revision <= after || (audience ?? entry.audience) !== entry.audience || (elevation ?? entry.elevation) !== entry.elevation)
        continue;
      const kept = change.openings.filter((_, place) => !overlay.erased.has(hex(change.commitments[place] ?? NOTHING)));
      records.push(
        create(LogRecordSchema, {
          entry: change.leaf,
          openings: kept.map((opening) => clone(OpeningSchema, opening)),
          revision: entry.revision,
          leafHash: change.leafHash.slice(),
        }),
      );
    }
    return records;
  }

  async elevation(id: string): Promise<Elevation | undefined> {
    const pending = this.#overlay().elevations.get(id);
    if (pending !== undefined) return readElevation(pending.message);
    const row = this.reader.get("SELECT message FROM elevations WHERE id = ?", id);
    return row && readElevation(blob(row, "message"));
  }

  async elevations(query: ElevationQuery): Promise<Elevation[]> {
    const limit = bounded(query.limit);
    const overlay = this.#overlay();
    const before = query.before === undefined ? undefined : this.#createdOf(query.before, overlay);
    if (query.before !== undefined && before === undefined) return [];
    // Each known state once: every one is a scan, and a part of a statement that is kept.
    if (query.states !== undefined) query = { ...query, states: STATES.filter((state) => query.states?.includes(state)) };
    if (query.states?.length === 0) return [];
    if (query.ids !== undefined) query = { ...query, ids: [...new Set(query.ids)] };
    const found = overlay.matching(query, before).map(({ id, created, message }) => ({ id, created, message }));
    for (const row of this.reader.elevations(query, before, limit + overlay.elevations.size)) {
      const id = text(row, "id");
      if (!overlay.elevations.has(id)) found.push({ id, created: int(row, "created"), message: blob(row, "message") });
    }
    return found
      .toSorted((a, b) => b.created - a.created)
      .slice(0, limit)
      .map(({ message }) => readElevation(message));
  }

  async due(atMs: number, limit: number): Promise<string[]> {
    const overlay = this.#overlay();
    const found = [...overlay.elevations.values()]
      .filter((row) => row.dueMs !== null && row.dueMs <= atMs)
      .map((row) => ({ id: row.id, dueMs: row.dueMs ?? 0 }));
    const rows = this.reader.all(
      "SELECT id, due_ms FROM elevations WHERE due_ms IS NOT NULL AND due_ms <= ? ORDER BY due_ms, created LIMIT ?",
      atMs,
      limit + overlay.elevations.size,
    );
    for (const row of rows) if (!overlay.elevations.has(text(row, "id"))) found.push({ id: text(row, "id"), dueMs: int(row, "due_ms") });
    return found
      .toSorted((a, b) => a.dueMs - b.dueMs)
      .slice(0, limit)
      .map(({ id }) => id);
  }

  async nextDueMs(): Promise<number | undefined> {
    const overlay = this.#overlay();
    const rows = this.reader.all(
      "SELECT id, due_ms FROM elevations WHERE due_ms IS NOT NULL ORDER BY due_ms LIMIT ?",
      1 + overlay.elevations.size,
    );
    const committed = rows.find((row) => !overlay.elevations.has(text(row, "id")));
    const times = [...overlay.elevations.values()].map((row) => row.dueMs).filter((dueMs) => dueMs !== null);
    if (committed) times.push(int(committed, "due_ms"));
    return times.length === 0 ? undefined : times.reduce((earliest, time) => Math.min(earliest, time));
  }

  async principal(id: string): Promise<StoredPrincipal | undefined> {
    const pending = this.#overlay().principals.get(id);
    if (pending !== undefined) return pending;
    const row = this.reader.get("SELECT * FROM principals WHERE id = ?", id);
    return row && readPrincipal(row);
  }

  async principals(ids: readonly string[]): Promise<Map<string, StoredPrincipal>> {
    const found = await Promise.all([...new Set(ids)].map((id) => this.principal(id)));
    return new Map(found.filter((principal) => principal !== undefined).map((principal) => [principal.id, principal]));
  }

  async principalByName(name: string): Promise<StoredPrincipal | undefined> {
    const overlay = this.#overlay();
    const pending = overlay.principalIdByName(name);
    if (pending !== undefined) return overlay.principals.get(pending);
    const row = this.reader.get("SELECT * FROM principals WHERE name = ?", name);
    const principal = row && readPrincipal(row);
    return principal && overlay.principals.has(principal.id) ? undefined : principal;
  }

  async request(actor: string, requestId: string): Promise<{ elevation: string; revision: bigint } | undefined> {
    const row = this.reader.get("SELECT elevation, revision FROM requests WHERE actor = ? AND request = ?", actor, requestId);
    if (row) return { elevation: text(row, "elevation"), revision: BigInt(int(row, "revision")) };
    const pending = this.#overlay().requests.get(requestKey(actor, requestId));
    return pending && { elevation: pending.elevation, revision: pending.revision };
  }

  async openings(commitments: readonly Uint8Array[]): Promise<Map<string, Uint8Array>> {
    const overlay = this.#overlay();
    const values = new Map<string, Uint8Array>();
    for (const commitment of commitments) {
      const key = hex(commitment);
      if (overlay.erased.has(key)) continue;
      const pending = overlay.openings.get(key);
      const row = pending ? undefined : this.reader.get("SELECT value FROM openings WHERE commitment = ?", commitment);
      const value = pending ? pending.value.slice() : row && blob(row, "value");
      if (value !== undefined) values.set(key, value);
    }
    return values;
  }

  async policies(): Promise<StoredPolicy[]> {
    // The version beside max() is that of the row which has it (SQLite, "bare columns").
    const committed = this.reader
      .all("SELECT *, max(version) FROM policies INDEXED BY policies_current WHERE shadow = 0 GROUP BY audience")
      .map(readPolicy);
    const current = new Map(committed.map((policy) => [policy.audience, policy]));
    for (const policy of this.#overlay().policies.values())
      if (!policy.shadow && policy.version > (current.get(policy.audience)?.version ?? 0n)) current.set(policy.audience, policy);
    return [...current.values()].toSorted((a, b) => (a.audience < b.audience ? -1 : 1));
  }

  async policy(audience: string, version?: bigint): Promise<StoredPolicy | undefined> {
    const pending = [...this.#overlay().policies.values()].filter(
      (policy) => policy.audience === audience && (version === undefined ? !policy.shadow : policy.version === version),
    );
    const newest = pending.toSorted((a, b) => Number(b.version - a.version))[0];
    if (newest !== undefined) return newest;
    const which = version === undefined ? "shadow = 0 ORDER BY version DESC LIMIT 1" : "version = ?";
    const row = this.reader.get(
      `SELECT * FROM policies WHERE audience = ? AND ${which}`,
      audience,
      ...(version === undefined ? [] : [version]),
    );
    return row && readPolicy(row);
  }

  async policyVersions(audience: string, options: { before?: bigint; limit?: number } = {}): Promise<StoredPolicy[]> {
    const limit = bounded(options.limit);
    const before = options.before ?? BigInt(Number.MAX_SAFE_INTEGER);
    const rows = this.reader.all(
      "SELECT * FROM policies WHERE audience = ? AND version < ? ORDER BY version DESC LIMIT ?",
      audience,
      before,
      limit,
    );
    const pending = [...this.#overlay().policies.values()].filter((policy) => policy.audience === audience && policy.version < before);
    return [...pending.toSorted((a, b) => Number(b.version - a.version)), ...rows.map(readPolicy)].slice(0, limit);
  }

  async proposal(id: string): Promise<StoredProposal | undefined> {
    const pending = this.#overlay().proposals.get(id);
    if (pending !== undefined) return pending;
    const row = this.reader.get("SELECT * FROM proposals WHERE id = ?", id);
    return row && readProposal(row);
  }

  async keys(): Promise<StoredKey[]> {
    const keys = new Map(this.reader.all("SELECT * FROM keys ORDER BY place").map((row) => [row["kid"], readKey(row)]));
    for (const key of this.#overlay().keys.values()) keys.set(key.kid, key);
    return [...keys.values()];
  }

  async leafHashes(after: bigint, limit?: number): Promise<Uint8Array[]> {
    const rows = this.reader.all("SELECT leaf_hash FROM entries WHERE revision > ? ORDER BY revision LIMIT ?", after, bounded(limit));
    const pending = this.#overlay().changes.filter(({ entry }) => entry.revision > after);
    return [...rows.map((row) => blob(row, "leaf_hash")), ...pending.map(({ leafHash }) => leafHash)].slice(0, bounded(limit));
  }

  #openingsOf(revision: number, overlay: Overlay): Opening[] {
    const first = revision * OPENINGS_PER_ENTRY;
    const rows = this.reader.all(
      "SELECT commitment, salt, value FROM openings WHERE id >= ? AND id < ? ORDER BY id",
      first,
      first + OPENINGS_PER_ENTRY,
    );
    return rows
      .filter((row) => !overlay.erased.has(hex(blob(row, "commitment"))))
      .map((row) => create(OpeningSchema, { salt: blob(row, "salt"), value: blob(row, "value") }));
  }

  #createdOf(id: string, overlay: Overlay): number | undefined {
    const pending = overlay.elevations.get(id);
    if (pending !== undefined) return pending.created;
    const row = this.reader.get("SELECT created FROM elevations WHERE id = ?", id);
    return row && int(row, "created");
  }
}

function bounded(limit: number | undefined): number {
  return Math.max(0, Math.min(Math.trunc(limit ?? DEFAULT_LIMIT), HIGHEST_LIMIT));
}
