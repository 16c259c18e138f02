// A guarded service for tests: real grpc-js server and client on loopback, with methods of every kind that pass bytes through.
import { type ReceivedStatus, readStatus, STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import {
  Client,
  credentials,
  Metadata,
  type MetadataValue,
  Server,
  ServerCredentials,
  type ServerInterceptor,
  type ServerOptions,
  type ServiceError,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { METHODS } from "./facts.ts";

const bytes = (value: Buffer): Buffer => value;
const definition = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.v1.Ledger/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});

export type MethodName = keyof typeof METHODS;

const names = Object.keys(METHODS) as MethodName[];
const service = Object.fromEntries(names.map((name) => [name, definition(name, METHODS[name][0], METHODS[name][1])])) as Record<
  MethodName,
  ReturnType<typeof definition>
>;

/** What came of a call. */
export interface Answer {
  readonly code: number;
  readonly message: string;
  readonly status: ReceivedStatus;
  readonly trailers: Metadata;
  readonly response?: Buffer;
}

/** A server and a client of it; both closed when disposed. */
export class TestService implements AsyncDisposable {
  /** Calls that reached a handler: method and the metadata that it saw. */
  readonly handled: { readonly method: string; readonly metadata: Readonly<Record<string, MetadataValue>> }[] = [];
  readonly port: number;
  readonly #server: Server;
  readonly #client: Client;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  }

  static async start(interceptors: readonly ServerInterceptor[], options: ServerOptions = {}): Promise<TestService> {
    const server = new Server({ ...options, interceptors: [...interceptors] });
    let started: TestService | undefined;
    const seen = (method: string, metadata: Metadata) => started?.handled.push({ method, metadata: metadata.getMap() });
    const unary = (method: string) => (call: { metadata: Metadata; request: Buffer }, callback: (error: null, value: Buffer) => void) => {
      seen(method, call.metadata);
      callback(null, call.request);
    };
    server.addService(service, {
      Refund: unary("Refund"),
      GetEntry: unary("GetEntry"),
      Ping: unary("Ping"),
      Hidden: unary("Hidden"),
      Limited: unary("Limited"),
      Bound: unary("Bound"),
      Shown: unary("Shown"),
      Watch: (call: { metadata: Metadata; write(value: Buffer): void; end(): void }) => {
        seen("Watch", call.metadata);
        call.write(Buffer.from("a"));
        call.end();
      },
      Import: (
        call: { metadata: Metadata; on(event: string, listener: () => void): void },
        callback: (error: null, value: Buffer) => void,
      ) => {
        seen("Import", call.metadata);
        call.on("data", () => {});
        call.on("end", () => callback(null, Buffer.from("done")));
      },
      Chat: (call: { metadata: Metadata; on(event: string, listener: () => void): void; end(): void }) => {
        seen("Chat", call.metadata);
        call.on("data", () => {});
        call.on("end", () => call.end());
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    started = new TestService(server, port);
    return started;
  }

  /** Calls a method of any kind with one message, and waits for its end. */
  call(
    method: MethodName,
    headers: Readonly<Record<string, string | readonly string[]>> = {},
    message: Uint8Array = Buffer.from("x"),
  ): Promise<Answer> {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers))
      for (const one of typeof value === "string" ? [value] : value) metadata.add(name, one);
    const { path, requestStream, responseStream } = service[method];
    const request = Buffer.from(message);
    const deadline = { deadline: new Date(Date.now() + 10_000) };
    return new Promise((resolve) => {
      let trailers = new Metadata();
      let response: Buffer | undefined;
      const done = (error: ServiceError | null, value?: Buffer) => {
        // The status event comes after the callback.
        setImmediate(() => resolve(answerOf(error, trailers, value ?? response)));
      };
      const failed = (call: {
        on(event: "error", listener: (error: ServiceError) => void): void;
        on(event: "status", listener: (ended: StatusObject) => void): void;
      }) => {
        let error: ServiceError | null = null;
        call.on("error", (one) => {
          error = one;
        });
        call.on("status", (ended) => {
          trailers = ended.metadata;
          setImmediate(() => done(error));
        });
      };
      if (responseStream && requestStream) {
        const call = this.#client.makeBidiStreamRequest(path, bytes, bytes, metadata, deadline);
        call.on("data", () => {});
        failed(call);
        call.write(request);
        call.end();
      } else if (responseStream) {
        const call = this.#client.makeServerStreamRequest(path, bytes, bytes, request, metadata, deadline);
        call.on("data", (value: Buffer) => {
          response = value;
        });
        failed(call);
      } else if (requestStream) {
        const call = this.#client.makeClientStreamRequest(path, bytes, bytes, metadata, deadline, done);
        call.on("status", (ended) => {
          trailers = ended.metadata;
        });
        call.write(request);
        call.end();
      } else {
        const call = this.#client.makeUnaryRequest(path, bytes, bytes, request, metadata, deadline, done);
        call.on("status", (ended) => {
          trailers = ended.metadata;
        });
      }
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    this.#server.forceShutdown();
    return Promise.resolve();
  }
}

function answerOf(error: ServiceError | null, trailers: Metadata, response: Buffer | undefined): Answer {
  const code = error?.code ?? status.OK;
  const message = error?.details ?? "";
  const [details] = (error?.metadata ?? trailers).get(STATUS_DETAILS_TRAILER);
  const read = readStatus(code, message, Buffer.isBuffer(details) ? details : undefined);
  return { code, message, status: read, trailers: error?.metadata ?? trailers, ...(response && { response }) };
}
