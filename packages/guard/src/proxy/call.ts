// One call through the proxy: held until the guard permits it, then relayed byte for byte, both ways, with the flow control of both ends.
// Moves bytes and says statuses. What may pass is decided behind EnforcedCall; nothing here judges.
import {
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { type Clock, type EncodedStatus, GrpcCode, type Timer } from "@brevet/protocol";
import type { CallPort, EnforcedCall } from "../enforcement/call.ts";
import type { Enforcement } from "../enforcement/enforcement.ts";
import { traceIdOf } from "../enforcement/record.ts";
import type { Caller } from "./listener.ts";
import { MessageReader } from "./reader.ts";
import { namesSeen, type RequestHead } from "./request.ts";
import { codeOf, passOn, plainStatus, resetStatus, statusTrailers, trailersOnly } from "./status.ts";
import { timeoutOf } from "./timeout.ts";
import type { Upstream, UpstreamCall } from "./upstream.ts";

/** What every call has behind it. */
export interface CallMeans {
  readonly enforcement: Enforcement;
  readonly upstream: Upstream;
  readonly clock: Clock;
  /** Of a request message that has to be read, before and after decompression. */
  readonly maxMessageBytes: number;
  /** How long a caller may take to send a message that has to be read before the call is let through. */
  readonly requestTimeoutMs: number;
  /** The call is over, and nothing of it is left. */
  readonly onClose: (call: ProxiedCall) => void;
}

/** What came with the stream. */
export interface CallArrival {
  readonly caller: Caller;
  readonly stream: ServerHttp2Stream;
  readonly head: RequestHead;
  readonly raw: readonly string[];
  /** Names of headers that are never to be indexed. */
  readonly sensitive: readonly string[];
}

type ResponseHeaders = IncomingHttpHeaders & IncomingHttpStatusHeader;

const { NGHTTP2_CANCEL, NGHTTP2_FLAG_END_STREAM, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;
// The service's own `date` is passed on, or none.
const RELAYED = { waitForTrailers: true, sendDate: false };
const RELAYED_WHOLE = { endStream: true, sendDate: false };
/** Of a request, kept until the service answers: to send it again where the service surely never saw it. */
const REPLAY_BYTES = 64 << 10;
const MAX_ATTEMPTS = 3;
/** What a caller that reads nothing more is given to take the last bytes and the status of a call that was ended. */
const LAST_WORDS_MS = 1000;

/** See the head of this file. */
export class ProxiedCall implements CallPort {
  readonly #means: CallMeans;
  readonly #arrival: CallArrival;
  readonly #down: ServerHttp2Stream;
  readonly #enforced: EnforcedCall | undefined;
  readonly #requestStream: boolean;
  readonly #responseStream: boolean;
  #up: UpstreamCall | undefined;
  #attempts = 0;
  /** Request bytes that wait for the upstream, or may have to be sent to it again. Undefined: too many to keep, or answered. */
  #replay: Buffer[] | undefined = [];
  #replayBytes = 0;
  #pumping = false;
  #requestEnded = false;
  #permitted = false;
  /** Where the request has to be read, or both sides supervised, message by message. */
  #reader: MessageReader | undefined;
  #responses: MessageReader | undefined;
  /** The one message of a call that sends one has passed. */
  #complete = false;
  #heldSinceMs: number | undefined;
  #timer: Timer | undefined;
  /** To be sent once the response's bytes are out. */
  #trailers: OutgoingHttpHeaders | undefined;
  #upTrailers: { readonly headers: IncomingHttpHeaders; readonly raw: readonly string[] } | undefined;
  #done = false;

  constructor(means: CallMeans, arrival: CallArrival) {
    this.#means = means;
    this.#arrival = arrival;
    const { stream, head } = arrival;
    this.#down = stream;
    stream.on("error", () => {});
    stream.on(
      "close",
      this.#safely(() => this.#onDownClose()),
    );
    stream.on(
      "trailers",
      this.#safely(() => this.end(plainStatus(GrpcCode.INTERNAL, "a request has no trailers in gRPC"))),
    );
    const kind = means.enforcement.methodKind(head.method);
    // Of a method that is not known it is not known either that one message is all: what needs to read it is refused then.
    this.#requestStream = kind !== "unary" && kind !== "server_streaming";
    this.#responseStream = kind !== "unary" && kind !== "client_streaming";
    try {
      this.#enforced = means.enforcement.call(this.#incoming(), this);
      this.#enforced.begin();
      if (this.#up === undefined && !this.#done && this.#heldSinceMs === undefined) this.#hold();
    } catch (error) {
      this.#fault(error);
    }
  }

  readAhead(): boolean {
    this.#readRequests();
    this.#hold(this.#means.requestTimeoutMs);
    this.#pump();
    return true;
  }

  permit(): void {
    if (this.#done) return;
    this.#permitted = true;
    this.#timer?.cancel();
    if (this.#requestStream && this.#supervised && !this.#pumping) this.#readRequests();
    this.#connect();
    this.#pump();
  }

  answer(message: Uint8Array): boolean {
    const down = this.#down;
    this.#done = true;
    this.#respond({ ":status": 200, "content-type": "application/grpc+proto" });
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    down.write(Buffer.concat([prefix, message]));
    this.#finish({ "grpc-status": "0" });
    return true;
  }

  refuse(status: EncodedStatus): void {
    if (this.#done || this.#down.destroyed || this.#down.closed) return;
    // A caller that sees no headers may take it that the service never had the call, and try again by itself.
    if (this.#permitted && !this.#down.headersSent) this.#respond({ ":status": 200, "content-type": "application/grpc+proto" });
    this.#stop(status);
  }

  /** Ends the call now. */
  #stop(status: EncodedStatus): void {
    if (this.#done) return;
    this.#done = true;
    this.#timer?.cancel();
    this.#up?.stream.close(NGHTTP2_CANCEL);
    this.#reader?.stop();
    this.#responses?.stop();
    this.#replay = undefined;
    const down = this.#down;
    if (down.destroyed || down.closed) return;
    if (!down.headersSent) {
      down.respond(trailersOnly(status), { endStream: true });
      return this.#letGo();
    }
    this.#finish(statusTrailers(status));
    // Bytes that the caller does not take stand before the status: it gets a moment, and then a plain end.
    if (down.writableLength > 0) this.#timer = this.#means.clock.after(LAST_WORDS_MS, () => down.close(NGHTTP2_CANCEL));
  }

  /** Ends a call that broke, by no decision of the guard. */
  end(status: EncodedStatus): void {
    this.#enforced?.ended(status.code);
    this.#stop(status);
  }

  /** Whether each message is brought to the guard while the call lives. */
  get #supervised(): boolean {
    return this.#enforced?.supervised === true;
  }

  #incoming() {
    const { caller, head, raw } = this.#arrival;
    return {
      method: head.method,
      requestStream: this.#requestStream,
      responseStream: this.#responseStream,
      authorization: head.authorization,
      grants: head.grants,
      certificate: caller.certificate,
      peer: caller.peer,
      // Looked at only where it is written down.
      get headersSeen() {
        return namesSeen(raw);
      },
      traceId: traceIdOf(head.traceparent),
    };
  }

  /** The call waits, for the guard or for its first message: its deadline is the proxy's to keep until it goes on. */
  #hold(mostMs = Infinity): void {
    const { clock } = this.#means;
    const nowMs = clock.monotonicMs();
    this.#heldSinceMs ??= nowMs;
    const leftMs = (this.#arrival.head.timeoutMs ?? Infinity) - (nowMs - this.#heldSinceMs);
    this.#timer?.cancel();
    this.#timer = undefined;
    if (leftMs === Infinity && mostMs === Infinity) return;
    const [afterMs, message] = leftMs <= mostMs ? [leftMs, "while the guard held the call"] : [mostMs, "before the request came"];
    this.#timer = clock.after(
      Math.max(0, afterMs),
      this.#safely(() => this.end(plainStatus(GrpcCode.DEADLINE_EXCEEDED, `the time ran out ${message}`))),
    );
  }

  #connect(): void {
    const { head, sensitive } = this.#arrival;
    this.#attempts += 1;
    const headers = [...head.forward];
    if (head.timeoutMs !== undefined && this.#heldSinceMs !== undefined) {
      const leftMs = head.timeoutMs - (this.#means.clock.monotonicMs() - this.#heldSinceMs);
      headers[head.timeoutAt] = timeoutOf(leftMs);
    }
    const opened = this.#means.upstream.open(headers, sensitive);
    if (typeof opened === "string") return this.end(unreachable(opened));
    this.#up = opened;
    const { stream } = opened;
    const mine = <A extends unknown[]>(handle: (...args: A) => void) =>
      this.#safely((...args: A) => {
        if (this.#up === opened && !this.#done) handle(...args);
      });
    stream.on(
      "drain",
      mine(() => this.#paceRequest()),
    );
    stream.on(
      "response",
      mine((headers, flags, raw) => this.#onResponse(stream, headers, flags, raw)),
    );
    stream.on(
      "trailers",
      mine((headers, _flags, raw) => (this.#upTrailers = { headers, raw })),
    );
    stream.once(
      "close",
      this.#safely(() => this.#onUpClose(opened)),
    );
    for (const chunk of this.#replay ?? []) stream.write(chunk);
    if (this.#requestEnded) stream.end();
  }

  /** Lets the request flow. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    const down = this.#down;
    down.on(
      "data",
      this.#safely((chunk: Buffer) => this.#onData(chunk)),
    );
    // Of a call without a message the end is past as soon as it came: nothing waits to be read then.
    if (down.readableEnded) return this.#onEnd();
    down.on(
      "end",
      this.#safely(() => this.#onEnd()),
    );
  }

  #onData(chunk: Buffer): void {
    if (this.#done) return;
    if (this.#complete) this.end(plainStatus(GrpcCode.UNIMPLEMENTED, "more than one request message came"));
    else if (this.#reader !== undefined) this.#reader.push(chunk);
    else this.#forward(chunk);
  }

  #onEnd(): void {
    if (this.#done) return;
    if (this.#reader !== undefined) this.#reader.end();
    else if (this.#enforced !== undefined) this.#enforced.halfClose(() => this.#forwardEnd());
  }

  /** The caller sends on while no message of it is judged, and the service takes what came. */
  #paceRequest(): void {
    if (this.#reader?.busy === true || this.#up?.stream.writableNeedDrain === true) this.#down.pause();
    else this.#down.resume();
  }

  #readRequests(): void {
    this.#reader = new MessageReader({
      encoding: this.#arrival.head.encoding,
      maxBytes: this.#means.maxMessageBytes,
      reads: () => this.#enforced?.reads === true,
      message: this.#safely((bytes, frame) => {
        // It came in time: what is left is the caller's own deadline.
        if (!this.#permitted) this.#hold();
        this.#enforced?.request(bytes, () => this.#onJudged(frame));
      }),
      more: (chunk) => this.#forward(chunk),
      ended: this.#safely(() => this.#enforced?.halfClose(() => this.#forwardEnd())),
      broken: this.#safely((status) => this.end(status)),
      paced: () => this.#paceRequest(),
    });
  }

  /** A message may pass, as the bytes that it came in. */
  #onJudged(frame: Buffer): void {
    const reader = this.#reader;
    if (this.#done || reader === undefined) return;
    this.#forward(frame);
    if (this.#requestStream) return reader.next();
    // One message is all: whatever else comes would be run unread.
    this.#reader = undefined;
    this.#complete = true;
    const { rest, ended } = reader.stop();
    for (const chunk of rest) this.#onData(chunk);
    if (this.#done) return;
    if (ended) this.#forwardEnd();
    else this.#down.resume();
  }

  #forward(chunk: Buffer): void {
    if (this.#replay !== undefined) {
      this.#replayBytes += chunk.length;
      // Until there is an upstream, all of it has to be kept.
      if (this.#up !== undefined && this.#replayBytes > REPLAY_BYTES) this.#replay = undefined;
      else this.#replay.push(chunk);
    }
    if (this.#up !== undefined && !this.#up.stream.write(chunk)) this.#down.pause();
  }

  #forwardEnd(): void {
    this.#requestEnded = true;
    this.#up?.stream.end();
  }

  #onResponse(up: UpstreamCall["stream"], headers: ResponseHeaders, flags: number, raw: readonly string[]): void {
    const down = this.#down;
    this.#replay = undefined;
    if (down.destroyed || down.closed) return;
    if ((flags & NGHTTP2_FLAG_END_STREAM) !== 0) {
      this.#done = true;
      this.#enforced?.ended(codeOf(headers["grpc-status"]));
      down.respond(passOn(raw, this.#enforced?.windowEnds), RELAYED_WHOLE);
      this.#letGoOfUpstream();
      this.#letGo();
      return;
    }
    this.#respond(passOn(raw));
    const pace = (): void => {
      if (this.#responses?.busy === true || down.writableNeedDrain) up.pause();
      else up.resume();
    };
    down.on("drain", pace);
    const write = (chunk: Buffer): void => {
      if (!this.#done && !down.write(chunk)) up.pause();
    };
    const ended = this.#safely(() => this.#onUpEnd(headers));
    if (!this.#supervised || !isGrpc(headers)) {
      up.on("data", write);
      up.on("end", ended);
      return;
    }
    const responses = new MessageReader({
      encoding: "identity",
      maxBytes: this.#means.maxMessageBytes,
      reads: () => false,
      message: this.#safely((_bytes, frame) =>
        this.#enforced?.response(() => {
          write(frame);
          responses.next();
        }),
      ),
      more: write,
      ended,
      broken: this.#safely((status) => this.end(status)),
      paced: pace,
    });
    this.#responses = responses;
    up.on(
      "data",
      this.#safely((chunk: Buffer) => responses.push(chunk)),
    );
    up.on(
      "end",
      this.#safely(() => responses.end()),
    );
  }

  #respond(headers: OutgoingHttpHeaders): void {
    this.#down.respond(headers, RELAYED);
    this.#down.on(
      "wantTrailers",
      this.#safely(() => this.#sendTrailers()),
    );
  }

  /** All bytes of the response have been handed on. */
  #onUpEnd(response: ResponseHeaders): void {
    const trailers = this.#upTrailers;
    // Without trailers it is not the end of a gRPC call, but what is told of it once the stream is closed.
    if (this.#done || (trailers === undefined && isGrpc(response))) return;
    this.#done = true;
    this.#enforced?.ended(codeOf(trailers?.headers["grpc-status"]));
    this.#finish(trailers === undefined ? {} : passOn(trailers.raw, this.#enforced?.windowEnds));
    this.#letGoOfUpstream();
  }

  #onUpClose(up: UpstreamCall): void {
    up.connection.release();
    if (this.#done || this.#up !== up) return;
    const { stream, connection } = up;
    const { rstCode } = stream;
    const unseen = rstCode === NGHTTP2_REFUSED_STREAM || connection.unseen(stream.id);
    if (unseen && !this.#down.headersSent && this.#replay !== undefined && this.#attempts < MAX_ATTEMPTS) return this.#connect();
    if (connection.problem !== undefined) return this.end(unreachable(connection.problem));
    if (rstCode === NGHTTP2_NO_ERROR) return this.end(plainStatus(GrpcCode.INTERNAL, "the service ended the call without a status"));
    this.end(resetStatus(rstCode ?? 0));
  }

  #onDownClose(): void {
    this.#arrival.caller.release();
    this.#timer?.cancel();
    this.#reader?.stop();
    this.#means.onClose(this);
    if (this.#done) return;
    this.#done = true;
    this.#up?.stream.close(NGHTTP2_CANCEL);
    this.#enforced?.ended(GrpcCode.CANCELLED);
  }

  /** The response is over: these after what is still on its way to the caller. */
  #finish(trailers: OutgoingHttpHeaders): void {
    this.#trailers = trailers;
    this.#down.resume();
    this.#down.end();
  }

  #sendTrailers(): void {
    const down = this.#down;
    this.#timer?.cancel();
    down.sendTrailers(this.#trailers ?? {});
    this.#letGo();
  }

  /** The caller has its status. Whatever of its request still arrives is swallowed, and a stream that it leaves open is closed. */
  #letGo(): void {
    const down = this.#down;
    down.resume();
    // Trailers go out in the next turn of the loop; by then the caller's own end has mostly come.
    setImmediate(() => {
      if (!down.readableEnded && !down.closed) down.close(NGHTTP2_NO_ERROR);
    });
  }

  /** The service has said all, and is told that it need not wait for more. */
  #letGoOfUpstream(): void {
    const up = this.#up?.stream;
    if (up !== undefined && !up.closed && !up.writableEnded) up.close(NGHTTP2_NO_ERROR);
  }

  #fault(error: unknown): void {
    try {
      if (this.#enforced === undefined) this.refuse(this.#means.enforcement.faulty(error));
      else this.#enforced.fault(error);
    } catch {
      // Not even that: the call ends without words.
    }
    if (!this.#done || !this.#down.headersSent) this.#down.destroy();
  }

  /** What is thrown in a listener is this call's end, and nobody else's. */
  #safely<A extends unknown[]>(handle: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      try {
        handle(...args);
      } catch (error) {
        this.#fault(error);
      }
    };
  }
}

function unreachable(problem: string): EncodedStatus {
  return plainStatus(GrpcCode.UNAVAILABLE, `the service behind the guard is not reached (${problem})`);
}

function isGrpc(response: ResponseHeaders): boolean {
  return response[":status"] === 200 && /^application\/grpc(?:$|[+;])/.test(response["content-type"] ?? "");
}
