// ElevationService on the wire: translates and nothing else.
import type { ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { ReadableDecisions } from "../decisions/readable.ts";
import type { Elevations } from "../elevation/elevations.ts";
import { MOST_STATES, type ReadableElevations } from "../elevation/readable.ts";
import type { Enforcements } from "../guards/enforcement.ts";
import type { ElevationWatches } from "../watch/elevations.ts";
import { positionMessage } from "../watch/position.ts";
import type { WaitingCalls } from "../watch/waiting.ts";
import { callerOf } from "./authentication.ts";
import { invalidField, valueOf } from "./status.ts";

/** What the service stands on. */
export interface ElevationRpcOptions {
  readonly elevations: Elevations;
  readonly readable: ReadableElevations;
  readonly watches: ElevationWatches;
  readonly waiting: WaitingCalls;
  readonly enforcements: Enforcements;
  readonly decisions: ReadableDecisions;
}

/** The service. */
export function elevationRpc(options: ElevationRpcOptions): ServiceImpl<typeof ElevationService> {
  const { elevations, readable, watches, waiting, enforcements, decisions } = options;
  return {
    async request(request, context) {
      const caller = callerOf(context);
      const { elevation, existing, position } = valueOf(await elevations.request(caller, request));
      // What led here; that it could not be kept is no reason to refuse.
      if (request.report && !request.validateOnly) await decisions.report(caller, [request.report]).catch(() => {});
      if (request.waiting && !request.validateOnly) waiting.expect(elevation.id);
      return { elevation, existing, position: positionMessage(position) };
    },
    async report({ reports }, context) {
      valueOf(await decisions.report(callerOf(context), reports));
      return {};
    },
    async get(request, context) {
      return { elevation: valueOf(await readable.get(callerOf(context), request.id)) };
    },
    async list(request, context) {
      const { elevations: page, nextPageToken } = valueOf(await readable.list(callerOf(context), request));
      return { elevations: [...page], nextPageToken };
    },
    watch(request, context) {
      if ((request.filter?.ids.length ?? 0) > 100) throw invalidField("filter.ids", "must be at most 100");
      if ((request.filter?.states.length ?? 0) > MOST_STATES) throw invalidField("filter.states", `must be at most ${MOST_STATES}`);
      if (request.waitingFor.length > 1000) throw invalidField("waiting_for", "must be at most 1,000");
      return watches.watch(callerOf(context), request, context.signal);
    },
    async approve(request, context) {
      return { elevation: valueOf(await elevations.approve(callerOf(context), request)) };
    },
    async deny(request, context) {
      return { elevation: valueOf(await elevations.deny(callerOf(context), request)) };
    },
    async withdraw(request, context) {
      return { elevation: valueOf(await elevations.withdraw(callerOf(context), request)) };
    },
    async start(request, context) {
      return { elevation: valueOf(await elevations.start(callerOf(context), request)) };
    },
    async extend(request, context) {
      return { elevation: valueOf(await elevations.extend(callerOf(context), request)) };
    },
    async end(request, context) {
      return { elevation: valueOf(await elevations.end(callerOf(context), request)) };
    },
    async revoke(request, context) {
      const { elevations: revoked, position } = valueOf(await elevations.revoke(callerOf(context), request));
      const audiences = new Set(revoked.map(({ audience }) => audience));
      const enforcement = request.wait ? await enforcements.wait(audiences, position, context.signal) : [];
      return { elevations: [...revoked], enforcement };
    },
    async review(request, context) {
      return { elevation: valueOf(await elevations.review(callerOf(context), request)) };
    },
    async issueGrant(request, context) {
      const { grant, expireMs, elevation } = valueOf(await elevations.issueGrant(callerOf(context), request));
      return { grant, expireTime: timestampFromMs(expireMs), ...(elevation.windowEnd ? { windowEnd: elevation.windowEnd } : {}) };
    },
  };
}
