// When a guard tells the authority what it enforces: once per turn of the loop, however many entries came in it; and where a state is kept
// on disk, once a restart cannot undo what is acknowledged. Never decides what is enforced.
import type { TimeEstimate } from "@brevet/protocol";
import { LogPositionSchema } from "@brevet/protocol/brevet/v1/elevation";
import { type GuardAcknowledgement, GuardAcknowledgementSchema } from "@brevet/protocol/brevet/v1/guard";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Knowledge } from "../core/knowledge.ts";

/** What acknowledgements are made of. */
export interface AcknowledgerOptions {
  /** What is decided by, while it is what the stream is about. */
  readonly enforced: () => Knowledge | undefined;
  readonly now: () => TimeEstimate | undefined;
  readonly wallMs: () => number;
  /** Whether what was taken in up to now outlives a restart. */
  readonly saved: () => Promise<boolean>;
  readonly send: (acknowledgement: GuardAcknowledgement) => void;
}

/** A clock that is less certain than this is not spoken of. */
const TOLD_ERROR_MS = 1000;

/** Acknowledges on one stream after the other. */
export class Acknowledger {
  readonly #options: AcknowledgerOptions;
  #sent = "";
  #queued = false;
  #stream = 0;

  constructor(options: AcknowledgerOptions) {
    this.#options = options;
  }

  /** Another stream: all is said again. */
  restart(): void {
    this.#sent = "";
    this.#stream += 1;
  }

  /** Says what is new, soon. */
  soon(): void {
    const known = this.#options.enforced();
    if (this.#queued || known === undefined || this.#stampOf(known) === this.#sent) return;
    this.#queued = true;
    setImmediate(() => void this.#acknowledge());
  }

  async #acknowledge(): Promise<void> {
    const { enforced, saved, send } = this.#options;
    const stream = this.#stream;
    const known = enforced();
    const stamp = known && this.#stampOf(known);
    const acknowledgement = known && this.#of(known);
    const safe = await saved();
    this.#queued = false;
    if (!safe) return;
    if (stamp !== undefined && acknowledgement !== undefined && stream === this.#stream) {
      this.#sent = stamp;
      send(acknowledgement);
    }
    // What came while it was written.
    this.soon();
  }

  /** The time that was carried over a restart may be hours off: what is told of the clock waits for the first sample. */
  get #time(): TimeEstimate | undefined {
    const now = this.#options.now();
    return now !== undefined && now.errorMs <= TOLD_ERROR_MS ? now : undefined;
  }

  #of({ epoch, revision, policy }: Knowledge): GuardAcknowledgement {
    const time = this.#time;
    return create(GuardAcknowledgementSchema, {
      position: create(LogPositionSchema, { epoch, revision }),
      policyVersion: policy?.version ?? 0n,
      ...(time && {
        clockOffset: durationFromMs(Math.round(time.authorityMs - this.#options.wallMs())),
        clockError: durationFromMs(Math.ceil(time.errorMs)),
      }),
    });
  }

  #stampOf({ epoch, revision, policy }: Knowledge): string {
    return `${epoch}/${revision}/${policy?.version}/${this.#time !== undefined}`;
  }
}
