// Decisions that guards reported, for now in memory: a ring for each audience. What does not fit any more is counted, never hidden.
import type { Principal } from "@brevet/protocol/brevet/v1/elevation";
import type { DecisionBatch } from "@brevet/protocol/brevet/v1/guard";
import type { DecisionRecord } from "@brevet/protocol/brevet/v1/policy";

/** Records kept for one audience. */
export const DECISIONS_KEPT = 10_000;

interface Ring {
  readonly records: DecisionRecord[];
  /** Where the next one goes once the ring is full. */
  next: number;
  dropped: bigint;
}

/** The newest decisions of every audience. */
export class RecentDecisions {
  readonly #rings = new Map<string, Ring>();
  readonly #kept: number;

  constructor(kept: number = DECISIONS_KEPT) {
    this.#kept = kept;
  }

  /** Adds a guard's batch. Guard, instance and audience are those of its link, whatever the records say. */
  add(from: { readonly audience: string; readonly guard: Principal; readonly instance: string }, batch: DecisionBatch): void {
    const { audience, guard, instance } = from;
    let ring = this.#rings.get(audience);
    if (ring === undefined) this.#rings.set(audience, (ring = { records: [], next: 0, dropped: 0n }));
    ring.dropped += batch.dropped;
    for (const record of batch.decisions) {
      const kept = { ...record, audience, guard, instance };
      if (ring.records.length < this.#kept) {
        ring.records.push(kept);
        continue;
      }
      ring.records[ring.next] = kept;
      ring.next = (ring.next + 1) % this.#kept;
      ring.dropped += 1n;
    }
  }

  /** Oldest first. */
  list(audience: string): DecisionRecord[] {
    const ring = this.#rings.get(audience);
    return ring ? [...ring.records.slice(ring.next), ...ring.records.slice(0, ring.next)] : [];
  }

  /** Records of an audience that were made but are not kept: dropped by guards, or pushed out here. */
  dropped(audience: string): bigint {
    return this.#rings.get(audience)?.dropped ?? 0n;
  }
}
