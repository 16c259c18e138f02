// The service: payments.v1.Ledger over a book, with health and reflection. Translates between calls and the book.
// Never decides who may call: that is the interceptor's part, if one is given.
import { create } from "@bufbuild/protobuf";
import {
  Server,
  type ServerCredentials,
  type ServerInterceptor,
  type ServerWritableStream,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { type Book, MAX_IMPORT, type NewCharge, type Outcome } from "./book.ts";
import {
  type Entry,
  FollowResponseSchema,
  GetEntryResponseSchema,
  ImportResponseSchema,
  Ledger,
  ListEntriesResponseSchema,
  MigrateResponseSchema,
  type ReconcileRequest,
  type ReconcileResponse,
  ReconcileResponseSchema,
  RefundResponseSchema,
} from "./gen/payments/v1/ledger_pb.ts";
import { type Handlers, serviceDefinition } from "./grpc.ts";
import { addReflection } from "./reflection.ts";

/** A ledger that can listen. */
export interface LedgerServer {
  /** Listens at `host:port` (port 0: any) and answers with the port. @throws Error where the address is taken. */
  listen(address: string, credentials: ServerCredentials): Promise<number>;
  /** Health answers SERVING from now on; NOT_SERVING before. */
  serving(): void;
  /** Ends: follows are told UNAVAILABLE, other calls may finish within `graceMs`, then all is cut. */
  drain(graceMs: number): Promise<void>;
}

const PAGE = 200;

/** The ledger on a book, behind the given interceptors. The book stays the caller's to close. */
export function createLedgerServer(options: {
  readonly book: Book;
  readonly interceptors?: ServerInterceptor[];
  /** Has the guard answer `brevet doctor` on this server. */
  readonly addProbe?: (server: Server) => void;
}): LedgerServer {
  const stop = new AbortController();
  const health = new HealthImplementation({ "": "NOT_SERVING", [Ledger.typeName]: "NOT_SERVING" });
  const server = new Server({ interceptors: options.interceptors ?? [], "grpc.max_concurrent_streams": 1000 });
  server.addService(serviceDefinition(Ledger), handlers(options.book, stop.signal));
  options.addProbe?.(server);
  health.addToServer(server);
  addReflection(server, Ledger);
  const setHealth = (now: "SERVING" | "NOT_SERVING") => {
    for (const service of ["", Ledger.typeName]) health.setStatus(service, now);
  };
  return {
    listen: (address, credentials) =>
      new Promise((resolve, reject) => {
        server.bindAsync(address, credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
      }),
    serving: () => setHealth("SERVING"),
    drain: (graceMs) =>
      new Promise((resolve) => {
        setHealth("NOT_SERVING");
        stop.abort();
        // A watch of health has no end of its own.
        const late = setTimeout(() => server.forceShutdown(), graceMs);
        server.tryShutdown(() => {
          clearTimeout(late);
          resolve();
        });
      }),
  };
}

function handlers(book: Book, stop: AbortSignal): Handlers<typeof Ledger> {
  return {
    refund: (call, callback) =>
      answer(
        callback,
        () => book.refund(call.request),
        (entry) => create(RefundResponseSchema, { entry }),
      ),
    getEntry: (call, callback) =>
      answer(
        callback,
        () => book.entry(call.request.id),
        (entry) => create(GetEntryResponseSchema, { entry }),
      ),
    listEntries: (call) => {
      stream(book, call, (entry) => create(ListEntriesResponseSchema, { entry })).catch((error: unknown) =>
        call.emit("error", fault(error)),
      );
    },
    follow: (call) => {
      stream(book, call, (entry) => create(FollowResponseSchema, { entry }), stop).catch((error: unknown) =>
        call.emit("error", fault(error)),
      );
    },
    import: (call, callback) => {
      const charges: NewCharge[] = [];
      call.on("data", (charge: NewCharge) => {
        // One too many is enough to refuse; the rest is read and dropped.
        if (charges.length <= MAX_IMPORT) charges.push(charge);
      });
      const settle = () => {
        if (call.cancelled) return;
        answer(
          callback,
          () => book.charge(charges),
          (entries) => create(ImportResponseSchema, { imported: entries.length }),
        );
      };
      // A cancelled stream ends too, and is marked as cancelled only after that.
      call.on("end", () => setImmediate(settle));
    },
    reconcile: (call) => {
      call.on("data", (line: ReconcileRequest) => {
        try {
          if (call.write(reconcile(book, line))) return;
        } catch (error) {
          call.emit("error", fault(error));
          return;
        }
        call.pause();
        call.once("drain", () => call.resume());
      });
      call.on("end", () => call.end());
    },
    migrate: (call, callback) =>
      answer(
        callback,
        () => book.migrate(call.request.targetFormat, call.request.dryRun),
        (rewritten) => create(MigrateResponseSchema, { rewritten }),
      ),
  };
}

type Failure = Pick<StatusObject, "code" | "details">;

/** Answers with what the book says. What it throws is INTERNAL to the caller and goes to the log, never the other way round. */
function answer<T, R>(callback: (error: Failure | null, response?: R) => void, ask: () => Outcome<T>, response: (value: T) => R): void {
  let outcome: Outcome<T>;
  try {
    outcome = ask();
  } catch (error) {
    return callback(fault(error));
  }
  if (outcome.ok) callback(null, response(outcome.value));
  else callback({ code: outcome.code, details: outcome.message });
}

function fault(error: unknown): Failure {
  console.error(`ledger: ${error instanceof Error ? error.stack : String(error)}`);
  return { code: status.INTERNAL, details: "the ledger could not answer; see its log" };
}

function reconcile(book: Book, line: ReconcileRequest): ReconcileResponse {
  const found = book.entry(line.id);
  const difference = !found.ok
    ? "not in the book"
    : found.value.amountCents === line.amountCents
      ? ""
      : `the book has ${found.value.amountCents}, the statement ${line.amountCents}`;
  return create(ReconcileResponseSchema, { id: line.id, matches: difference === "", difference });
}

/** Writes pages for as long as there are any, no faster than the caller reads; then, until `stop`, waits for more where that is given. */
async function stream<R>(
  book: Book,
  call: ServerWritableStream<{ account: string }, R>,
  response: (entry: Entry) => R,
  stop?: AbortSignal,
): Promise<void> {
  let wake = () => {};
  const signal = () => wake();
  const watch = book.watch(signal);
  for (const event of ["cancelled", "drain", "error"]) call.on(event, signal);
  stop?.addEventListener("abort", signal);
  try {
    for (let after = ""; !call.cancelled; ) {
      if (stop?.aborted) {
        call.emit("error", { code: status.UNAVAILABLE, details: "the ledger is shutting down; follow again" });
        return;
      }
      // Made before looking, so that no change falls between the look and the wait.
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const page = call.writableNeedDrain ? [] : book.entries(after, call.request.account, PAGE);
      for (const entry of page) {
        after = entry.id;
        call.write(response(entry));
      }
      if (page.length > 0) continue;
      if (stop === undefined && !call.writableNeedDrain) return void call.end();
      await woken;
    }
  } finally {
    watch[Symbol.dispose]();
    stop?.removeEventListener("abort", signal);
  }
}
