// Rows of the embedded store: how changes become statements for the writer, and how values come back out.
// Never talks to the database.

import type { SQLOutputValue } from "node:sqlite";
import { type Elevation, ElevationSchema, ElevationState, PrincipalKind } from "@brevet/protocol/brevet/v1/elevation";
import { KeyPurpose } from "@brevet/protocol/brevet/v1/log";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import {
  type Change,
  type Head,
  type StoredKey,
  type StoredPolicy,
  type StoredPrincipal,
  type StoredProposal,
  StoreError,
} from "../store.ts";
import type { Step } from "./statements.ts";

/** Openings of one entry lie together: an opening's row is its entry's revision times this, plus its place. */
export const OPENINGS_PER_ENTRY = 65_536;

/** What a query returns. */
export type Row = Readonly<Record<string, SQLOutputValue>>;

/** An elevation with what it is found by. */
export interface ElevationRow {
  /** Revision of its first entry. */
  readonly created: number;
  readonly id: string;
  readonly audience: string;
  readonly entitlement: string;
  readonly requester: string;
  readonly keyThumbprint: Uint8Array | null;
  readonly state: ElevationState;
  readonly changed: number;
  /** Null while it is open. */
  readonly endedMs: number | null;
  readonly dueMs: number | null;
  readonly message: Uint8Array;
}

const OPEN: ReadonlySet<ElevationState> = new Set([ElevationState.PENDING, ElevationState.SCHEDULED, ElevationState.ACTIVE]);

/** The row of an elevation after a change. A final one without its own end is taken to have ended with the entry. */
export function elevationRow(change: NonNullable<Change["elevation"]>, head: Head, created: number): ElevationRow {
  const { state: elevation, dueMs } = change;
  return {
    created,
    id: elevation.id,
    audience: elevation.audience,
    entitlement: elevation.entitlement,
    requester: elevation.requester?.id ?? "",
    keyThumbprint: elevation.keyThumbprint.length === 0 ? null : elevation.keyThumbprint,
    state: elevation.state,
    changed: Number(elevation.revision),
    endedMs: OPEN.has(elevation.state) ? null : elevation.endTime ? timestampMs(elevation.endTime) : head.timeMs,
    dueMs: dueMs === undefined ? null : Math.ceil(dueMs),
    message: toBinary(ElevationSchema, elevation),
  };
}

/** The elevation itself, fresh for each caller. */
export function readElevation(message: Uint8Array): Elevation {
  return fromBinary(ElevationSchema, message);
}

/** Lower-case hexadecimal: bytes as a key. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

export function elevationStep(row: ElevationRow): Step {
  const { created, id, audience, entitlement, requester, keyThumbprint, state, changed, endedMs, dueMs, message } = row;
  return ["elevation", created, id, audience, entitlement, requester, keyThumbprint, state, changed, endedMs, dueMs, message];
}

export function headStep(head: Head): Step {
  const frontier = new Uint8Array(head.frontier.length * 32);
  for (const [i, hash] of head.frontier.entries()) frontier.set(hash, i * 32);
  return ["head", head.epoch, Number(head.revision), head.timeMs, frontier];
}

export function principalStep(principal: StoredPrincipal): Step {
  return ["principal", principal.id, principal.kind, principal.name ?? null, principal.nameCommitment];
}

export function policyStep(policy: StoredPolicy): Step {
  const { audience, version, shadow, document, descriptors, author, timeMs, revision } = policy;
  return ["policy", audience, version, shadow ? 1 : 0, document, descriptors ?? null, author, timeMs, revision];
}

export function proposalStep(proposal: StoredProposal): Step {
  const { id, audience, document, descriptors, comment, author, baseVersion, quorum, approvers, timeMs, revision, version } = proposal;
  const shadow = proposal.shadow ? 1 : 0;
  const texts = [descriptors ?? null, comment ?? null, author];
  return ["proposal", id, audience, document, ...texts, baseVersion, quorum, approvers.join(" "), shadow, timeMs, revision, version];
}

export function keyStep(key: StoredKey): Step {
  return ["key", key.kid, key.purpose, key.publicJwk, key.retiredMs ?? null, key.revoked ? 1 : 0];
}

export function readHead(row: Row): Head {
  const frontier = blob(row, "frontier");
  const hashes = Array.from({ length: frontier.length / 32 }, (_, i) => frontier.slice(i * 32, i * 32 + 32));
  return { epoch: text(row, "epoch"), revision: BigInt(int(row, "revision")), timeMs: int(row, "time_ms"), frontier: hashes };
}

export function readPrincipal(row: Row): StoredPrincipal {
  const kind = Object.values(PrincipalKind).find((value) => value === int(row, "kind")) ?? PrincipalKind.UNSPECIFIED;
  return { id: text(row, "id"), kind, name: optional(row, "name", text), nameCommitment: blob(row, "name_commitment") };
}

export function readPolicy(row: Row): StoredPolicy {
  return {
    audience: text(row, "audience"),
    version: BigInt(int(row, "version")),
    document: blob(row, "document"),
    descriptors: optional(row, "descriptors", blob),
    author: text(row, "author"),
    timeMs: int(row, "time_ms"),
    revision: BigInt(int(row, "revision")),
    shadow: int(row, "shadow") === 1,
  };
}

export function readProposal(row: Row): StoredProposal {
  return {
    id: text(row, "id"),
    audience: text(row, "audience"),
    document: blob(row, "document"),
    descriptors: optional(row, "descriptors", blob),
    comment: optional(row, "comment", blob),
    author: text(row, "author"),
    baseVersion: BigInt(int(row, "base_version")),
    quorum: int(row, "quorum"),
    approvers: text(row, "approvers")
      .split(" ")
      .filter((id) => id !== ""),
    shadow: int(row, "shadow") === 1,
    timeMs: int(row, "time_ms"),
    revision: BigInt(int(row, "revision")),
    version: BigInt(int(row, "version")),
  };
}

export function readKey(row: Row): StoredKey {
  const purpose = Object.values(KeyPurpose).find((value) => value === int(row, "purpose")) ?? KeyPurpose.UNSPECIFIED;
  const retiredMs = optional(row, "retired_ms", int);
  const [retired, revoked] = [retiredMs !== undefined, int(row, "revoked") === 1];
  return { kid: text(row, "kid"), purpose, publicJwk: text(row, "public_jwk"), retired, retiredMs, revoked };
}

export function text(row: Row, column: string): string {
  const value = row[column];
  return typeof value === "string" ? value : wrong(column);
}

export function int(row: Row, column: string): number {
  const value = row[column];
  return typeof value === "number" ? value : wrong(column);
}

export function blob(row: Row, column: string): Uint8Array {
  const value = row[column];
  return value instanceof Uint8Array ? value : wrong(column);
}

export function optional<T>(row: Row, column: string, read: (row: Row, column: string) => T): T | undefined {
  return row[column] === null ? undefined : read(row, column);
}

function wrong(column: string): never {
  throw new StoreError("corrupt", `the column ${column} has a value that does not belong there`);
}
