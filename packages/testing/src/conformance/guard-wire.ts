// The suite's client: gRPC over HTTP/2, frame by frame, so that nothing a guard answers is tidied up by a library on the way.
// Retries nothing, judges nothing; reads only.
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants, type IncomingHttpHeaders } from "node:http2";
import { gunzipSync } from "node:zlib";
import { Signals } from "./guard-signals.ts";

/** Metadata of a call: names, in lower case, and values; a name may come again. Binary values are base64 already. */
export type Headers = readonly (readonly [name: string, value: string])[];

/** What came of a call. */
export interface WireAnswer {
  /** gRPC status code; undefined where the call ended without one. */
  readonly code: number | undefined;
  readonly message: string;
  /** The status came with the first headers: nothing was committed before. */
  readonly trailersOnly: boolean;
  /** Initial metadata; empty where there was none. */
  readonly headers: IncomingHttpHeaders;
  /** Trailers, or the only headers. */
  readonly trailers: IncomingHttpHeaders;
  /** Messages, after decompression. */
  readonly messages: readonly Buffer[];
  /** How many of them came compressed. */
  readonly compressed: number;
  /** HTTP/2 error code that the stream was reset with; 0: none. */
  readonly reset: number;
}

/** A connection to a guarded service; closed when disposed. */
export class WireClient implements Disposable {
  readonly #session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
  }

  /** Connects to `host:port`, without TLS. */
  static async connect(address: string): Promise<WireClient> {
    // Names that should come once are to come twice, and headers larger than others allow.
    const options = { strictSingleValueFields: false, maxSendHeaderBlockLength: 1_048_576 };
    const session = connect(`http://${address}`, options);
    await once(session, "connect");
    session.on("error", () => {});
    return new WireClient(session);
  }

  /** Whether the other side still holds the connection. */
  get open(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  /** Starts a call of `package.Service/Method`. Messages go with {@link WireCall.send}. */
  start(method: string, headers: Headers = []): WireCall {
    const fixed = [":method", "POST", ":scheme", "http", ":authority", "guarded.test", ":path", `/${method}`, "te", "trailers"];
    const typed = headers.some(([name]) => name === "content-type") ? [] : ["content-type", "application/grpc"];
    return new WireCall(this.#session.request([...fixed, ...typed, ...headers.flat()]));
  }

  /** A whole call: sends the messages, says that there are no more, and waits for the end. */
  call(method: string, headers: Headers = [], messages: readonly Uint8Array[] = [Buffer.from("x")]): Promise<WireAnswer> {
    const call = this.start(method, headers);
    for (const message of messages) call.send(message);
    call.halfClose();
    return call.ended;
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}

/** One call. */
export class WireCall {
  /** Resolves when it is over, however it ended. Rejects when it does not end. */
  readonly ended: Promise<WireAnswer>;
  readonly #stream: ClientHttp2Stream;
  readonly #signals = new Signals();
  readonly #messages: Buffer[] = [];
  #taken = 0;
  #compressed = 0;
  #rest = Buffer.alloc(0);
  #headers: IncomingHttpHeaders | undefined;
  #trailers: IncomingHttpHeaders | undefined;
  #trailersOnly = false;
  #over = false;

  constructor(stream: ClientHttp2Stream) {
    this.#stream = stream;
    stream.on("response", (headers, flags) => {
      this.#headers = headers;
      this.#trailersOnly = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      this.#signals.changed();
    });
    stream.on("trailers", (trailers) => {
      this.#trailers = trailers;
    });
    stream.on("data", (chunk: Buffer) => this.#take(chunk));
    // What is written to a call that is over is lost, and nothing else.
    stream.on("error", () => {});
    const finish = (): void => {
      this.#over = true;
      this.#signals.changed();
    };
    stream.on("end", () => {
      finish();
      // The status is there: nothing that this side might still say counts.
      setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
    });
    stream.on("close", finish);
    this.ended = this.#end();
    // A test that does not wait for the end is not to be told of it.
    this.ended.catch(() => {});
  }

  /** The status came. */
  get over(): boolean {
    return this.#over;
  }

  /** One message. `compressed`: the bytes are so, and marked so. */
  send(message: Uint8Array, options: { readonly compressed?: boolean } = {}): void {
    const head = Buffer.alloc(5);
    head.writeUInt8(options.compressed === true ? 1 : 0, 0);
    head.writeUInt32BE(message.length, 1);
    this.sendBytes(Buffer.concat([head, message]));
  }

  /** Bytes as they are, whether they are whole messages or not. */
  sendBytes(bytes: Uint8Array): void {
    if (!this.#stream.closed && !this.#stream.destroyed && this.#stream.writable) this.#stream.write(bytes);
  }

  halfClose(): void {
    this.#stream.end();
  }

  cancel(): void {
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  /** Resolves when initial metadata came, or the end. */
  async responded(): Promise<IncomingHttpHeaders> {
    await this.#signals.until(() => this.#headers !== undefined || this.#over, "initial metadata");
    return this.#headers ?? {};
  }

  /** The next message; undefined once the call is over. */
  async next(): Promise<Buffer | undefined> {
    const wanted = this.#taken;
    this.#taken += 1;
    await this.#signals.until(() => this.#messages.length > wanted || this.#over, `response ${wanted}`);
    return this.#messages[wanted];
  }

  async #end(): Promise<WireAnswer> {
    await this.#signals.until(() => this.#over, "the end of a call");
    return this.#answer();
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 5) {
      const length = this.#rest.readUInt32BE(1);
      if (this.#rest.length < 5 + length) return;
      const compressed = this.#rest.readUInt8(0) === 1;
      const message = this.#rest.subarray(5, 5 + length);
      this.#messages.push(compressed ? gunzipSync(message) : message);
      if (compressed) this.#compressed += 1;
      this.#rest = this.#rest.subarray(5 + length);
    }
    this.#signals.changed();
  }

  #answer(): WireAnswer {
    const headers = this.#headers ?? {};
    const trailers = this.#trailersOnly ? headers : (this.#trailers ?? {});
    const code = trailers["grpc-status"];
    return {
      code: code === undefined ? undefined : Number(code),
      message: decoded(String(trailers["grpc-message"] ?? "")),
      trailersOnly: this.#trailersOnly,
      headers: this.#trailersOnly ? {} : headers,
      trailers,
      messages: this.#messages,
      compressed: this.#compressed,
      reset: this.#stream.rstCode ?? 0,
    };
  }
}

/** Percent-encoded UTF-8 (gRPC over HTTP/2, Status-Message). */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
