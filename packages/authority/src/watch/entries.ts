// Reading the log: entries of the audiences whose role the caller has, the others as hashes, so that the tree can be rebuilt. Never shows an
// opening to anybody else.
import { hasRole } from "@brevet/policy";
import type { Clock } from "@brevet/protocol";
import { GrpcCode } from "@brevet/protocol";
import type { LogPosition } from "@brevet/protocol/brevet/v1/elevation";
import {
  LogEntrySchema,
  type LogRecord,
  LogRecordSchema,
  type LogServiceListRequest,
  type LogServiceWatchResponse,
  LogServiceWatchResponseSchema,
} from "@brevet/protocol/brevet/v1/log";
import { create, fromBinary } from "@bufbuild/protobuf";
import type { CurrentPolicies } from "../elevation/policies.ts";
import type { AuthenticatedCaller } from "../identity/identity.ts";
import type { Log, Position } from "../log/log.ts";
import { Mailbox } from "./mailbox.ts";
import { isResumable, positionMessage } from "./position.ts";
import { Refused, tooSlow } from "./refused.ts";
import { heartbeats, type Life, lifeOf } from "./stream.ts";

const PAGE = 100;
const LARGEST_PAGE = 1000;

/** What {@link ReadableLog} stands on. */
export interface ReadableLogOptions {
  readonly log: Log;
  readonly policies: CurrentPolicies;
  readonly clock: Clock;
  readonly drain: AbortSignal;
}

/** Reads the log for callers. All methods throw {@link Refused}. */
export class ReadableLog {
  readonly #options: ReadableLogOptions;

  constructor(options: ReadableLogOptions) {
    this.#options = options;
  }

  /** Entries behind a revision, oldest first; fewer than the page means that the log ends at the position. */
  async list(caller: AuthenticatedCaller, request: LogServiceListRequest): Promise<{ records: LogRecord[]; position: Position }> {
    const { afterRevision, pageSize, audience, elevation } = request;
    if (pageSize < 0) throw invalid("page_size", "must not be negative");
    if (elevation.length > 64 || audience.length > 128) throw invalid(audience.length > 128 ? "audience" : "elevation", "is too long");
    const shown = this.#shownTo(caller, audience);
    const { store } = this.#options.log;
    let position = this.#options.log.position();
    const limit = Math.min(pageSize || PAGE, LARGEST_PAGE);
    const which = { limit, ...(audience === "" ? {} : { audience }), ...(elevation === "" ? {} : { elevation }) };
    const page = await store.entries(afterRevision, which);
    const last = page.at(-1);
    // The log may have grown since.
    if (last && last.revision > position.revision) position = placeOf(last);
    return { records: page.map(shown), position };
  }

  /** Entries behind a position, then new ones as they come. */
  async *watch(
    caller: AuthenticatedCaller,
    after: LogPosition | undefined,
    audience: string,
    signal: AbortSignal,
  ): AsyncGenerator<LogServiceWatchResponse> {
    const { log, clock, drain } = this.#options;
    this.#shownTo(caller, audience);
    const head = log.position();
    if (after && !(await isResumable(after, head, log.store))) {
      const message = `the log is at ${head.revision} of epoch ${head.epoch}: the position asked for is not in it`;
      throw new Refused({
        reason: "REQUEST_INVALID",
        code: GrpcCode.OUT_OF_RANGE,
        message,
        metadata: { field: "after", problem: "not in the log" },
      });
    }
    // New entries are read from the store: the log is the truth, and a slow reader holds nothing but its place.
    using mailbox = new Mailbox<{ readonly beat: boolean }>(4, tooSlow);
    using life: Life = lifeOf({ mailbox, signal, drain, clock, caller });
    life.use(log.subscribe(() => mailbox.length === 0 && mailbox.push({ beat: false })));
    life.use(heartbeats(clock, () => mailbox.length === 0 && mailbox.push({ beat: true })));
    mailbox.push({ beat: true });
    const which = { limit: LARGEST_PAGE, ...(audience === "" ? {} : { audience }) };
    let position: Position = after ?? { epoch: head.epoch, revision: 0n };
    for await (const { beat } of mailbox) {
      const end = log.position();
      for (;;) {
        const page = await log.store.entries(position.revision, which);
        // Rights are those of the moment, page by page.
        const shown = this.#shownTo(caller, audience);
        for (const record of page) {
          position = placeOf(record);
          yield create(LogServiceWatchResponseSchema, { record: shown(record), position: positionMessage(position) });
        }
        if (page.length < LARGEST_PAGE) break;
      }
      if (end.revision > position.revision) position = end;
      if (beat) yield create(LogServiceWatchResponseSchema, { position: positionMessage(position) });
    }
  }

  /**
   * How records are shown to the caller, under the policies as they are now: whole where the caller has a role, those of no audience
   * without openings unless the role is everywhere, all others as hashes.
   */
  #shownTo(caller: AuthenticatedCaller, audience: string): (record: LogRecord) => LogRecord {
    const { policies } = this.#options;
    const roles = new Set(
      caller.audiences().filter((each) => {
        const policy = policies.current(each)?.policy;
        const facts = caller.principalFor(each);
        return policy !== undefined && facts !== undefined && (hasRole(policy, "auditor", facts) || hasRole(policy, "admin", facts));
      }),
    );
    const everywhere = policies.audiences().every((each) => roles.has(each));
    if (roles.size > 0 && (audience === "" || roles.has(audience))) {
      return (record) => {
        const entry = fromBinary(LogEntrySchema, record.entry);
        if (roles.has(entry.audience) || (entry.audience === "" && everywhere)) return record;
        const { revision, leafHash } = record;
        return create(LogRecordSchema, entry.audience === "" ? { entry: record.entry, revision, leafHash } : { revision, leafHash });
      };
    }
    const where = audience === "" ? "any audience" : `the audience ${audience}`;
    throw new Refused({
      reason: "ROLE_REQUIRED",
      message: `reading the log takes the role auditor or admin of ${where}`,
      metadata: { role: "auditor", ...(audience === "" ? {} : { audience }), ...(caller.name === "" ? {} : { principal: caller.name }) },
    });
  }
}

function placeOf({ entry }: LogRecord): Position {
  const { epoch, revision } = fromBinary(LogEntrySchema, entry);
  return { epoch, revision };
}

function invalid(field: string, problem: string): Refused {
  return new Refused({
    reason: "REQUEST_INVALID",
    message: `${field}: ${problem}`,
    metadata: { field, problem },
    fieldViolations: [{ field, description: problem }],
  });
}
