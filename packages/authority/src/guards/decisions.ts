// Decisions that guards reported, for now in memory: a ring for each audience, bounded in number and in bytes. What does not fit any more
// is counted, never hidden; what is too long is cut. Which batches came before is remembered with them, in memory too: what a guard sends
// again behind a restart is news to an authority that kept none. Whoever keeps decisions keeps the batches' numbers in the same write.
import type { Principal } from "@brevet/protocol/brevet/v1/elevation";
import type { DecisionBatch } from "@brevet/protocol/brevet/v1/guard";
import { type DecisionRecord, DecisionRecordSchema } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";

/** Records kept for one audience, and their bytes. */
export const DECISIONS_KEPT = 10_000;
const BYTES_KEPT = 16 * 1024 * 1024;

/** Of one record: beyond what a guard of ours sends (a trailer block is 4 KiB at most). */
const MOST_TEXT = 256;
const MOST_STATUS_BYTES = 4096;
const MOST_HEADERS = 64;
/** What a record takes beside its texts. */
const RECORD_BYTES = 512;

interface Kept {
  readonly record: DecisionRecord;
  readonly bytes: number;
}

interface Ring {
  /** From `first` on, oldest first; emptied before it. */
  kept: (Kept | undefined)[];
  first: number;
  bytes: number;
  dropped: bigint;
}

/** The newest decisions of every audience. */
export class RecentDecisions {
  readonly #rings = new Map<string, Ring>();
  readonly #most: { readonly kept: number; readonly bytes: number };

  constructor(most: { readonly kept?: number; readonly bytes?: number } = {}) {
    this.#most = { kept: most.kept ?? DECISIONS_KEPT, bytes: most.bytes ?? BYTES_KEPT };
  }

  /** Adds a guard's batch. Guard, instance and audience are those of its link, whatever the records say. */
  add(from: { readonly audience: string; readonly guard: Principal; readonly instance: string }, batch: DecisionBatch): void {
    const { audience } = from;
    let ring = this.#rings.get(audience);
    if (ring === undefined) this.#rings.set(audience, (ring = { kept: [], first: 0, bytes: 0, dropped: 0n }));
    ring.dropped += batch.dropped;
    for (const decision of batch.decisions) {
      const record = cut(decision, from);
      const bytes = bytesOf(record);
      ring.kept.push({ record, bytes });
      ring.bytes += bytes;
      while (ring.kept.length - ring.first > this.#most.kept || ring.bytes > this.#most.bytes) forgetOldest(ring);
    }
  }

  /** Oldest first. */
  list(audience: string): DecisionRecord[] {
    const ring = this.#rings.get(audience);
    return ring ? ring.kept.flatMap((kept) => kept?.record ?? []) : [];
  }

  /** Records of an audience that were made but are not kept: dropped by guards, or pushed out here. */
  dropped(audience: string): bigint {
    return this.#rings.get(audience)?.dropped ?? 0n;
  }
}

function forgetOldest(ring: Ring): void {
  ring.bytes -= ring.kept[ring.first]?.bytes ?? 0;
  ring.kept[ring.first] = undefined;
  ring.dropped += 1n;
  ring.first += 1;
  // Dropped in runs: taking one by one from the front costs with the length.
  if (ring.first * 2 <= ring.kept.length) return;
  ring.kept = ring.kept.slice(ring.first);
  ring.first = 0;
}

/** What is kept of a record: copies, since a slice would hold on to the whole message that it came in. */
function cut(
  record: DecisionRecord,
  { audience, guard, instance }: { audience: string; guard: Principal; instance: string },
): DecisionRecord {
  const { permitted, reason, policyVersion, count, callStatus, observed, time, lastTime, status } = record;
  return create(DecisionRecordSchema, {
    audience,
    guard,
    instance,
    decisionId: text(record.decisionId),
    method: text(record.method),
    principal: text(record.principal),
    elevation: text(record.elevation),
    traceId: text(record.traceId),
    headersSeen: record.headersSeen.slice(0, MOST_HEADERS).map(text),
    // Half a status cannot be read.
    status: status.length > MOST_STATUS_BYTES ? new Uint8Array() : status.slice(),
    permitted,
    reason,
    policyVersion,
    count,
    callStatus,
    observed,
    ...(time ? { time } : {}),
    ...(lastTime ? { lastTime } : {}),
  });
}

function text(value: string): string {
  return Buffer.from(value.slice(0, MOST_TEXT)).toString();
}

function bytesOf({ decisionId, method, principal, elevation, traceId, headersSeen, status }: DecisionRecord): number {
  const texts = [decisionId, method, principal, elevation, traceId, ...headersSeen];
  // Two bytes each at most, and the header of a string.
  return RECORD_BYTES + status.length + texts.reduce((sum, each) => sum + 2 * each.length + 16, 0);
}
