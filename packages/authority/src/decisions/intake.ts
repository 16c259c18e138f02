// Batches on their way into the store: one after another for each guard, apart from everything else that its stream carries.
// Never fails a guard: what cannot be kept is counted as dropped, and said in the log.
import type { DecisionBatch } from "@brevet/protocol/brevet/v1/guard";
import { DecisionBatchSchema } from "@brevet/protocol/brevet/v1/guard";
import { clone } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import type { BatchSource, DecisionStore } from "./decisions.ts";

/** Decisions that could not be kept, by audience: told to the store with the next batch that it takes. */
export class DecisionIntake {
  readonly #store: DecisionStore;
  readonly #logger: Logger;
  readonly #lost = new Map<string, bigint>();

  constructor(store: DecisionStore, logger: Logger) {
    this.#store = store;
    this.#logger = logger;
  }

  /** Resolves with whether the batch is new, when it is kept or given up. Never rejects. */
  async take(from: BatchSource, batch: DecisionBatch): Promise<boolean> {
    const { audience, guard, instance } = from;
    const lost = this.#lost.get(audience) ?? 0n;
    this.#lost.delete(audience);
    const told = lost === 0n ? batch : { ...clone(DecisionBatchSchema, batch), dropped: batch.dropped + lost };
    try {
      return await this.#store.add(from, told);
    } catch (error) {
      const many = told.dropped + batch.decisions.reduce((sum, { count }) => sum + count, 0n);
      this.#lost.set(audience, (this.#lost.get(audience) ?? 0n) + many);
      this.#logger.error({ err: error, audience, guard: guard.name, instance, dropped: `${many}` }, "decisions could not be kept");
      return true;
    }
  }
}
