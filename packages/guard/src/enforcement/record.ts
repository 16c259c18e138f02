// What is written down of a refusal: the status that was sent, one line in the log, one record for the authority.
// Never the token, and never more than what the caller was told, but for the logs of the guard itself.
import { type Clock, codeName, type EncodedStatus, encodeDenial, type NewId, sanitise, systemClock } from "@brevet/protocol";
import type { GuardRefusal } from "../core/call.ts";
import { denialOf } from "../core/deny.ts";
import type { Knowledge } from "../core/knowledge.ts";
import type { DecisionLog } from "../link/decisions.ts";
import { type GuardLogger, tell } from "../log/logger.ts";

/** Of what a caller makes up; as much as the authority keeps. */
const MOST_NAMES = 64;
const MOST_NAME_BYTES = 256;
/** Anybody can cause refusals without an identity: so many have a line of their own in each second, and the others a count. */
const MOST_LINES = 10;
const LINES_MS = 1000;

/** A decision, as `onDecision` is told. */
export interface DecisionEvent {
  readonly permitted: boolean;
  readonly method: string;
  /** Absent without an identity. */
  readonly principal?: string;
  readonly elevation?: string;
  /** Of a refusal, or of what `mode: observe` let pass. */
  readonly decisionId?: string;
  readonly reason?: string;
}

/** What a recorder writes to. */
export interface RecorderOptions {
  readonly audience: string;
  readonly newId: NewId;
  readonly logger: GuardLogger;
  readonly decisions: DecisionLog;
  readonly onDecision?: (event: DecisionEvent) => void;
  /** For the limit of lines; default: the machine's. */
  readonly clock?: Clock;
}

/** The circumstances of one refusal. */
export interface Refused {
  readonly method: string;
  readonly headersSeen: readonly string[];
  readonly traceId: string;
  /** What was left of the deadline; undefined for none, or where the call ran already. */
  readonly deadlineMs?: number | undefined;
  readonly knowledge: Knowledge | undefined;
  /** The authority's time; undefined before it is known. */
  readonly nowMs: number | undefined;
}

/** Writes refusals down and gives them the status to send. */
export class Recorder {
  readonly #options: RecorderOptions;
  /** Of refusals without an identity in this second, by whether they were only observed: a flood of the one hides none of the other. */
  readonly #lines = new Map<boolean, number>();

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** The status of a refusal, recorded. With `observed` the call goes on, and nothing is sent. */
  refused(refusal: GuardRefusal, call: Refused, observed: boolean): EncodedStatus {
    const { audience, newId, logger, decisions } = this.#options;
    const decisionId = newId("dec");
    const policy = call.knowledge?.policy;
    const denial = denialOf(refusal, { ...call, decisionId, audience, policy, publicUrl: call.knowledge?.publicUrl ?? "" });
    const status = encodeDenial(denial);
    const principal = refusal.principal?.name ?? "";
    const elevation = refusal.elevation?.id ?? refusal.facts.elevation ?? "";
    const method = sanitise(call.method, MOST_NAME_BYTES);
    const headersSeen = call.headersSeen.slice(0, MOST_NAMES).map((name) => sanitise(name, MOST_NAME_BYTES));
    decisions.denied({
      decisionId,
      method,
      listed: policy?.compiled.method(call.method).listed === true,
      principal,
      elevation,
      reason: refusal.reason,
      nowMs: call.nowMs ?? 0,
      policyVersion: policy?.version ?? 0n,
      traceId: call.traceId,
      status: status.details,
      headersSeen,
      deadlineMs: call.deadlineMs,
      permitted: observed,
    });
    if (principal !== "" || this.#hasLine(observed))
      logger.warn(
        {
          decisionId,
          reason: refusal.reason,
          method,
          audience,
          ...(principal === "" ? {} : { principal }),
          ...(elevation === "" ? {} : { elevation }),
          ...(call.traceId === "" ? {} : { traceId: call.traceId }),
          ...(policy === undefined ? {} : { policyVersion: String(policy.version) }),
          ...(refusal.facts.problem === undefined ? {} : { problem: refusal.facts.problem }),
          headersSeen,
          ...(call.deadlineMs === undefined ? {} : { deadlineMs: Math.round(call.deadlineMs) }),
          status: { code: codeName(status.code), message: status.message, details: Buffer.from(status.details).toString("base64") },
        },
        observed ? "would be refused, and is permitted because the policy only observes" : "refused",
      );
    this.told({ permitted: observed, method: call.method, decisionId, reason: refusal.reason, ...(principal !== "" && { principal }) });
    return status;
  }

  /** Whether a refusal without an identity gets a line of its own; tells at the end of the second how many got none. */
  #hasLine(observed: boolean): boolean {
    const lines = (this.#lines.get(observed) ?? 0) + 1;
    this.#lines.set(observed, lines);
    if (lines === 1) {
      const { clock = systemClock, logger } = this.#options;
      clock.after(LINES_MS, () => {
        const leftOut = (this.#lines.get(observed) ?? 0) - MOST_LINES;
        this.#lines.delete(observed);
        const what = observed ? "would be refused" : "were refused";
        if (leftOut > 0) logger.warn({ leftOut }, `more calls without an identity ${what} in this second`);
      });
    }
    return lines <= MOST_LINES;
  }

  /** Tells who asked to be told; what goes wrong there is theirs, and changes nothing. */
  told(event: DecisionEvent): void {
    const { onDecision, logger } = this.#options;
    if (onDecision === undefined) return;
    tell(
      () => onDecision(event),
      (error) => logger.error({ error: String(error) }, "onDecision failed"),
    );
  }
}
