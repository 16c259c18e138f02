// Elevations, read: one, a page, or each change of a watch, as far as the caller may see them. Never writes; a window whose end has
// passed is shown as the log has it, and judged by its `window_end`.
import type { Elevation, ElevationFilter, ElevationServiceListRequest } from "@brevet/protocol/brevet/v1/elevation";
import type { ElevationQuery, View } from "../store/store.ts";
import { type Answer, type Caller, notFound, readerOf } from "./caller.ts";
import type { CurrentPolicies } from "./policies.ts";
import { invalid } from "./refusal.ts";
import { mayDecide, mayRead, reveal } from "./reveal.ts";

/** A page, newest first. */
export interface ElevationPage {
  readonly elevations: readonly Elevation[];
  /** "" on the last page. */
  readonly nextPageToken: string;
}

/** As many as there are, one of each. */
export const MOST_STATES = 9;
const PAGE = 100;
const LARGEST_PAGE = 1000;
const LARGEST_FETCH = 10_000;

/** Reads for callers. */
export class ReadableElevations {
  readonly #view: View;
  readonly #policies: CurrentPolicies;

  constructor(options: { readonly view: View; readonly policies: CurrentPolicies }) {
    this.#view = options.view;
    this.#policies = options.policies;
  }

  /** One elevation, as it is now. */
  async get(caller: Caller, id: string): Promise<Answer<Elevation>> {
    const state = id.startsWith("elv_") ? await this.#view.elevation(id) : undefined;
    const shown = state && (await this.show(caller, state, undefined, "whole"));
    return shown ? { ok: true, value: shown } : notFound(id);
  }

  /** A page of what matches and the caller may read. */
  async list(caller: Caller, message: ElevationServiceListRequest): Promise<Answer<ElevationPage>> {
    const { filter, pageToken, pageSize } = message;
    if (pageSize < 0) return invalid("page_size", "must not be negative");
    if (filter && filter.ids.length > 100) return invalid("filter.ids", "must be at most 100");
    if (filter && filter.states.length > MOST_STATES) return invalid("filter.states", `must be at most ${MOST_STATES}`);
    if (pageToken !== "" && !pageToken.startsWith("elv_")) return invalid("page_token", "must be from the answer before");
    const size = Math.min(pageSize || PAGE, LARGEST_PAGE);
    const query = await this.#query(filter);
    if (query === undefined) return { ok: true, value: { elevations: [], nextPageToken: "" } };
    const elevations: Elevation[] = [];
    let before = pageToken;
    // Bounded: what others may not see must not make a page cost without limit.
    for (let fetched = 0; fetched < LARGEST_FETCH; ) {
      const limit = Math.min(LARGEST_PAGE, Math.max(PAGE, size));
      const states = await this.#view.elevations({ ...query, limit, ...(before === "" ? {} : { before }) });
      for (const state of states) {
        before = state.id;
        const shown = await this.show(caller, state, filter);
        if (shown) elevations.push(shown);
        if (elevations.length === size) return { ok: true, value: { elevations, nextPageToken: before } };
      }
      fetched += states.length;
      if (states.length < limit) return { ok: true, value: { elevations, nextPageToken: "" } };
    }
    return { ok: true, value: { elevations, nextPageToken: before } };
  }

  /** An elevation as this caller sees it; undefined where the caller may not read it, or the filter is about others. For watches. */
  async show(
    caller: Caller,
    state: Elevation,
    filter?: ElevationFilter,
    detail: "whole" | "listed" = "listed",
  ): Promise<Elevation | undefined> {
    if (filter && !concerns(filter, state)) return undefined;
    const reader = await readerOf(this.#view, caller.principalFor(state.audience));
    const policy = this.#policies.current(state.audience)?.policy;
    if (!reader || !mayRead(state, reader, policy)) return undefined;
    if (filter?.mine && state.requester?.id !== reader.id) return undefined;
    if (filter?.decidable && !mayDecide(state, reader, policy)) return undefined;
    const shown = await reveal(state, reader, policy, this.#view, detail);
    return filter && filter.principal !== "" && shown.requester?.name !== filter.principal ? undefined : shown;
  }

  async #query(filter: ElevationFilter | undefined): Promise<ElevationQuery | undefined> {
    if (!filter) return {};
    const { ids, audience, states, entitlement, principal } = filter;
    const requester = principal === "" ? undefined : (await this.#view.principalByName(principal))?.id;
    if (principal !== "" && requester === undefined) return undefined;
    return {
      ...(ids.length > 0 ? { ids } : {}),
      ...(audience === "" ? {} : { audience }),
      ...(states.length > 0 ? { states } : {}),
      ...(entitlement === "" ? {} : { entitlement }),
      ...(requester === undefined ? {} : { requester }),
    };
  }
}

function concerns({ ids, audience, states, entitlement }: ElevationFilter, state: Elevation): boolean {
  return (
    (ids.length === 0 || ids.includes(state.id)) &&
    (audience === "" || audience === state.audience) &&
    (states.length === 0 || states.includes(state.state)) &&
    (entitlement === "" || entitlement === state.entitlement)
  );
}
