// Watches of elevations: the present state of what a caller may read, then every change of it, resumable without loss. What a caller may
// read is judged anew with each message. Never writes.
import type { Clock } from "@brevet/protocol";
import {
  type Elevation,
  type ElevationFilter,
  ElevationFilterSchema,
  ElevationSchema,
  type ElevationServiceWatchRequest,
  type ElevationServiceWatchResponse,
  ElevationServiceWatchResponseSchema,
} from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Caller, readerOf } from "../elevation/caller.ts";
import { isFinal } from "../elevation/evolve.ts";
import type { ReadableElevations } from "../elevation/readable.ts";
import type { AuthenticatedCaller } from "../identity/identity.ts";
import type { Log, Position } from "../log/log.ts";
import type { Change, ElevationQuery } from "../store/store.ts";
import { Mailbox } from "./mailbox.ts";
import { isResumable, positionMessage } from "./position.ts";
import { tooSlow } from "./refused.ts";
import { heartbeats, type Life, lifeOf } from "./stream.ts";
import type { WaitingCalls } from "./waiting.ts";

/** What waits for one watcher at most; then it is cut, and resumes. */
const MOST_WAITING = 10_000;
const PAGE = 1000;

/** What {@link ElevationWatches} stands on. */
export interface ElevationWatchesOptions {
  readonly log: Log;
  readonly readable: ReadableElevations;
  readonly waiting: WaitingCalls;
  readonly clock: Clock;
  readonly drain: AbortSignal;
}

type Changed = Change & Required<Pick<Change, "elevation">>;
type News =
  /** `settled`: nothing more happened to the elevation in the same commit. */
  { readonly change: Changed; readonly settled: boolean } | { readonly heartbeat: Position };

/** Serves all watches. */
export class ElevationWatches {
  readonly #options: ElevationWatchesOptions;

  constructor(options: ElevationWatchesOptions) {
    this.#options = options;
  }

  /** One watch, until the caller or the authority goes. Throws `Refused`. */
  async *watch(
    caller: AuthenticatedCaller,
    request: ElevationServiceWatchRequest,
    signal: AbortSignal,
  ): AsyncGenerator<ElevationServiceWatchResponse> {
    const { log, clock, drain } = this.#options;
    using mailbox = new Mailbox<News>(MOST_WAITING, tooSlow);
    using life: Life = lifeOf({ mailbox, signal, drain, clock, caller });
    // From here on nothing is missed: what the state has already is left out again.
    life.use(
      log.subscribe((changes) => {
        const about = changes.filter(hasElevation);
        const last = new Map(about.map((change) => [change.entry.elevation, change]));
        for (const change of about) mailbox.push({ change, settled: last.get(change.entry.elevation) === change });
      }),
    );
    const head = log.position();
    await this.#holdWaiting(caller, request.waitingFor, life);
    life.use(heartbeats(clock, () => mailbox.length === 0 && mailbox.push({ heartbeat: log.position() })));
    const resumed = request.after && (await isResumable(request.after, head, log.store)) ? request.after : undefined;
    const filter = request.filter ?? create(ElevationFilterSchema);
    const view = new Watched(this.#options.readable, caller, filter, resumed !== undefined);
    // Only what is complete may be resumed behind: nothing yet, or what the caller said.
    let position: Position = resumed ?? { epoch: head.epoch, revision: 0n };
    const message = (parts: { elevation?: Elevation; reset?: boolean; caughtUp?: boolean }) =>
      create(ElevationServiceWatchResponseSchema, { ...parts, position: positionMessage(position), time: timestampFromMs(clock.wallMs()) });
    if (request.after && !resumed) yield message({ reset: true });
    const ahead = new Map<string, bigint>();
    for await (const state of this.#present(caller, view.filter, resumed)) {
      if (state.revision > head.revision) ahead.set(state.id, state.revision);
      const elevation = await (resumed ? view.missed(state) : view.present(state));
      if (elevation) yield message({ elevation });
    }
    position = head;
    yield message({ caughtUp: true });
    for await (const news of mailbox) {
      if ("heartbeat" in news) {
        position = news.heartbeat;
        yield message({});
        continue;
      }
      const { state } = news.change.elevation;
      position = { epoch: news.change.head.epoch, revision: news.change.head.revision };
      if ((ahead.get(state.id) ?? 0n) >= state.revision) continue;
      const elevation = await view.changed(state, news.settled);
      if (elevation) yield message({ elevation });
    }
  }

  async *#present(
    caller: Caller & { audiences(): string[] },
    filter: ElevationFilter,
    after: { readonly revision: bigint } | undefined,
  ): AsyncGenerator<Elevation> {
    const { store } = this.#options.log;
    const { ids, audience, entitlement, states, mine } = filter;
    const own = mine ? await this.#ownIds(caller) : undefined;
    if (own?.length === 0) return;
    const query: ElevationQuery = {
      limit: PAGE,
      ...(ids.length > 0 ? { ids } : {}),
      ...(audience === "" ? {} : { audience }),
      ...(entitlement === "" ? {} : { entitlement }),
      ...(own?.length === 1 && own[0] !== undefined ? { requester: own[0] } : {}),
      ...(after ? { changedAfter: after.revision } : states.length > 0 ? { states } : {}),
    };
    for (let before: string | undefined; ; ) {
      const page = await store.elevations({ ...query, ...(before === undefined ? {} : { before }) });
      yield* page;
      if (page.length < PAGE) return;
      before = page.at(-1)?.id;
    }
  }

  /** The log's ids of the caller, over all audiences that know them. */
  async #ownIds(caller: Caller & { audiences(): string[] }): Promise<string[]> {
    const names = new Set(caller.audiences().flatMap((audience) => caller.principalFor(audience)?.name ?? []));
    const known = await Promise.all([...names].map((name) => this.#options.log.store.principalByName(name)));
    return known.flatMap((principal) => principal?.id ?? []);
  }

  /** Only the requester's own calls count as waiting. */
  async #holdWaiting(caller: Caller, ids: readonly string[], life: Life): Promise<void> {
    const { log, waiting } = this.#options;
    for (const id of new Set(ids)) {
      const state = await log.store.elevation(id);
      const reader = state && (await readerOf(log.store, caller.principalFor(state.audience)));
      if (state && reader && reader.id !== "" && reader.id === state.requester?.id) life.use(waiting.hold(id));
    }
  }
}

/** What one watcher sees. It is also told of the change by which an elevation leaves its filter, or its sight. */
class Watched {
  readonly filter: ElevationFilter;
  readonly #wide: ElevationFilter;
  readonly #readable: ReadableElevations;
  readonly #caller: Caller;
  /** Elevations that the watcher knows as open: only those change. */
  readonly #inside = new Set<string>();
  /** On a resumed watch, open elevations that the watcher was told are outside: of any other it may think that it is inside. */
  readonly #outside = new Set<string>();
  readonly #resumed: boolean;

  constructor(readable: ReadableElevations, caller: Caller, filter: ElevationFilter, resumed: boolean) {
    this.#readable = readable;
    this.#caller = caller;
    this.#resumed = resumed;
    this.filter = filter;
    this.#wide = { ...filter, states: [], decidable: false };
  }

  async present(state: Elevation): Promise<Elevation | undefined> {
    const shown = await this.#readable.show(this.#caller, state, this.filter);
    if (shown && !isFinal(state)) {
      this.#inside.add(state.id);
      this.#outside.delete(state.id);
    }
    return shown;
  }

  /** On a resumed watch nobody knows what the watcher saw inside its filter: what left it is told too. */
  async missed(state: Elevation): Promise<Elevation | undefined> {
    return (await this.present(state)) ?? this.#leaves(state);
  }

  /** What left is told when it is settled: a vote and what it decides are two entries, and the decision is what counts. */
  async changed(state: Elevation, settled: boolean): Promise<Elevation | undefined> {
    const shown = await this.present(state);
    if (shown) {
      if (isFinal(state)) this.#inside.delete(state.id);
      return shown;
    }
    if (!settled) return undefined;
    const { id, audience, revision } = state;
    if (this.#inside.delete(id))
      return (await this.#leaves(state)) ?? create(ElevationSchema, { id, audience, state: state.state, revision });
    const known = isFinal(state) ? this.#outside.delete(id) : this.#outside.has(id);
    return this.#resumed && !known ? this.#leaves(state) : undefined;
  }

  /** As the watcher sees it outside its filter; undefined where it may not, or was never meant. */
  async #leaves(state: Elevation): Promise<Elevation | undefined> {
    const shown = await this.#readable.show(this.#caller, state, this.#wide);
    if (shown && this.#resumed && !isFinal(state)) this.#outside.add(state.id);
    return shown;
  }
}

function hasElevation(change: Change): change is Changed {
  return change.elevation !== undefined;
}
