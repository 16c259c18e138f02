// The caller's end of a call, as far as it is told something: headers, bytes, trailers, or a status in their place.
// Owns how a response ends on HTTP/2. Never decides that it does.
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Clock, EncodedStatus, Timer } from "@brevet/protocol";
import { statusTrailers, trailersOnly } from "./status.ts";

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = constants;
// The service's own `date` is passed on, or none.
const RELAYED = { waitForTrailers: true, sendDate: false };
const RELAYED_WHOLE = { endStream: true, sendDate: false };
const OWN_HEADERS = { ":status": 200, "content-type": "application/grpc+proto" };
/** What a caller that reads nothing more is given to take the last bytes and the status of a call that was ended. */
const LAST_WORDS_MS = 1000;

/** See the head of this file. Whoever makes one listens for `wantTrailers`, and answers with {@link sendTrailers}. */
export class Reply {
  readonly #stream: ServerHttp2Stream;
  readonly #clock: Clock;
  /** To be sent once the response's bytes are out. */
  #trailers: OutgoingHttpHeaders | undefined;
  #timer: Timer | undefined;

  constructor(stream: ServerHttp2Stream, clock: Clock) {
    this.#stream = stream;
    this.#clock = clock;
  }

  /** Whether the caller has headers, and may take it that the service has the call. */
  get begun(): boolean {
    return this.#stream.headersSent;
  }

  /** Whether there is nobody to be told any more. */
  get gone(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  /** Whether bytes wait for the caller to take them. */
  get full(): boolean {
    return this.#stream.writableNeedDrain;
  }

  /** Headers, names and values in turn, before bytes and trailers; without any: the proxy's own. */
  begin(headers?: readonly string[]): void {
    this.#stream.respond(headers ?? OWN_HEADERS, RELAYED);
  }

  /** False: no more are to be written until the caller has taken some. */
  write(chunk: Buffer): boolean {
    return this.#stream.write(chunk);
  }

  /** All of a response that is headers only. */
  whole(headers: OutgoingHttpHeaders): void {
    this.#stream.respond(headers, RELAYED_WHOLE);
    this.#letGo();
  }

  /** The response is over: these after what is still on its way to the caller. */
  finish(trailers: OutgoingHttpHeaders): void {
    this.#trailers = trailers;
    this.#stream.resume();
    this.#stream.end();
  }

  /** All of a response of one message. */
  message(bytes: Uint8Array): void {
    this.begin();
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    this.write(Buffer.concat([prefix, bytes]));
    this.finish({ "grpc-status": "0" });
  }

  /** The end, whatever was about to be said: Trailers-Only where nothing was. */
  status(status: EncodedStatus): void {
    if (this.gone) return;
    if (!this.begun) {
      this.#stream.respond(trailersOnly(status), { endStream: true });
      return this.#letGo();
    }
    this.finish(statusTrailers(status));
    // Bytes that the caller does not take stand before the status: it gets a moment, and then a plain end.
    if (this.#stream.writableLength > 0) this.#timer = this.#clock.after(LAST_WORDS_MS, () => this.#stream.close(NGHTTP2_CANCEL));
  }

  /** The bytes are out. */
  sendTrailers(): void {
    this.#timer?.cancel();
    this.#stream.sendTrailers(this.#trailers ?? {});
    this.#letGo();
  }

  /** The stream is closed. */
  closed(): void {
    this.#timer?.cancel();
  }

  /** The caller has its status. Whatever of its request still arrives is swallowed, and a stream that it leaves open is closed. */
  #letGo(): void {
    const stream = this.#stream;
    stream.resume();
    if (stream.readableEnded) return;
    // Trailers go out in the next turn of the loop; by then the caller's own end has mostly come.
    setImmediate(() => {
      if (!stream.readableEnded && !stream.closed) stream.close(NGHTTP2_NO_ERROR);
    });
  }
}
