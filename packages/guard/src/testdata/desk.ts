// The desk of desk.proto behind a guard, its handlers on any coder of messages, and callers on any other.
import {
  Client,
  compressionAlgorithms,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerInterceptor,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import type { Coder } from "./coders.ts";

/** What a handler was given: the message, and the bytes that it was read from. */
export interface Arrived {
  readonly bytes: Buffer;
  readonly message: unknown;
}

/** A desk that listens. */
export interface Desk extends Disposable {
  readonly port: number;
  /** What reached a handler, in order. */
  readonly arrived: Arrived[];
}

/** The desk behind the guard, its handlers on one coder. */
export async function startDesk(guard: ServerInterceptor, coder: Coder): Promise<Desk> {
  const arrived: Arrived[] = [];
  const server = new Server({ interceptors: [guard] });
  const codes = {
    requestSerialize: coder.serialize,
    requestDeserialize: (bytes: Buffer) => {
      const message = coder.deserialize(bytes);
      arrived.push({ bytes: Buffer.from(bytes), message });
      return message;
    },
    responseSerialize: coder.serialize,
    responseDeserialize: coder.deserialize,
  };
  const handled: unknown[] = [];
  server.addService(
    {
      Book: { path: "/desk.v1.Desk/Book", requestStream: false, responseStream: false, ...codes },
      Follow: { path: "/desk.v1.Desk/Follow", requestStream: false, responseStream: true, ...codes },
      Talk: { path: "/desk.v1.Desk/Talk", requestStream: true, responseStream: true, ...codes },
    },
    {
      Book: (call: { request: unknown }, callback: (error: null, value: unknown) => void) => {
        handled.push(call.request);
        callback(null, call.request);
      },
      Follow: (call: { request: unknown; write(value: unknown): void; end(): void }) => {
        handled.push(call.request);
        call.write(call.request);
        call.end();
      },
      Talk: (call: ServerDuplexStream<unknown, unknown>) => {
        call.on("data", (message: unknown) => {
          handled.push(message);
          call.write(message);
        });
        call.on("end", () => call.end());
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return {
    port,
    // Handlers are given the very messages that were decoded.
    get arrived() {
      return arrived.filter(({ message }) => handled.includes(message));
    },
    [Symbol.dispose]: () => server.forceShutdown(),
  };
}

/** Of the desk. */
export type DeskMethod = "Book" | "Follow";

/** What came of a call. */
export interface DeskAnswer {
  readonly code: number;
  readonly message: string;
  readonly response: unknown;
}

/** A caller on one coder. */
export class DeskCaller implements Disposable {
  readonly #client: Client;
  readonly #coder: Coder;

  constructor(port: number, coder: Coder, compress = false) {
    this.#coder = coder;
    const options = compress ? { "grpc.default_compression_algorithm": compressionAlgorithms.gzip } : {};
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), options);
  }

  /** `message`: of the coder's kind, or bytes. */
  call(method: DeskMethod, authorization: string, message: unknown): Promise<DeskAnswer> {
    const metadata = new Metadata();
    metadata.set("authorization", authorization);
    const { serialize, deserialize } = this.#coder;
    const write = (value: unknown) => (Buffer.isBuffer(value) ? value : serialize(value));
    const path = `/desk.v1.Desk/${method}`;
    const options = { deadline: Date.now() + 30_000 };
    return new Promise((resolve) => {
      const done = (error: ServiceError | null, response?: unknown) =>
        resolve({ code: error?.code ?? status.OK, message: error?.details ?? "", response });
      if (method === "Book") {
        this.#client.makeUnaryRequest(path, write, deserialize, message, metadata, options, done);
        return;
      }
      const call = this.#client.makeServerStreamRequest(path, write, deserialize, message, metadata, options);
      let response: unknown;
      call.on("data", (value: unknown) => {
        response = value;
      });
      call.on("error", (error: ServiceError) => done(error));
      call.on("end", () => setImmediate(() => done(null, response)));
    });
  }

  /** Sends the next message once the answer to the one before came. */
  talk(authorization: string, messages: readonly unknown[]): Promise<DeskAnswer & { readonly responses: number }> {
    const metadata = new Metadata();
    metadata.set("authorization", authorization);
    const { serialize, deserialize } = this.#coder;
    const call = this.#client.makeBidiStreamRequest("/desk.v1.Desk/Talk", serialize, deserialize, metadata, {
      deadline: Date.now() + 30_000,
    });
    let responses = 0;
    const next = () => {
      if (responses < messages.length) call.write(messages[responses]);
      else call.end();
    };
    return new Promise((resolve) => {
      call.on("data", () => {
        responses += 1;
        next();
      });
      call.on("error", ({ code, details }: ServiceError) => resolve({ code, message: details, response: undefined, responses }));
      call.on("end", () => setImmediate(() => resolve({ code: status.OK, message: "", response: undefined, responses })));
      next();
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
