// Changes made up for tests of stores: each right behind the head, with what the test asks for. Bytes and hashes are real; the rules
// that would lead to such changes are not looked at, because a store does not know them.

import { createHash, createHmac } from "node:crypto";
import type { Change, Head, Store, StoredPrincipal, Transaction } from "@brevet/authority/store";
import { type Elevation, ElevationSchema, ElevationState, PrincipalKind } from "@brevet/protocol/brevet/v1/elevation";
import { HoldTakenSchema, LogEntrySchema, OpeningSchema } from "@brevet/protocol/brevet/v1/log";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

/** What a test wants of a change; the rest is filled in. */
export interface Wanted extends Pick<Change, "principal" | "policy" | "proposal" | "key" | "erased"> {
  readonly audience?: string;
  readonly actor?: string;
  readonly requestId?: string;
  readonly elevation?: MessageInitShape<typeof ElevationSchema> & { readonly id: string };
  readonly dueMs?: number;
  readonly values?: readonly string[];
}

/** Appends within a transaction and answers with the change. */
export async function put(transaction: Transaction, wanted: Wanted = {}): Promise<Change> {
  const change = changeBehind(await transaction.head(), transaction.nowMs, wanted);
  transaction.put(change);
  return change;
}

/** Appends one change in a command of its own. */
export function append(store: Store, wanted: Wanted = {}, options?: { readonly urgent?: boolean }): Promise<Change> {
  return store.write((transaction) => put(transaction, wanted), options);
}

export function changeBehind(head: Head, nowMs: number, wanted: Wanted): Change {
  const { audience = "", actor = "", requestId = "", elevation, dueMs, values = [], ...projections } = wanted;
  const revision = head.revision + 1n;
  const epoch = head.epoch === "" ? "epo_TEST" : head.epoch;
  const openings = values.map((value, place) => {
    const salt = sha256(`salt ${revision} ${place}`);
    return { salt, value: new TextEncoder().encode(value) };
  });
  const entry = create(LogEntrySchema, {
    epoch,
    revision,
    time: timestampFromMs(nowMs),
    actor,
    requestId,
    elevation: elevation?.id ?? "",
    audience: elevation?.audience ?? audience,
    event: { case: "holdTaken", value: create(HoldTakenSchema) },
  });
  const leaf = toBinary(LogEntrySchema, entry);
  const leafHash = sha256(Buffer.concat([Buffer.of(0), leaf]));
  return {
    ...projections,
    entry,
    leaf,
    leafHash,
    openings: openings.map((opening) => create(OpeningSchema, opening)),
    commitments: openings.map(({ salt, value }) => new Uint8Array(createHmac("sha256", salt).update(value).digest())),
    // The store keeps hashes without knowing what of.
    head: { epoch, revision, timeMs: nowMs, frontier: [leafHash, sha256(leafHash)] },
    ...(elevation && { elevation: { state: elevationOf(elevation, revision), dueMs } }),
  };
}

function elevationOf(wanted: MessageInitShape<typeof ElevationSchema>, revision: bigint): Elevation {
  return create(ElevationSchema, { state: ElevationState.PENDING, ...wanted, revision });
}

export function principal(id: string, name: string, nameCommitment: Uint8Array = sha256(name)): StoredPrincipal {
  return { id, kind: PrincipalKind.USER, name, nameCommitment };
}

export function sha256(data: string | Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(data).digest());
}
