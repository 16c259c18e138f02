// Decisions on their way to the authority: each denial, and the first, last and count of permits per elevation, method and status.
// Bounded: what does not fit is counted as dropped. Never waits for anybody.
import type { NewId, ReasonName } from "@brevet/protocol";
import { type DecisionBatch, DecisionBatchSchema } from "@brevet/protocol/brevet/v1/guard";
import { type DecisionRecord, DecisionRecordSchema } from "@brevet/protocol/brevet/v1/policy";
import { Reason } from "@brevet/protocol/brevet/v1/reason";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

/** A denial as it was sent. */
export interface DeniedCall {
  readonly decisionId: string;
  readonly method: string;
  readonly principal: string;
  readonly elevation: string;
  readonly reason: ReasonName;
  readonly nowMs: number;
  readonly policyVersion: bigint;
  readonly traceId: string;
  /** Serialized google.rpc.Status. */
  readonly status: Uint8Array;
  readonly headersSeen: readonly string[];
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

const MAX_RECORDS = 2000;
const BATCH_RECORDS = 500;

/** What was decided and not reported yet. */
export class DecisionLog {
  readonly #audience: string;
  readonly #newId: NewId;
  readonly #max: number;
  #records: DecisionRecord[] = [];
  /** By elevation, method and status. */
  readonly #permits = new Map<string, Map<string, Map<number, Permits>>>();
  #permitRecords = 0;
  #dropped = 0n;
  #sequence = 0n;
  #sent: DecisionBatch | undefined;

  constructor(options: { readonly audience: string; readonly newId: NewId; readonly maxRecords?: number }) {
    this.#audience = options.audience;
    this.#newId = options.newId;
    this.#max = options.maxRecords ?? MAX_RECORDS;
  }

  /** Records that wait. */
  get size(): number {
    return this.#records.length + this.#permitRecords;
  }

  denied(call: DeniedCall): void {
    if (this.size >= this.#max) {
      this.#dropped += 1n;
      return;
    }
    this.#records.push(
      create(DecisionRecordSchema, {
        decisionId: call.decisionId,
        audience: this.#audience,
        method: call.method,
        principal: call.principal,
        permitted: call.permitted,
        reason: Reason[call.reason],
        elevation: call.elevation,
        time: timestampFromMs(Math.round(call.nowMs)),
        lastTime: timestampFromMs(Math.round(call.nowMs)),
        policyVersion: call.policyVersion,
        traceId: call.traceId,
        status: call.status,
        headersSeen: [...call.headersSeen],
        count: 1n,
      }),
    );
  }

  permitted(call: PermittedCall): void {
    const known = this.#permits.get(call.elevation)?.get(call.method)?.get(call.callStatus);
    if (known !== undefined) {
      known.count += 1;
      known.lastMs = call.nowMs;
      return;
    }
    if (this.size >= this.#max) {
      this.#dropped += 1n;
      return;
    }
    this.#permitRecords += 1;
    const methods = inner(this.#permits, call.elevation, () => new Map<string, Map<number, Permits>>());
    const statuses = inner(methods, call.method, () => new Map<number, Permits>());
    statuses.set(call.callStatus, { first: call, lastMs: call.nowMs, count: 1 });
  }

  /** The batch that was sent and not confirmed: a link that comes back sends it again, and the authority counts it once. */
  get unconfirmed(): DecisionBatch | undefined {
    return this.#sent;
  }

  /** The authority has what was sent up to this batch. */
  confirmed(sequence: bigint): void {
    if (this.#sent !== undefined && this.#sent.sequence <= sequence) this.#sent = undefined;
  }

  /** The next batch, kept until it is confirmed; undefined when there is nothing to tell, or one is on its way. */
  take(): DecisionBatch | undefined {
    if (this.#sent !== undefined || (this.size === 0 && this.#dropped === 0n)) return undefined;
    const permits = [...this.#permits.values()].flatMap((methods) =>
      [...methods.values()].flatMap((statuses) => [...statuses.values()].map((each) => this.#recordOf(each))),
    );
    this.#permits.clear();
    this.#permitRecords = 0;
    const all = [...this.#records, ...permits];
    this.#records = all.slice(BATCH_RECORDS);
    this.#sequence += 1n;
    this.#sent = create(DecisionBatchSchema, { decisions: all.slice(0, BATCH_RECORDS), dropped: this.#dropped, sequence: this.#sequence });
    this.#dropped = 0n;
    return this.#sent;
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

function inner<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
