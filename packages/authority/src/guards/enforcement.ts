// How far guards are with what the log says: who acknowledged a position, and until when the others can still permit. A guard that did not
// acknowledge stays in the count. Never assumes that silence is consent.
import type { Clock } from "@brevet/protocol";
import { sleep } from "@brevet/protocol";
import { type Enforcement, EnforcementSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { GuardRegistry } from "./registry.ts";

/** Decides when a call comes, and has no hand on it afterwards. */
const UNCUTTABLE_FORM = "ext-authz";
const LOOK_MS = 5;
/** A wait is answered with what is known by then. */
const LONGEST_WAIT_MS = 60_000;

/** Waits for guards. */
export class Enforcements {
  readonly #registry: GuardRegistry;
  readonly #clock: Clock;

  constructor(options: { readonly registry: GuardRegistry; readonly clock: Clock }) {
    this.#registry = options.registry;
    this.#clock = options.clock;
  }

  /** Each guard of the audiences, once all enforce the position or can no longer permit, or after a minute. */
  async wait(
    audiences: ReadonlySet<string>,
    position: { readonly epoch: string; readonly revision: bigint },
    signal: AbortSignal,
  ): Promise<Enforcement[]> {
    const startMs = this.#clock.monotonicMs();
    for (;;) {
      const enforcement = this.#now(audiences, position);
      const nowMs = this.#clock.wallMs();
      const open = enforcement.some(
        ({ enforced, boundedUntil }) => !enforced && (boundedUntil === undefined || timestampMs(boundedUntil) > nowMs),
      );
      if (!open || this.#clock.monotonicMs() - startMs > LONGEST_WAIT_MS) return enforcement;
      await sleep(this.#clock, LOOK_MS, signal);
    }
  }

  #now(audiences: ReadonlySet<string>, position: { readonly epoch: string; readonly revision: bigint }): Enforcement[] {
    return this.#registry.list(audiences).map((status) => {
      const { guard, instance, audience, form, acknowledgement } = status;
      const at = acknowledgement?.position;
      const enforced = at !== undefined && at.epoch === position.epoch && at.revision >= position.revision;
      const each = create(EnforcementSchema, { instance, audience, form, enforced, streamsMayGoOn: form === UNCUTTABLE_FORM });
      if (guard) each.guard = guard;
      if (!enforced) each.boundedUntil = timestampFromMs(this.#registry.boundedUntilMs(status));
      return each;
    });
  }
}
