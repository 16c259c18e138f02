// A real authority, a real guard and a real grpc-js service behind it, with methods of every kind; and a caller whose calls go through elevate().
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type Guard, guard } from "@brevet/guard/grpc";
import { type Elevation, ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { startTestAuthority, type TestAuthority } from "@brevet/testing";
import { type Interceptor as ConnectInterceptor, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  type CallOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  type Interceptor,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { readError } from "../grpc/errors.ts";
import { type ElevateOptions, elevate } from "../grpc/grpc.ts";
import type { ProgressEvent } from "../grpc/progress.ts";
import { type Answer, until } from "./scene.ts";

export const DESK_AUDIENCE = "desk-test";
const entitlement = (name: string, methods: string, more = "") => `
  ${name}:
    description: ${name}
    methods: [${methods}]
    requesters: ["user:sam@test"]
    duration: { default: 10m, max: 20m }
    pending: 30m
    startWithin: 15m
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }${more}`;
const POLICY = `
apiVersion: brevet.dev/v1
audience: ${DESK_AUDIENCE}
groups: { "group:oncall": ["user:ana@test", "user:bo@test"] }
guards: ["workload:guard"]
roles: { admin: ["user:admin@test"] }
apply: { quorum: 1 }
services:
  test.v1.Desk:
    default: authenticated
    methods:
      Relay: { access: authenticated }
      Refund: { access: elevated }
      List: { access: elevated }
      Import: { access: elevated }
      Chat: { access: elevated }
      Show: { access: elevated }
      Migrate: { access: elevated, bind: payload }
      Sweep: { access: elevated, bind: payload }
whenStale: { after: 2s, then: known, atMost: 5m }
mode: enforce
entitlements:${entitlement("desk", "test.v1.Desk/Refund, test.v1.Desk/List, test.v1.Desk/Import, test.v1.Desk/Chat")}${entitlement("shown", "test.v1.Desk/Show", "\n    present: grant")}${entitlement("exact", "test.v1.Desk/Migrate, test.v1.Desk/Sweep")}
`;

const bytes = (value: Buffer): Buffer => value;
const KINDS = {
  Relay: [false, false],
  Refund: [false, false],
  Migrate: [false, false],
  List: [false, true],
  Sweep: [false, true],
  Import: [true, false],
  Show: [true, false],
  Chat: [true, true],
} as const;

export type DeskMethod = keyof typeof KINDS;
/** One method of each kind. */
export const EACH_KIND = ["Refund", "List", "Import", "Chat"] as const;

/** A call under way: what the program holds. */
export interface Running {
  readonly answer: Promise<Answer>;
  /** What came, as it comes. */
  readonly received: string[];
  /** Where the method takes a stream: the program's end of it. */
  readonly writing: ClientWritableStream<Buffer> | ClientDuplexStream<Buffer, Buffer> | undefined;
  cancel(): void;
}

/** All of it; ended when disposed. */
export class Guarded implements AsyncDisposable {
  readonly authority: TestAuthority;
  readonly events: ProgressEvent[] = [];
  /** Calls that reached a handler, with the messages that it read. */
  readonly handled: { readonly method: DeskMethod; readonly messages: string[] }[] = [];
  /** What List and Sweep answer to a request; a status that it throws ends the call. */
  listing: (request: string) => Iterable<string> = (request) => [request];
  /** What Relay, which anybody may call, does on behalf of its caller. */
  relay: (call: ServerUnaryCall<Buffer, Buffer>) => Promise<string> = () => Promise.resolve("");
  /** Cuts the guard off from the authority, for good. Callers still reach both. */
  cut: () => void = () => {};
  readonly #tokens = new Map<string, string>();
  readonly #cleanup = new AsyncDisposableStack();
  #port = 0;

  private constructor(authority: TestAuthority) {
    this.authority = authority;
  }

  static async open(): Promise<Guarded> {
    const desk = new Guarded(await startTestAuthority({ policy: POLICY }));
    const { authority } = desk;
    desk.#cleanup.use(authority);
    for (const audience of [DESK_AUDIENCE, "brevet"]) desk.#tokens.set(audience, await authority.token("user:sam@test", { audience }));
    const line = await openLine(authority.url);
    desk.cut = line.cut;
    desk.#cleanup.defer(line.cut);
    const guarding: Guard = guard({
      authority: line.url,
      audience: DESK_AUDIENCE,
      identity: (audience) => authority.token("workload:guard", { audience }),
      logger: { info: () => {}, warn: () => {}, error: () => {} },
    });
    desk.#cleanup.defer(() => guarding.close());
    await guarding.ready(AbortSignal.timeout(10_000));
    const server = new Server({ interceptors: [guarding.interceptor] });
    desk.#cleanup.defer(() => server.forceShutdown());
    const common = { requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes };
    const definition = Object.fromEntries(
      Object.entries(KINDS).map(([name, [requestStream, responseStream]]) => [
        name,
        { path: `/test.v1.Desk/${name}`, requestStream, responseStream, ...common },
      ]),
    );
    server.addService(definition, desk.#handlers());
    desk.#port = await new Promise((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
    });
    return desk;
  }

  /** A client whose calls go through elevate(), as the outermost of these interceptors. */
  client(options: Partial<ElevateOptions> = {}, below: readonly Interceptor[] = []): Client {
    return this.plainClient([elevate(this.options(options)), ...below]);
  }

  options(options: Partial<ElevateOptions> = {}): ElevateOptions {
    return {
      authority: this.authority.url,
      audience: DESK_AUDIENCE,
      // A function of its own for each scene, so that scenes share no session.
      identity: this.identity,
      wait: "20s",
      onProgress: (event) => this.events.push(event),
      ...options,
    };
  }

  plainClient(interceptors: Interceptor[]): Client {
    const client = new Client(`127.0.0.1:${this.#port}`, credentials.createInsecure(), { interceptors });
    this.#cleanup.defer(() => client.close());
    return client;
  }

  readonly identity = (audience: string): string => this.#tokens.get(audience) ?? "";

  /** The first event of a kind, now or later. */
  async event<K extends ProgressEvent["kind"]>(kind: K, from = 0): Promise<Extract<ProgressEvent, { kind: K }>> {
    return until(() => this.events.slice(from).find((event): event is Extract<ProgressEvent, { kind: K }> => event.kind === kind));
  }

  async as(principal: string) {
    const token = await this.authority.token(principal);
    const identify: ConnectInterceptor = (next) => (request) => {
      request.header.set("authorization", `Bearer ${token}`);
      return next(request);
    };
    return createClient(ElevationService, createGrpcTransport({ baseUrl: this.authority.url, interceptors: [identify] }));
  }

  async approve(id: string): Promise<void> {
    const ana = await this.as("user:ana@test");
    const { elevation } = await ana.get({ id });
    const payloadDigest = elevation?.payloadDigest?.value;
    await ana.approve({ id, requestId: `approve-${id}`, ...(payloadDigest && { payloadDigest }) });
  }

  /** The caller's elevations, newest first. */
  async mine(): Promise<Elevation[]> {
    return (await (await this.as("user:sam@test")).list({ filter: { mine: true } })).elevations;
  }

  #handlers() {
    const reads = (method: DeskMethod) => {
      const messages: string[] = [];
      this.handled.push({ method, messages });
      return messages;
    };
    type Reply = (error: null, value: Buffer) => void;
    const unary = (method: DeskMethod) => (call: ServerUnaryCall<Buffer, Buffer>, reply: Reply) => {
      reads(method).push(call.request.toString());
      reply(null, Buffer.from(`done ${call.request.toString()}`));
    };
    const listed = (method: DeskMethod) => async (call: ServerWritableStream<Buffer, Buffer>) => {
      const request = call.request.toString();
      reads(method).push(request);
      try {
        for (const line of this.listing(request)) if (!call.write(Buffer.from(line))) await once(call, "drain");
        call.end();
      } catch (error) {
        call.emit("error", error);
      }
    };
    const collected = (method: DeskMethod) => (call: ServerReadableStream<Buffer, Buffer>, reply: Reply) => {
      const messages = reads(method);
      call.on("data", (message: Buffer) => messages.push(message.toString()));
      call.on("end", () => reply(null, Buffer.from(`read ${messages.length}`)));
    };
    return {
      Relay: (call: ServerUnaryCall<Buffer, Buffer>, reply: Reply) =>
        void this.relay(call).then((answer) => reply(null, Buffer.from(answer))),
      Refund: unary("Refund"),
      Migrate: unary("Migrate"),
      List: listed("List"),
      Sweep: listed("Sweep"),
      Import: collected("Import"),
      Show: collected("Show"),
      Chat: (call: ServerDuplexStream<Buffer, Buffer>) => {
        const messages = reads("Chat");
        call.on("data", (message: Buffer) => {
          messages.push(message.toString());
          if (call.write(message)) return;
          call.pause();
          call.once("drain", () => call.resume());
        });
        call.on("end", () => call.end());
      },
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }
}

/** Starts a call. With `messages`, sends them and half-closes; otherwise a stream is the caller's to write. */
export function begin(client: Client, method: DeskMethod, messages?: readonly string[], options: CallOptions = {}): Running {
  const path = `/test.v1.Desk/${method}`;
  const [requestStream, responseStream] = KINDS[method];
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const received: string[] = [];
  const done = (error: ServiceError | null, value?: Buffer) => {
    if (value !== undefined) received.push(value.toString());
    const plain = { code: status.OK, message: "", metadata: {}, help: [], fieldViolations: [] };
    const read = error === null ? plain : readError(error);
    resolve({ code: error?.code ?? status.OK, message: error?.details ?? "", status: read, response: received.join("+") });
  };
  const follow = <T extends ClientReadableStream<Buffer>>(reading: T): T => {
    reading.on("data", (chunk: Buffer) => received.push(chunk.toString()));
    reading.on("error", (error: Error) => done(error as ServiceError));
    reading.on("end", () => done(null));
    return reading;
  };
  const [first = ""] = messages ?? [];
  const metadata = new Metadata();
  if (!requestStream && !responseStream) {
    const running = client.makeUnaryRequest(path, bytes, bytes, Buffer.from(first), metadata, options, done);
    return { answer: promise, received, writing: undefined, cancel: () => running.cancel() };
  }
  if (!requestStream) {
    const running = follow(client.makeServerStreamRequest(path, bytes, bytes, Buffer.from(first), metadata, options));
    return { answer: promise, received, writing: undefined, cancel: () => running.cancel() };
  }
  const writing = responseStream
    ? follow(client.makeBidiStreamRequest(path, bytes, bytes, metadata, options))
    : client.makeClientStreamRequest(path, bytes, bytes, metadata, options, done);
  if (messages !== undefined) {
    for (const message of messages) writing.write(Buffer.from(message));
    writing.end();
  }
  return { answer: promise, received, writing, cancel: () => writing.cancel() };
}

/** A line to an authority that can be cut. */
async function openLine(authority: string): Promise<{ readonly url: string; cut(): void }> {
  const { hostname, port } = new URL(authority);
  const ends = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const end of [near, far]) {
      ends.add(end);
      end.on("error", () => {});
      end.on("close", () => {
        ends.delete(end);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far);
    far.pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    server.close();
    for (const end of ends) end.destroy();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, cut };
}
