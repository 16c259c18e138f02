// A test authority, a proxy, an unguarded grpc-js service behind it and a grpc-js client before it, together.
import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { Duplex, Writable } from "node:stream";
import { type ReceivedStatus, readStatus, STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import {
  type CallOptions,
  type ChannelCredentials,
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type StatusObject,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { type Proxy, type ProxyOptions, proxy } from "../proxy/proxy.ts";
import { GUARD_TOKEN, TestAuthority, type TestAuthorityOptions } from "./authority.ts";
import { AUDIENCE, DESCRIPTORS, METHODS, POLICY } from "./facts.ts";

const bytes = (value: Buffer): Buffer => value;
type Kinds = typeof METHODS;
export type RelayedMethod = keyof Kinds;

type Unary = (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => void;
type ServerStream = (call: ServerWritableStream<Buffer, Buffer>) => void;
type ClientStream = (call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) => void;
type Bidi = (call: ServerDuplexStream<Buffer, Buffer>) => void;

/** Handlers of the service behind the proxy; those that a test leaves out echo. */
export interface Handlers {
  readonly unary?: Unary;
  readonly watch?: ServerStream;
  readonly import?: ClientStream;
  readonly chat?: Bidi;
}

/** What came of a call. */
export interface Relayed {
  readonly code: number;
  readonly message: string;
  readonly status: ReceivedStatus;
  readonly initial: Metadata | undefined;
  readonly trailers: Metadata;
  readonly messages: readonly Buffer[];
}

/** All of it. */
export interface RelayScene extends AsyncDisposable {
  readonly authority: TestAuthority;
  readonly proxy: Proxy;
  readonly client: Client;
  /** Calls that reached the service: method and metadata. */
  readonly handled: { readonly method: string; readonly metadata: Metadata }[];
  readonly lines: Record<string, unknown>[];
  as(principal?: string, claims?: Parameters<TestAuthority["token"]>[1]): Promise<string>;
  /** Calls a method of any kind with these messages, and waits for its end. */
  call(
    method: RelayedMethod,
    metadata?: Metadata | Record<string, string>,
    messages?: readonly Uint8Array[],
    options?: CallOptions,
  ): Promise<Relayed>;
}

/** What a test may set. */
export interface RelayOptions extends Partial<TestAuthorityOptions> {
  readonly handlers?: Handlers;
  readonly proxy?: Partial<ProxyOptions>;
  readonly credentials?: ChannelCredentials;
  readonly target?: (port: number) => string;
}

/** Starts all of them, and waits until the proxy is ready. */
export async function relay(options: RelayOptions = {}): Promise<RelayScene> {
  await using stack = new AsyncDisposableStack();
  const authority = stack.use(await TestAuthority.start({ policy: POLICY, descriptors: DESCRIPTORS, ...options }));
  const handled: RelayScene["handled"] = [];
  const backend = await serve(options.handlers ?? {}, handled);
  stack.defer(() => backend.server.forceShutdown());
  const lines: Record<string, unknown>[] = [];
  const write = (fields: object, message: string): void => void lines.push({ ...fields, message });
  const running = stack.use(
    await proxy({
      authority: authority.url,
      audience: AUDIENCE,
      identity: () => GUARD_TOKEN,
      logger: { info: write, warn: write, error: write },
      listen: "127.0.0.1:0",
      upstream: `127.0.0.1:${backend.port}`,
      ...options.proxy,
      limits: { drainMs: 200, ...options.proxy?.limits },
    }),
  );
  await running.ready(AbortSignal.timeout(10_000));
  const target = options.target?.(running.port) ?? `127.0.0.1:${running.port}`;
  const client = new Client(target, options.credentials ?? credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
    "grpc.use_local_subchannel_pool": 1,
  });
  stack.defer(() => client.close());
  const parts = stack.move();
  return {
    authority,
    proxy: running,
    client,
    handled,
    lines,
    as: async (principal, claims) => `Bearer ${await authority.token(principal, claims)}`,
    call: (method, metadata = {}, messages = [Buffer.from("x")], callOptions = {}) =>
      callWith(client, method, metadata instanceof Metadata ? metadata : metadataOf(metadata), messages, callOptions),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

/** The path of a method of the service. */
export function pathOf(method: RelayedMethod): string {
  return `/test.v1.Ledger/${method}`;
}

async function serve(handlers: Handlers, handled: RelayScene["handled"]): Promise<{ server: Server; port: number }> {
  const server = new Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  const unary: Unary = handlers.unary ?? ((call, done) => done(null, call.request));
  const watch: ServerStream =
    handlers.watch ??
    ((call) => {
      for (let i = 0; i < 3; i += 1) call.write(call.request);
      call.end();
    });
  const take: ClientStream =
    handlers.import ??
    ((call, done) => {
      const parts: Buffer[] = [];
      call.on("data", (part: Buffer) => parts.push(part));
      call.on("end", () => done(null, Buffer.concat(parts)));
    });
  const chat: Bidi =
    handlers.chat ??
    ((call) => {
      call.on("data", (part: Buffer) => call.write(part));
      call.on("end", () => call.end());
    });
  const byKind = { unary, watch, import: take, chat };
  const names = Object.keys(METHODS) as RelayedMethod[];
  const definitions = names.map((name) => {
    const [requestStream, responseStream] = METHODS[name];
    const codec = { requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes };
    return [name, { path: pathOf(name), requestStream, responseStream, ...codec }] as const;
  });
  const implementations = names.map((name) => {
    const [requestStream, responseStream] = METHODS[name];
    const kind = requestStream ? (responseStream ? "chat" : "import") : responseStream ? "watch" : "unary";
    const handler = (call: { metadata: Metadata }, done: unknown) => {
      handled.push({ method: name, metadata: call.metadata });
      Reflect.apply(byKind[kind], undefined, [call, done]);
    };
    return [name, handler] as const;
  });
  server.addService(Object.fromEntries(definitions), Object.fromEntries(implementations));
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return { server, port };
}

function callWith(
  client: Client,
  method: RelayedMethod,
  metadata: Metadata,
  messages: readonly Uint8Array[],
  options: CallOptions,
): Promise<Relayed> {
  const [requestStream, responseStream] = METHODS[method];
  const path = pathOf(method);
  const [first = Buffer.alloc(0)] = messages;
  const within = { deadline: new Date(Date.now() + 20_000), ...options };
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    let initial: Metadata | undefined;
    const done = (error: ServiceError | null, value?: Buffer): void => {
      if (value !== undefined) received.push(value);
      void error;
    };
    const request = Buffer.from(first);
    const stream =
      requestStream && responseStream
        ? client.makeBidiStreamRequest(path, bytes, bytes, metadata, within)
        : requestStream
          ? client.makeClientStreamRequest(path, bytes, bytes, metadata, within, done)
          : responseStream
            ? client.makeServerStreamRequest(path, bytes, bytes, request, metadata, within)
            : client.makeUnaryRequest(path, bytes, bytes, request, metadata, within, done);
    stream.on("error", () => {});
    stream.on("metadata", (came: Metadata) => (initial = came));
    if (responseStream) stream.on("data", (value: Buffer) => received.push(value));
    // The callback of a unary call comes before its status.
    stream.on("status", (ended: StatusObject) => {
      setImmediate(() => resolve({ ...endOf(ended), initial, messages: received }));
    });
    if (stream instanceof Writable || stream instanceof Duplex) {
      for (const message of messages) stream.write(Buffer.from(message));
      stream.end();
    }
  });
}

function endOf({ code, details, metadata }: StatusObject) {
  const [packed] = metadata.get(STATUS_DETAILS_TRAILER);
  const status = readStatus(code, details, Buffer.isBuffer(packed) ? packed : undefined);
  return { code, message: details, status, trailers: metadata };
}

/** Metadata of texts. */
export function metadataOf(fields: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(fields)) metadata.add(name, value);
  return metadata;
}

/** A service on bare HTTP/2, for what no gRPC library does. */
export interface RawService extends AsyncDisposable {
  readonly port: number;
  readonly server: Http2Server;
  readonly sessions: Set<ServerHttp2Session>;
}

/** Starts one on a port, or any. */
export async function rawService(
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, raw: readonly string[]) => void,
  settings = {},
  port = 0,
): Promise<RawService> {
  const server = createServer({ settings, strictSingleValueFields: false });
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
    session.on("close", () => sessions.delete(session));
  });
  server.on("stream", (stream, headers, _flags, raw) => {
    stream.on("error", () => {});
    onStream(stream, headers, raw);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    server,
    sessions,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    },
  };
}

/** What a call on bare HTTP/2 brought. */
export interface RawAnswer {
  readonly headers: IncomingHttpHeaders;
  readonly flags: number;
  readonly raw: readonly string[];
  readonly trailers: IncomingHttpHeaders | undefined;
  readonly body: Buffer;
  readonly rstCode: number;
}

/** A connection on bare HTTP/2. */
export function rawConnect(port: number): ClientHttp2Session {
  const lenient = { settings: {}, strictSingleValueFields: false };
  const session = connect(`http://127.0.0.1:${port}`, lenient);
  session.on("error", () => {});
  return session;
}

/** One call with these headers, names and values in turn; `body` is sent as it is, and the request ended unless `open`. */
export async function rawCall(
  session: ClientHttp2Session,
  headers: readonly string[],
  body?: Uint8Array,
  open = false,
): Promise<RawAnswer> {
  const stream = session.request([...headers], { endStream: false });
  stream.on("error", () => {});
  let responded: { headers: IncomingHttpHeaders; flags: number; raw: readonly string[] } = { headers: {}, flags: 0, raw: [] };
  let trailers: IncomingHttpHeaders | undefined;
  const parts: Buffer[] = [];
  stream.on("response", (came, flags, raw) => (responded = { headers: came, flags, raw: raw ?? [] }));
  stream.on("trailers", (came) => (trailers = came));
  stream.on("data", (part: Buffer) => parts.push(part));
  if (body !== undefined) stream.write(body);
  if (!open) stream.end();
  await new Promise<void>((resolve) => stream.once("close", resolve));
  return { ...responded, trailers, body: Buffer.concat(parts), rstCode: stream.rstCode ?? 0 };
}

/** Headers of a gRPC call on bare HTTP/2. */
export function rawHeaders(path: string, ...more: readonly string[]): readonly string[] {
  return [
    ":method",
    "POST",
    ":scheme",
    "http",
    ":authority",
    "ledger",
    ":path",
    path,
    "te",
    "trailers",
    "content-type",
    "application/grpc",
    ...more,
  ];
}

/** A length-prefixed message. */
export function framed(message: Uint8Array, compressed = false): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed ? 1 : 0;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
