// Decisions on their way to the authority: each denial of somebody, and the first, last and count of permits per elevation, method and
// status, and of denials without an identity per reason and method. Bounded: what does not fit is counted as dropped. Never waits, and
// never stands in the way of what comes down the same stream: a batch that cannot be sent, or that breaks the link, is dropped.
import type { NewId, ReasonName } from "@brevet/protocol";
import { type DecisionBatch, DecisionBatchSchema } from "@brevet/protocol/brevet/v1/guard";
import { type DecisionRecord, DecisionRecordSchema } from "@brevet/protocol/brevet/v1/policy";
import { Reason } from "@brevet/protocol/brevet/v1/reason";
import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";

/** A denial as it was sent. */
export interface DeniedCall {
  readonly decisionId: string;
  readonly method: string;
  /** Whether the policy lists the method: any other name may be the caller's invention. */
  readonly listed: boolean;
  readonly principal: string;
  readonly elevation: string;
  readonly reason: ReasonName;
  readonly nowMs: number;
  readonly policyVersion: bigint;
  readonly traceId: string;
  /** Serialized google.rpc.Status. */
  readonly status: Uint8Array;
  readonly headersSeen: readonly string[];
  /** What was left of its deadline; undefined: none. */
  readonly deadlineMs?: number | undefined;
  /** With `mode: observe` it went on all the same. */
  readonly permitted: boolean;
}

/** A permitted call that has ended. */
export interface PermittedCall {
  readonly method: string;
  readonly principal: string;
  /** Empty: none was needed. */
  readonly elevation: string;
  readonly nowMs: number;
  readonly policyVersion: bigint;
  /** gRPC status with which it ended. */
  readonly callStatus: number;
}

/** Permits of one elevation, method and status: the first, the last, and how many. Plain numbers, since every call counts here. */
interface Permits {
  readonly first: PermittedCall;
  lastMs: number;
  count: number;
}

/** One that may go into the next batch, and out of what is kept here. */
interface Waiting {
  readonly count: bigint;
  readonly make: () => DecisionRecord;
  readonly remove: () => void;
}

/** Kept apart: what anybody can cause never takes the room of what an elevation permitted. */
const MAX_DENIALS = 2000;
const MAX_PERMITS = 2000;
/** Of denials, and of permits, by method, that anybody can cause. */
const MAX_ANYBODYS = 500;
/** Of denials without an identity, in one batch: the authority keeps so many only, and somebody's count for more. */
const BATCH_ANYBODYS = 20;
const BATCH_RECORDS = 500;
/** Far below what the authority takes as one message. */
const BATCH_BYTES = 256 * 1024;
/** gRPC statuses go from OK to UNAUTHENTICATED; a handler may give any number. */
const MOST_STATUS = 16;
const UNKNOWN = 2;

/** What was decided and not reported yet. */
export class DecisionLog {
  readonly #audience: string;
  readonly #newId: NewId;
  readonly #maxDenials: number;
  readonly #maxPermits: number;
  #denials: DecisionRecord[] = [];
  /** Denials that name nobody, by reason and method. */
  readonly #unknown = new Map<string, DecisionRecord>();
  /** By elevation, method and status. */
  readonly #permits = new Map<string, Map<string, Map<number, Permits>>>();
  #permitRecords = 0;
  /** Of these, those without an elevation. */
  #anybodysPermits = 0;
  #dropped = 0n;
  #sequence = 0n;
  #sent: DecisionBatch | undefined;
  /** Times that it was sent again. */
  #resent = 0;

  constructor(options: { readonly audience: string; readonly newId: NewId; readonly maxDenials?: number; readonly maxPermits?: number }) {
    this.#audience = options.audience;
    this.#newId = options.newId;
    this.#maxDenials = options.maxDenials ?? MAX_DENIALS;
    this.#maxPermits = options.maxPermits ?? MAX_PERMITS;
  }

  /** Records that wait. */
  get size(): number {
    return this.#denials.length + this.#unknown.size + this.#permitRecords;
  }

  denied(call: DeniedCall): void {
    const lastTime = timestampFromMs(Math.round(call.nowMs));
    // Anybody can send calls without an identity, as many as they like: one record has to do, with what the first one was told.
    const key = call.principal === "" ? `${call.listed ? call.method : ""} ${call.reason} ${call.permitted}` : undefined;
    const known = key === undefined ? undefined : this.#unknown.get(key);
    if (known !== undefined) {
      known.count += 1n;
      known.lastTime = lastTime;
      if (call.deadlineMs !== undefined && !(known.deadline && durationMs(known.deadline) <= call.deadlineMs))
        known.deadline = durationFromMs(Math.round(call.deadlineMs));
      return;
    }
    if (key === undefined ? this.#denials.length >= this.#maxDenials : this.#unknown.size >= MAX_ANYBODYS) {
      this.#dropped += 1n;
      return;
    }
    const record = create(DecisionRecordSchema, {
      decisionId: call.decisionId,
      audience: this.#audience,
      method: call.method,
      principal: call.principal,
      permitted: call.permitted,
      observed: call.permitted,
      reason: Reason[call.reason],
      elevation: call.elevation,
      time: lastTime,
      lastTime,
      policyVersion: call.policyVersion,
      traceId: call.traceId,
      status: call.status,
      headersSeen: [...call.headersSeen],
      count: 1n,
      ...(call.deadlineMs === undefined ? {} : { deadline: durationFromMs(Math.round(call.deadlineMs)) }),
    });
    if (key === undefined) this.#denials.push(record);
    else this.#unknown.set(key, record);
  }

  permitted(call: PermittedCall): void {
    const callStatus = statusOf(call.callStatus);
    const known = this.#permits.get(call.elevation)?.get(call.method)?.get(callStatus);
    if (known !== undefined) {
      known.count += 1;
      known.lastMs = call.nowMs;
      return;
    }
    const anybodys = call.elevation === "";
    const full = anybodys ? this.#anybodysPermits >= MAX_ANYBODYS : this.#permitRecords - this.#anybodysPermits >= this.#maxPermits;
    if (full) {
      this.#dropped += 1n;
      return;
    }
    this.#permitRecords += 1;
    if (anybodys) this.#anybodysPermits += 1;
    const methods = inner(this.#permits, call.elevation, () => new Map<string, Map<number, Permits>>());
    const statuses = inner(methods, call.method, () => new Map<number, Permits>());
    statuses.set(callStatus, { first: { ...call, callStatus }, lastMs: call.nowMs, count: 1 });
  }

  /** The batch that was sent and not confirmed. */
  get unconfirmed(): DecisionBatch | undefined {
    return this.#sent;
  }

  /**
   * What a link that comes back sends again, and the authority counts once: the batch that was not confirmed. One behind which the link
   * broke again may be the cause of it: half of it is tried then, and after that nothing.
   */
  again(): DecisionBatch | undefined {
    if (this.#sent === undefined) return undefined;
    this.#resent += 1;
    if (this.#resent === 1) return this.#sent;
    const kept = this.#resent === 2 ? Math.floor(this.#sent.decisions.length / 2) : 0;
    for (const { count } of this.#sent.decisions.splice(kept)) this.#dropped += count;
    if (kept > 0) return this.#sent;
    this.#dropped += this.#sent.dropped;
    this.#sent = undefined;
    return undefined;
  }

  /** The authority has what was sent up to this batch. */
  confirmed(sequence: bigint): void {
    if (this.#sent !== undefined && this.#sent.sequence <= sequence) this.#sent = undefined;
  }

  /** The next batch, kept until it is confirmed; undefined when there is nothing to tell, or one is on its way. */
  take(): DecisionBatch | undefined {
    if (this.#sent !== undefined || (this.size === 0 && this.#dropped === 0n)) return undefined;
    const decisions = this.#fitting();
    this.#sequence += 1n;
    this.#resent = 0;
    this.#sent = create(DecisionBatchSchema, { decisions, dropped: this.#dropped, sequence: this.#sequence });
    this.#dropped = 0n;
    return this.#sent;
  }

  /** As many as fit into a batch; the rest stays, and goes on being counted. */
  #fitting(): DecisionRecord[] {
    const taken: DecisionRecord[] = [];
    let bytes = 0;
    for (const { count, make, remove } of this.#waiting()) {
      const encoded = encodedOf(make);
      if (encoded !== undefined && taken.length > 0 && bytes + encoded.bytes > BATCH_BYTES) break;
      remove();
      if (encoded === undefined || encoded.bytes > BATCH_BYTES) this.#dropped += count;
      else {
        bytes += encoded.bytes;
        taken.push(encoded.record);
      }
      if (taken.length === BATCH_RECORDS) break;
    }
    return taken;
  }

  /** Permits first, then denials of somebody in their order, then some of those of nobody. */
  *#waiting(): Generator<Waiting> {
    for (const [elevation, methods] of this.#permits) {
      for (const [method, statuses] of methods) {
        for (const [callStatus, permits] of statuses) {
          const remove = (): void => {
            statuses.delete(callStatus);
            if (statuses.size === 0) methods.delete(method);
            if (methods.size === 0) this.#permits.delete(elevation);
            this.#permitRecords -= 1;
            if (elevation === "") this.#anybodysPermits -= 1;
          };
          yield { count: BigInt(permits.count), make: () => this.#recordOf(permits), remove };
        }
      }
    }
    let done = 0;
    try {
      for (const record of this.#denials) {
        const remove = (): void => void (done += 1);
        yield { count: record.count, make: () => record, remove };
      }
    } finally {
      this.#denials = this.#denials.slice(done);
    }
    let anybodys = 0;
    for (const [key, record] of this.#unknown) {
      if (anybodys === BATCH_ANYBODYS) return;
      anybodys += 1;
      yield { count: record.count, make: () => record, remove: () => void this.#unknown.delete(key) };
    }
  }

  #recordOf({ first, lastMs, count }: Permits): DecisionRecord {
    return create(DecisionRecordSchema, {
      decisionId: this.#newId("dec"),
      audience: this.#audience,
      method: first.method,
      // Without an elevation the record counts the calls of many.
      principal: first.elevation === "" ? "" : first.principal,
      permitted: true,
      elevation: first.elevation,
      time: timestampFromMs(Math.round(first.nowMs)),
      lastTime: timestampFromMs(Math.round(lastMs)),
      policyVersion: first.policyVersion,
      count: BigInt(count),
      callStatus: first.callStatus,
    });
  }
}

function statusOf(callStatus: number): number {
  return Number.isInteger(callStatus) && callStatus >= 0 && callStatus <= MOST_STATUS ? callStatus : UNKNOWN;
}

/** A record and what it takes in a message; undefined for one that cannot be sent. */
function encodedOf(make: () => DecisionRecord): { readonly record: DecisionRecord; readonly bytes: number } | undefined {
  try {
    const record = make();
    // With its tag and length.
    return { record, bytes: toBinary(DecisionRecordSchema, record).length + 8 };
  } catch {
    return undefined;
  }
}

function inner<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
