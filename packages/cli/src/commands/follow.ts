// One watch that goes on: resumes behind what was seen when the authority restarts or the network breaks, with full jitter.

import { sleep, systemClock } from "@brevet/protocol";
import type { Elevation, ElevationState, LogPosition } from "@brevet/protocol/brevet/v1/elevation";
import type { Connection } from "../connection/connection.ts";
import { commandError } from "../connection/refusal.ts";
import { exitStatus } from "../output/status.ts";

/** What to follow. */
export interface FollowOptions {
  readonly filter: {
    readonly ids?: string[];
    readonly mine?: boolean;
    readonly decidable?: boolean;
    readonly states?: ElevationState[];
    readonly audience?: string;
    readonly entitlement?: string;
    readonly principal?: string;
  };
  /** Elevations for which somebody waits here: their approval starts the window. */
  readonly waitingFor?: readonly string[];
  readonly signal: AbortSignal;
  /** The authority answered before: it is waited for, also if it is away now. */
  readonly reached?: boolean;
  /** Told when the connection is lost and found again. */
  readonly note: (text: string) => void;
}

const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 10_000;

/** The present state of what matches, then every change. Ends when the signal is aborted; throws what cannot be waited out. */
export async function* follow(connection: Connection, options: FollowOptions): AsyncGenerator<Elevation, void, undefined> {
  let after: LogPosition | undefined;
  let failures = 0;
  while (!options.signal.aborted) {
    // Whoever stops listening early has to end the call too: leaving the loop alone would wait for the next message.
    const left = new AbortController();
    const signal = AbortSignal.any([options.signal, left.signal]);
    let listening = false;
    try {
      const stream = connection.elevations.watch(
        { filter: options.filter, waitingFor: [...(options.waitingFor ?? [])], ...(after === undefined ? {} : { after }) },
        { signal },
      );
      for await (const message of stream) {
        if (failures > 0) options.note("The authority is back.");
        failures = 0;
        if (message.elevation !== undefined) {
          listening = true;
          try {
            yield message.elevation;
            listening = false;
          } finally {
            if (listening) left.abort();
          }
        }
        if (message.position !== undefined && (message.caughtUp || after !== undefined)) after = message.position;
      }
    } catch (error) {
      if (options.signal.aborted) return;
      if (commandError(error, connection.url).status !== exitStatus.unreachable) throw error;
      // A first connection that fails is an answer; a later one is an outage to sit out.
      if (options.reached !== true && after === undefined && failures === 0) throw error;
    }
    if (failures === 0) options.note("The authority went away; waiting for it. Nothing is lost.");
    failures += 1;
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures);
    await sleep(systemClock, Math.random() * ceiling, options.signal).catch(() => undefined);
  }
}
