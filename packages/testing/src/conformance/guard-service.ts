// The service behind the guard: real grpc-js, every kind of method, bytes in and bytes out, and a handler that tests can replace.
// Records what reached it; never judges a call.
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerInterceptor,
  type ServerOptions,
  type ServerUnaryCall,
  type ServiceDefinition,
  type StatusObject,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { Signals } from "./guard-signals.ts";
import { METHODS, type WorldMethod } from "./guard-world.ts";

const bytes = (value: Buffer): Buffer => value;

/** A gRPC service with its handlers, as grpc-js takes them: every message is its wire bytes. */
export interface ServedService {
  readonly definition: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
}

/** One call as it reached its handler. */
export interface HandledCall {
  /** `package.Service/Method`. */
  readonly method: string;
  readonly metadata: Metadata;
  /** When the caller gives up, milliseconds since 1970 on this machine's clock; Infinity: never. */
  readonly deadlineMs: number;
  /** Messages that arrived. */
  readonly messages: readonly Buffer[];
  /** The caller sends no more. */
  readonly halfClosed: boolean;
  /** The call ended before the handler ended it. */
  readonly cancelled: boolean;
  /** The next message; undefined once there are no more. */
  next(): Promise<Buffer | undefined>;
  sendMetadata(metadata: Metadata): void;
  /** Methods with one response send the last that was written. */
  write(message: Buffer): void;
  /** The first time counts. */
  end(status?: Partial<StatusObject>): void;
}

/** What a handler does with a call. */
export type Script = (call: HandledCall) => Promise<void> | void;

/** Every message comes back as it was, and the end after the caller's. */
export const echo: Script = async (call) => {
  for (let message = await call.next(); message !== undefined; message = await call.next()) call.write(message);
  call.end();
};

/** The service of the suite. */
export class WorldService {
  /** Calls in the order in which they reached a handler. */
  readonly handled: HandledCall[] = [];
  #script: Script = echo;
  readonly #signals = new Signals();

  /** For the form to serve. */
  readonly services: readonly ServedService[] = Object.entries(METHODS).map(([service, methods]) => ({
    definition: Object.fromEntries(methods.map((method) => [method.name, definitionOf(service, method)])),
    handlers: Object.fromEntries(methods.map((method) => [method.name, this.#handler(`${service}/${method.name}`, method)])),
  }));

  /** Handlers do this while `body` runs. */
  async during<T>(script: Script, body: () => Promise<T>): Promise<T> {
    this.#script = script;
    try {
      return await body();
    } finally {
      this.#script = echo;
    }
  }

  /** Calls of one method that reached its handler. */
  callsOf(method: string): readonly HandledCall[] {
    return this.handled.filter((call) => call.method === method);
  }

  /** Resolves once `condition` holds of what reached handlers. */
  until(condition: () => boolean, what: string): Promise<void> {
    return this.#signals.until(condition, what);
  }

  #handler(method: string, { requestStream, responseStream }: WorldMethod): UntypedServiceImplementation[string] {
    const take = (call: Call, finish: Finish | undefined): void => {
      const handled = new Handled(method, call, { requestStream, responseStream }, finish, this.#signals);
      this.handled.push(handled);
      this.#signals.changed();
      void run(this.#script, handled);
    };
    if (responseStream) return (call: Call) => take(call, undefined);
    return (call: Call, finish: Finish) => take(call, finish);
  }
}

/** What the kinds of calls of grpc-js have in common, or may have. */
type Call = Omit<ServerUnaryCall<Buffer, Buffer>, "request"> & {
  readonly request?: Buffer;
  write?(message: Buffer): unknown;
  end?(trailers?: Metadata): unknown;
};
type Finish = sendUnaryData<Buffer>;

async function run(script: Script, call: HandledCall): Promise<void> {
  try {
    await script(call);
  } catch (error) {
    call.end({ code: status.INTERNAL, details: `the handler failed: ${String(error)}` });
  }
}

class Handled implements HandledCall {
  readonly method: string;
  readonly metadata: Metadata;
  readonly deadlineMs: number;
  readonly messages: Buffer[] = [];
  halfClosed = false;
  cancelled = false;
  readonly #call: Call;
  readonly #responseStream: boolean;
  readonly #finish: Finish | undefined;
  readonly #signals: Signals;
  #read = 0;
  #ended = false;
  #response: Buffer = Buffer.alloc(0);

  constructor(
    method: string,
    call: Call,
    kind: Pick<WorldMethod, "requestStream" | "responseStream">,
    finish: Finish | undefined,
    signals: Signals,
  ) {
    this.method = method;
    this.metadata = call.metadata;
    const deadline = call.getDeadline();
    this.deadlineMs = deadline instanceof Date ? deadline.getTime() : deadline;
    this.#call = call;
    this.#responseStream = kind.responseStream;
    this.#finish = finish;
    this.#signals = signals;
    if (call.request !== undefined) {
      this.messages.push(call.request);
      this.halfClosed = true;
    } else if (kind.requestStream) {
      call.on("data", (message: Buffer) => {
        this.messages.push(message);
        signals.changed();
      });
      call.on("end", () => {
        this.halfClosed = true;
        signals.changed();
      });
    }
    // What goes wrong on the wire shows as a cancelled call.
    call.on("error", () => {});
    call.on("cancelled", () => {
      this.cancelled = true;
      signals.changed();
    });
  }

  async next(): Promise<Buffer | undefined> {
    const wanted = this.#read;
    this.#read += 1;
    const there = (): boolean => this.messages.length > wanted || this.halfClosed || this.cancelled;
    await this.#signals.until(there, `message ${wanted} of ${this.method}`);
    return this.messages[wanted];
  }

  sendMetadata(metadata: Metadata): void {
    this.#call.sendMetadata(metadata);
  }

  write(message: Buffer): void {
    if (this.#responseStream) this.#call.write?.(message);
    else this.#response = message;
  }

  end(ended: Partial<StatusObject> = {}): void {
    if (this.cancelled || this.#ended) return;
    this.#ended = true;
    const failed = ended.code !== undefined && ended.code !== status.OK;
    if (this.#finish !== undefined) {
      if (failed) this.#finish(ended);
      else this.#finish(null, this.#response, ended.metadata);
    } else if (failed) this.#call.emit("error", ended);
    else this.#call.end?.(ended.metadata);
  }
}

function definitionOf(service: string, { name, requestStream, responseStream }: WorldMethod): ServiceDefinition[string] {
  return {
    path: `/${service}/${name}`,
    requestStream,
    responseStream,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
}

/** A grpc-js server on a free port of loopback, closed when disposed. */
export interface ServedServer extends AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly address: string;
}

/** Serves services with grpc-js, without TLS: with a guard's interceptor, or bare, for a guard that stands before it. */
export async function serve(
  services: readonly ServedService[],
  interceptors: readonly ServerInterceptor[] = [],
  options: ServerOptions = {},
  prepare: (server: Server) => void = () => {},
): Promise<ServedServer> {
  const server = new Server({ ...options, interceptors: [...interceptors] });
  prepare(server);
  for (const { definition, handlers } of services) server.addService(definition, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return {
    address: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]() {
      server.forceShutdown();
      return Promise.resolve();
    },
  };
}
