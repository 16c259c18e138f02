// What a command wants to append, before the log gives it a place. Rules make drafts; only log/log.ts makes entries.
import type { LogEntry, Sealed } from "@brevet/protocol/brevet/v1/log";

/** The event of an entry, one of the `oneof`. */
export type Event = Extract<LogEntry["event"], { case: string }>;

/**
 * Turns a personal or large value into its salted commitment; the value itself stands beside the entry. Given to the rules, so that
 * they stay pure.
 */
export type Seal = (value: string | Uint8Array) => Sealed;

/** An entry without its place. */
export interface Draft {
  /** "" for the authority's own. */
  readonly audience: string;
  /** Id of the principal, "" where the authority acts by itself. */
  readonly actor: string;
  /** Idempotency id, "" for none. On the first entry of a command only. */
  readonly requestId: string;
  /** Where there is an idempotency id: what tells a repeat from another request. */
  readonly requestTerms?: Sealed;
  /** Id of the elevation, "" for none. */
  readonly elevation: string;
  readonly event: Event;
}
