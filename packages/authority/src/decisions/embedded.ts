// Decisions in a file of their own beside the log's, so that they never slow or lock its writes. All of the file's work is done by a thread.
// Never decides who may read.
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Clock } from "@brevet/protocol";
import { type CallerReport, CallerReportSchema } from "@brevet/protocol/brevet/v1/elevation";
import { type DecisionRecord, DecisionRecordSchema } from "@brevet/protocol/brevet/v1/policy";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { createPrivate } from "../store/embedded/lock.ts";
import { StoreError } from "../store/store.ts";
import { cutRecord, cutReport } from "./cut.ts";
import { DECISION_BOUNDS, type DecisionBounds, type DecisionStore } from "./decisions.ts";
import type { Answer, Ask, RecordRow } from "./worker.ts";

/** What {@link openEmbeddedDecisions} takes. */
export interface EmbeddedDecisionsOptions {
  readonly clock: Clock;
  readonly bounds?: Partial<DecisionBounds>;
}

/** Opens `decisions.db` in the directory of the embedded store, whose lock keeps other processes out. @throws StoreError */
export async function openEmbeddedDecisions(directory: string, options: EmbeddedDecisionsOptions): Promise<DecisionStore> {
  const path = join(directory, "decisions.db");
  createPrivate(path);
  const thread = new Thread(path, { ...DECISION_BOUNDS, ...options.bounds });
  await thread.ask({ do: "open" });
  const { clock } = options;
  return {
    async add(from, { decisions, dropped, sequence }) {
      const rows = decisions.map((record) => rowOf(cutRecord(record, from), clock.wallMs()));
      const batch = JSON.stringify([from.audience, from.guard.name, from.instance]);
      return thread.ask<boolean>({ do: "add", audience: from.audience, batch, sequence, rows, dropped, nowMs: clock.wallMs() });
    },
    async get(decisionId) {
      const [found] = await thread.ask<RowOfList[]>({ do: "get", decisionId });
      return found && fromBinary(DecisionRecordSchema, found.message);
    },
    async list(query) {
      const rows = await thread.ask<RowOfList[]>({ do: "list", query });
      return rows.map(({ place, message }) => ({ place, record: fromBinary(DecisionRecordSchema, message) }));
    },
    dropped: (audience) => thread.ask<bigint>({ do: "dropped", audience }),
    async report(principal, reports) {
      const kept = reports.map(cutReport).filter(({ decisionId }) => decisionId !== "");
      const rows = kept.map((report) => ({ decisionId: report.decisionId, message: reportBytes(report) }));
      if (rows.length > 0) await thread.ask({ do: "report", principal, rows, nowMs: clock.wallMs() });
    },
    async reports(decisionId) {
      const rows = await thread.ask<{ principal: string; message: Uint8Array }[]>({ do: "reports", decisionId });
      return rows.map(({ principal, message }) => ({ principal, report: fromBinary(CallerReportSchema, message) }));
    },
    [Symbol.asyncDispose]: () => thread.close(),
  };
}

interface RowOfList {
  readonly place: bigint;
  readonly message: Uint8Array;
}

function rowOf(record: DecisionRecord, nowMs: number): RecordRow {
  const { decisionId, method, principal, reason, time } = record;
  return { decisionId, method, principal, reason, timeMs: madeMs(time, nowMs), message: toBinary(DecisionRecordSchema, record) };
}

/** When it was made, as far as that can be believed: a guard reports late, never early. */
function madeMs(time: Timestamp | undefined, nowMs: number): number {
  const saidMs = time === undefined ? nowMs : timestampMs(time);
  return saidMs >= 0 && saidMs <= nowMs ? saidMs : nowMs;
}

function reportBytes(report: CallerReport): Uint8Array {
  return toBinary(CallerReportSchema, report);
}

/** The thread's end here: questions in order, answers in the same. It keeps the process alive only while it owes one. */
class Thread {
  readonly #worker: Worker;
  readonly #waiting: { resolve(value: unknown): void; reject(error: StoreError): void }[] = [];
  #broken: StoreError | undefined;

  constructor(path: string, bounds: DecisionBounds) {
    // Sources run as they are; published packages carry JavaScript.
    this.#worker = new Worker(new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url), {
      workerData: { path, bounds },
      name: "brevet-decisions",
    });
    this.#worker.on("message", (answer: Answer) => this.#answered(answer));
    this.#worker.on("error", (error) => this.#break("the thread of the decisions failed", error));
    this.#worker.on("exit", () => this.#break("the thread of the decisions has ended"));
  }

  /** Rejects with StoreError `unwritable`; nothing was written then. */
  ask<T = void>(question: Ask): Promise<T> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken);
    this.#worker.ref();
    this.#worker.postMessage(question, []);
    return new Promise<T>((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  async close(): Promise<void> {
    if (this.#broken === undefined) await this.ask({ do: "close" });
    this.#broken ??= new StoreError("closed", "the store of decisions is closed");
    await this.#worker.terminate();
  }

  #answered(answer: Answer): void {
    const asked = this.#waiting.shift();
    if (this.#waiting.length === 0) this.#worker.unref();
    if (answer.ok) asked?.resolve(answer.value);
    else asked?.reject(new StoreError("unwritable", `decisions cannot be kept: ${answer.message}`));
  }

  #break(what: string, cause?: Error): void {
    this.#broken ??= new StoreError("unwritable", `${what}${cause === undefined ? "" : `: ${cause.message}`}`, { cause });
    for (const asked of this.#waiting.splice(0)) asked.reject(this.#broken);
  }
}
