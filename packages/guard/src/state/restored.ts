// Reads back what a guard kept: the newest of the files in its folder, or nothing where any of them is not whole and its own.
// Never applies what it read.
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { type GuardServiceSyncResponse, GuardServiceSyncResponseSchema } from "@brevet/protocol/brevet/v1/guard";
import { fromBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { StateFolder } from "./folder.ts";
import { decodeState, RecordKind } from "./format.ts";
import type { ClockMark } from "./mark.ts";

/** A file is not written longer than this, and one that is longer is not read. */
export const MAX_FILE_BYTES = 128 * 1024 * 1024;

/** Whose state it is. */
export interface StateOwner {
  readonly audience: string;
  /** The authority's address. */
  readonly authority: string;
}

/** What was kept, in the order in which it is applied. */
export interface RestoredState {
  readonly messages: readonly GuardServiceSyncResponse[];
  readonly mark: ClockMark;
  /** Verifier key of the log's checkpoints; empty: none was known. */
  readonly pin: string;
}

/** The newest state in the folder; why there is none that may be used; undefined: none was kept. @throws where files cannot be read. */
export function readState(folder: StateFolder, owner: StateOwner): RestoredState | string | undefined {
  let newest: RestoredState | undefined;
  for (const file of folder.files()) {
    const state = readOne(file, folder.key, owner);
    // What the damaged one said last nobody knows, and an older one may lack it.
    if (typeof state === "string") return `${basename(file)}: ${state}`;
    if (newest === undefined || isNewer(state, newest)) newest = state;
  }
  return newest;
}

function readOne(file: string, key: Uint8Array, owner: StateOwner): RestoredState | string {
  if (statSync(file).size > MAX_FILE_BYTES) return "it is longer than a state may be";
  const records = decodeState(readFileSync(file), key);
  if (typeof records === "string") return records;
  const messages: GuardServiceSyncResponse[] = [];
  let [about, mark, pin]: [StateOwner | undefined, ClockMark | undefined, string] = [undefined, undefined, ""];
  try {
    for (const { kind, payload } of records) {
      if (kind === RecordKind.message) messages.push(fromBinary(GuardServiceSyncResponseSchema, payload));
      else if (kind === RecordKind.about) about = ownerOf(json(payload));
      else if (kind === RecordKind.clock) mark = markOf(json(payload));
      else pin = Buffer.from(payload).toString();
    }
  } catch {
    return "its records cannot be read";
  }
  if (about?.audience !== owner.audience)
    return `it is of the audience ${about?.audience ?? "of nobody"}, and this guard is of ${owner.audience}`;
  if (about.authority !== owner.authority) return `it is of the authority ${about.authority}, and this guard's is ${owner.authority}`;
  if (mark === undefined || !messages.some(({ message }) => message.case === "caughtUp")) return "it is not complete";
  return { messages, mark, pin };
}

/** In one epoch the later position; otherwise, and of the same, what was heard later. */
function isNewer(state: RestoredState, than: RestoredState): boolean {
  const [one, other] = [lastOf(state), lastOf(than)];
  if (one.epoch === other.epoch && one.revision !== other.revision) return one.revision > other.revision;
  return one.heardMs > other.heardMs;
}

function lastOf({ messages }: RestoredState): { epoch: string; revision: bigint; heardMs: number } {
  const last = messages.at(-1);
  const heard = messages.findLast(({ time }) => time !== undefined)?.time;
  return { epoch: last?.position?.epoch ?? "", revision: last?.position?.revision ?? 0n, heardMs: heard ? timestampMs(heard) : 0 };
}

function json(payload: Uint8Array): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(Buffer.from(payload).toString());
  if (!isObject(value)) throw new TypeError("no object");
  return value;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function ownerOf({ audience, authority }: Readonly<Record<string, unknown>>): StateOwner {
  if (typeof audience !== "string" || typeof authority !== "string") throw new TypeError("nobody's");
  return { audience, authority };
}

function markOf({ boot, bootMs, wallMs, authorityMs, errorMs }: Readonly<Record<string, unknown>>): ClockMark {
  const number = (value: unknown): number => {
    if (typeof value !== "number" || !Number.isFinite(value)) throw new TypeError("no time");
    return value;
  };
  if (typeof boot !== "string") throw new TypeError("no boot");
  return { boot, bootMs: number(bootMs), wallMs: number(wallMs), authorityMs: number(authorityMs), errorMs: number(errorMs) };
}
