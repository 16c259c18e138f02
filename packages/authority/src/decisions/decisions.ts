// Decisions of guards and what callers reported of them: the contract of every store of them, and its bounds.
// Not part of the log: nothing rests on a decision record, and the oldest go when there are too many. What goes is counted, never hidden.
import type { CallerReport, Principal } from "@brevet/protocol/brevet/v1/elevation";
import type { DecisionBatch } from "@brevet/protocol/brevet/v1/guard";
import type { DecisionRecord } from "@brevet/protocol/brevet/v1/policy";

/** How much is kept, for each audience and kind; the oldest go first. */
export interface DecisionBounds {
  /** Records. */
  readonly count: number;
  /** Their bytes as stored. */
  readonly bytes: number;
  /** Age, milliseconds. */
  readonly ageMs: number;
  /** Reports of one caller, and of all. */
  readonly reportsEach: number;
  readonly reports: number;
}

/**
 * Records of callers with an identity, and those without one (which anybody can cause), have this much each, so that neither pushes the
 * other out.
 */
export const DECISION_BOUNDS: DecisionBounds = {
  count: 100_000,
  bytes: 64 * 1024 * 1024,
  ageMs: 30 * 24 * 3_600_000,
  reportsEach: 1000,
  reports: 100_000,
};

/** Whose batch it is: that of the guard's link, whatever the records say. */
export interface BatchSource {
  readonly audience: string;
  readonly guard: Principal;
  readonly instance: string;
}

/** Which records; what is absent does not restrict. */
export interface DecisionQuery {
  readonly audience: string;
  readonly method?: string;
  readonly principal?: string;
  /** Number in the API's enum. */
  readonly reason?: number;
  /** Milliseconds since 1970. */
  readonly fromMs?: number;
  /** Only those kept before the one with this place. */
  readonly before?: bigint;
  /** At most 1,000. */
  readonly limit: number;
}

/** A record and its place among those kept. */
export interface KeptDecision {
  readonly place: bigint;
  readonly record: DecisionRecord;
}

/** A caller's half, with who reported it: the principal name in the report's audience. */
export interface KeptReport {
  readonly principal: string;
  readonly report: CallerReport;
}

/**
 * A store of decisions. It may lose the last moments before a power loss, never those before a kill; a write that fails rejects, and the
 * guard sends its batch again.
 */
export interface DecisionStore extends AsyncDisposable {
  /** Keeps a batch and its number in one write. False: it came before, and nothing was done. */
  add(from: BatchSource, batch: DecisionBatch): Promise<boolean>;
  /** By decision id. */
  get(decisionId: string): Promise<DecisionRecord | undefined>;
  /** Newest first. */
  list(query: DecisionQuery): Promise<KeptDecision[]>;
  /** Decisions of an audience that were made and are not kept. */
  dropped(audience: string): Promise<bigint>;
  /** Keeps what a caller saw; the newest of a caller for a decision counts. */
  report(principal: string, reports: readonly CallerReport[]): Promise<void>;
  /** All that was reported of a decision. */
  reports(decisionId: string): Promise<KeptReport[]>;
}
