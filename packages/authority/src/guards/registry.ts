// The guards that are or lately were connected, and what each acknowledged. In memory: guards say it again when they come back.
// Never decides who may be a guard.
import type { Clock } from "@brevet/protocol";
import type { Principal } from "@brevet/protocol/brevet/v1/elevation";
import {
  type DecisionBatch,
  type GuardAcknowledgement,
  type GuardHello,
  type GuardStatus,
  GuardStatusSchema,
} from "@brevet/protocol/brevet/v1/guard";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

/** Guards that went away are listed this long, and no more of them than this. */
const REMEMBERED_MS = 24 * 3_600_000;
const MOST_REMEMBERED = 1000;

/** One guard's connection, until disposed. */
export interface GuardConnection extends Disposable {
  acknowledged(acknowledgement: GuardAcknowledgement): void;
  /** Counts a batch; false for one that came before. */
  decided(batch: DecisionBatch): boolean;
  /** Something came from it. */
  seen(): void;
}

interface Known {
  readonly status: GuardStatus;
  connected: boolean;
  /** Of the last batch of decisions. */
  sequence: bigint;
}

/** All guards. */
export class GuardRegistry {
  readonly #clock: Clock;
  readonly #guards = new Map<string, Known>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A guard came. One process of a guard has one connection: the newest counts. */
  connect(guard: Principal, hello: GuardHello): GuardConnection {
    const key = JSON.stringify([hello.audience, guard.name, hello.instance]);
    const status = create(GuardStatusSchema, {
      guard,
      instance: hello.instance,
      audience: hello.audience,
      form: hello.form,
      software: hello.software,
      connected: true,
      lastSeen: timestampFromMs(this.#clock.wallMs()),
    });
    const before = this.#guards.get(key);
    if (before?.status.acknowledgement && hello.after) status.acknowledgement = before.status.acknowledgement;
    const known: Known = { status, connected: true, sequence: before?.sequence ?? 0n };
    this.#guards.delete(key);
    this.#guards.set(key, known);
    this.#forget();
    const seen = () => {
      status.lastSeen = timestampFromMs(this.#clock.wallMs());
    };
    return {
      seen,
      acknowledged: (acknowledgement) => {
        status.acknowledgement = acknowledgement;
      },
      decided: ({ decisions, sequence }) => {
        if (sequence <= known.sequence) return false;
        known.sequence = sequence;
        for (const { permitted, count } of decisions) {
          if (permitted) status.permitted += count;
          else status.denied += count;
        }
        return true;
      },
      [Symbol.dispose]: () => {
        if (this.#guards.get(key) !== known) return;
        known.connected = false;
        status.connected = false;
        seen();
      },
    };
  }

  /** By audience, then principal. */
  list(audiences: ReadonlySet<string>): GuardStatus[] {
    this.#forget();
    return [...this.#guards.values()]
      .map(({ status }) => status)
      .filter(({ audience }) => audiences.has(audience))
      .toSorted(
        (a, b) => order(a.audience, b.audience) || order(a.guard?.name ?? "", b.guard?.name ?? "") || order(a.instance, b.instance),
      );
  }

  #forget(): void {
    const oldest = this.#clock.wallMs() - REMEMBERED_MS;
    for (const [key, { status, connected }] of this.#guards) {
      if (connected) continue;
      const lastSeen = status.lastSeen ? timestampMs(status.lastSeen) : 0;
      if (lastSeen < oldest || this.#guards.size > MOST_REMEMBERED) this.#guards.delete(key);
    }
  }
}

function order(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
