// The guards that are or lately were connected, and what each acknowledged. Who they are is kept over a restart: a guard that is not back yet
// can still permit. What they acknowledged is not: they say it again. Never decides who may be a guard.
import type { Clock } from "@brevet/protocol";
import type { Principal } from "@brevet/protocol/brevet/v1/elevation";
import {
  type DecisionBatch,
  type GuardAcknowledgement,
  type GuardHello,
  type GuardStatus,
  GuardStatusSchema,
} from "@brevet/protocol/brevet/v1/guard";
import { create, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { CurrentPolicies } from "../elevation/policies.ts";
import type { Store } from "../store/store.ts";

/** Guards that went away are listed at least this long. */
const REMEMBERED_MS = 24 * 3_600_000;
/** Processes of one guard that went away and can still permit. */
const MOST_REMEMBERED = 1000;
const SECRET = "guards";

/** What {@link GuardRegistry} stands on. */
export interface GuardRegistryOptions {
  readonly clock: Clock;
  /** Say how long a guard goes on with what it knows. */
  readonly policies: CurrentPolicies;
  readonly secrets: Store["secrets"];
}

/** One guard's connection, until disposed. */
export interface GuardConnection extends Disposable {
  acknowledged(acknowledgement: GuardAcknowledgement): void;
  /** Counts a batch that did not come before. */
  decided(batch: DecisionBatch): void;
  /** Something came from it. */
  seen(): void;
}

interface Known {
  readonly status: GuardStatus;
  connected: boolean;
}

/** All guards. */
export class GuardRegistry {
  readonly #options: GuardRegistryOptions;
  readonly #guards = new Map<string, Known>();
  #saving: Promise<void> = Promise.resolve();
  #nextSave: Promise<void> | undefined;

  private constructor(options: GuardRegistryOptions) {
    this.#options = options;
  }

  /** Opens it with the guards that were there before. Of those that were connected then, nobody knows for how long: until now, at most. */
  static async open(options: GuardRegistryOptions): Promise<GuardRegistry> {
    const registry = new GuardRegistry(options);
    const kept = await options.secrets.get(SECRET);
    if (kept === undefined) return registry;
    const now = timestampFromMs(options.clock.wallMs());
    for (const json of JSON.parse(Buffer.from(kept).toString()) as JsonValue[]) {
      const status = fromJson(GuardStatusSchema, json);
      if (status.connected || status.lastSeen === undefined) status.lastSeen = now;
      status.connected = false;
      registry.#guards.set(keyOf(status), { status, connected: false });
    }
    await registry.save();
    return registry;
  }

  /**
   * A guard came. One process of a guard has one connection: the newest counts. Undefined where too many processes of this guard went
   * away that can still permit. Await {@link save} before it is sent anything.
   */
  connect(guard: Principal, hello: GuardHello): GuardConnection | undefined {
    const { clock } = this.#options;
    const key = keyOf({ audience: hello.audience, guard, instance: hello.instance });
    this.#forget();
    if (!this.#guards.has(key) && this.#gone(hello.audience, guard.name) >= MOST_REMEMBERED) return undefined;
    const status = create(GuardStatusSchema, {
      guard,
      instance: hello.instance,
      audience: hello.audience,
      form: hello.form,
      software: hello.software,
      connected: true,
      lastSeen: timestampFromMs(clock.wallMs()),
    });
    const before = this.#guards.get(key);
    if (before?.status.acknowledgement && hello.after) status.acknowledgement = before.status.acknowledgement;
    const known: Known = { status, connected: true };
    this.#guards.delete(key);
    this.#guards.set(key, known);
    const seen = () => {
      status.lastSeen = timestampFromMs(clock.wallMs());
    };
    return {
      seen,
      acknowledged: (acknowledgement) => {
        status.acknowledgement = acknowledgement;
      },
      decided: ({ decisions }) => {
        for (const { permitted, count } of decisions) {
          if (permitted) status.permitted += count;
          else status.denied += count;
        }
      },
      [Symbol.dispose]: () => {
        if (this.#guards.get(key) !== known) return;
        known.connected = false;
        status.connected = false;
        seen();
        // Where this fails, a restart takes it for one that was connected until then.
        this.save().catch(() => {});
      },
    };
  }

  /** Resolves when the guards of now survive a restart. Throws as the store does. */
  save(): Promise<void> {
    this.#nextSave ??= this.#saving.then(() => {
      this.#nextSave = undefined;
      const kept = [...this.#guards.values()].map(({ status: { guard, instance, audience, form, software, connected, lastSeen } }) => {
        const parts = { instance, audience, form, software, connected, ...(guard ? { guard } : {}), ...(lastSeen ? { lastSeen } : {}) };
        return toJson(GuardStatusSchema, create(GuardStatusSchema, parts));
      });
      const saved = this.#options.secrets.set(SECRET, Buffer.from(JSON.stringify(kept)));
      this.#saving = saved.catch(() => {});
      return saved;
    });
    return this.#nextSave;
  }

  /** Until when a guard can permit with what it knows, milliseconds since 1970: one that is connected, if it lost its connection now. */
  boundedUntilMs({ audience, connected, lastSeen }: GuardStatus): number {
    const nowMs = this.#options.clock.wallMs();
    const whenStale = this.#options.policies.current(audience)?.policy.whenStale;
    const limitMs = whenStale === undefined ? REMEMBERED_MS : whenStale.then === "known" ? whenStale.atMostMs : whenStale.afterMs;
    return (connected || lastSeen === undefined ? nowMs : timestampMs(lastSeen)) + limitMs;
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
    const nowMs = this.#options.clock.wallMs();
    for (const [key, { status, connected }] of this.#guards) {
      if (connected || this.boundedUntilMs(status) > nowMs) continue;
      const lastSeen = status.lastSeen ? timestampMs(status.lastSeen) : 0;
      if (lastSeen < nowMs - REMEMBERED_MS || this.#gone(status.audience, status.guard?.name ?? "") >= MOST_REMEMBERED)
        this.#guards.delete(key);
    }
  }

  #gone(audience: string, guard: string): number {
    let gone = 0;
    for (const { status, connected } of this.#guards.values())
      if (!connected && status.audience === audience && status.guard?.name === guard) gone += 1;
    return gone;
  }
}

function keyOf({ audience, guard, instance }: Pick<GuardStatus, "audience" | "guard" | "instance">): string {
  return JSON.stringify([audience, guard?.name ?? "", instance]);
}

function order(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
