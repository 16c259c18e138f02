// One call through the proxy: held until the guard permits it, then relayed byte for byte, both ways, with the flow control of both ends.
// Moves bytes and says statuses. What may pass is decided behind EnforcedCall; nothing here judges.
import {
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type ServerHttp2Stream,
} from "node:http2";
import { type Clock, type EncodedStatus, GrpcCode, type Timer, traceIdOf } from "@brevet/protocol";
import type { CallPort, EnforcedCall } from "../enforcement/call.ts";
import type { Enforcement } from "../enforcement/enforcement.ts";
import { NO_REQUEST } from "../enforcement/port.ts";
import type { Caller } from "./listener.ts";
import { MessageReader } from "./reader.ts";
import { Reply } from "./reply.ts";
import { namesSeen, type RequestHead } from "./request.ts";
import { codeOf, headersOn, plainStatus, resetStatus, trailersOn } from "./status.ts";
import { timeoutOf } from "./timeout.ts";
import type { Place, Upstream, UpstreamCall } from "./upstream.ts";

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
/** Of a request, kept until the service answers: to send it again where the service surely never saw it. */
const REPLAY_BYTES = 64 << 10;
const MAX_ATTEMPTS = 3;
const MORE_THAN_ONE = plainStatus(GrpcCode.UNIMPLEMENTED, "more than one request message came");
const CALL = Symbol("call");

/**
 * A stream, and the call that it carries until it is closed. Node keeps streams for long after that, until a full collection; what
 * hangs on them would be kept as long, and moved twice on the way there.
 */
interface Carrier {
  [CALL]?: ProxiedCall | undefined;
}

/** See the head of this file. */
export class ProxiedCall implements CallPort {
  readonly #means: CallMeans;
  readonly #arrival: CallArrival;
  readonly #down: ServerHttp2Stream & Carrier;
  readonly #reply: Reply;
  readonly #enforced: EnforcedCall | undefined;
  readonly #requestStream: boolean;
  readonly #responseStream: boolean;
  #up: UpstreamCall | undefined;
  /** At the service, kept for this call until it is opened. */
  #place: Place | undefined;
  /** Leaves the queue for one; undefined: the call does not wait there. */
  #unqueue: (() => void) | undefined;
  /** The one request that an elevated call waits for: judged again, and passed on, once there is a place at the service. */
  #first: (() => void) | undefined;
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
  #answerIsGrpc = false;
  /** The one message of a call that sends one has passed. */
  #complete = false;
  #heldSinceMs: number | undefined;
  #timer: Timer | undefined;
  #upTrailers: { readonly headers: IncomingHttpHeaders; readonly raw: readonly string[] } | undefined;
  #done = false;

  constructor(means: CallMeans, arrival: CallArrival) {
    this.#means = means;
    this.#arrival = arrival;
    const { stream, head } = arrival;
    this.#down = stream;
    this.#down[CALL] = this;
    this.#reply = new Reply(stream, means.clock);
    stream.on("error", ignore);
    stream.on("close", ProxiedCall.#fromCaller.close);
    stream.on("trailers", ProxiedCall.#fromCaller.trailers);
    stream.on("wantTrailers", ProxiedCall.#fromCaller.wantTrailers);
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
    const awaits = this.#enforced?.awaitsRequest === true;
    if ((awaits || (this.#requestStream && this.#supervised)) && !this.#pumping) this.#readRequests();
    if (!awaits) return this.#seek();
    // Nothing goes to the service before its request has come, and stands up to what is known by then.
    this.#hold(this.#means.requestTimeoutMs);
    this.#pump();
  }

  answer(message: Uint8Array): boolean {
    this.#done = true;
    this.#reply.message(message);
    return true;
  }

  refuse(status: EncodedStatus): void {
    if (this.#done || this.#down.destroyed || this.#down.closed) return;
    // A caller that sees no headers may take it that the service never had the call, and try again by itself.
    if (this.#permitted && !this.#reply.begun) this.#reply.begin();
    this.#stop(status);
  }

  /** Ends the call now. */
  #stop(status: EncodedStatus): void {
    if (this.#done) return;
    this.#done = true;
    this.#timer?.cancel();
    this.#leaveUpstream();
    this.#reader?.stop();
    this.#responses?.stop();
    this.#replay = undefined;
    this.#reply.status(status);
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
      deadlineMs: head.timeoutMs,
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

  /** Asks for a place at the service; while there is none, nothing more is read. */
  #seek(): void {
    this.#attempts += 1;
    this.#unqueue = this.#means.upstream.enter(
      this.#arrival.caller,
      this.#safely((place) => this.#onPlace(place)),
    );
    if (this.#unqueue === undefined) return;
    if (this.#pumping) this.#down.pause();
    this.#hold();
  }

  #onPlace(place: Place | string): void {
    const waited = this.#unqueue !== undefined;
    this.#unqueue = undefined;
    if (typeof place === "string") return this.end(unreachable(place));
    this.#place = place;
    this.#timer?.cancel();
    const first = this.#first;
    this.#first = undefined;
    if (first !== undefined) return first();
    // What was revoked, or ran out, while it waited may not run.
    if ((waited || this.#attempts > 1) && this.#enforced?.stands() === false) return;
    this.#connect();
    this.#pump();
  }

  #leaveUpstream(): void {
    this.#unqueue?.();
    this.#unqueue = undefined;
    this.#place?.leave();
    this.#place = undefined;
    this.#up?.stream.close(NGHTTP2_CANCEL);
  }

  #connect(): void {
    const place = this.#place;
    this.#place = undefined;
    if (place === undefined || this.#done) return;
    const { head, sensitive } = this.#arrival;
    const headers = head.forward;
    if (head.timeoutMs !== undefined && this.#heldSinceMs !== undefined) {
      const leftMs = head.timeoutMs - (this.#means.clock.monotonicMs() - this.#heldSinceMs);
      headers[head.timeoutAt] = timeoutOf(leftMs);
    }
    const opened = place.open(headers, sensitive);
    if (typeof opened === "string") return this.end(unreachable(opened));
    this.#up = opened;
    const stream: ClientHttp2Stream & Carrier = opened.stream;
    stream[CALL] = this;
    stream.on("drain", ProxiedCall.#fromService.drain);
    stream.on("response", ProxiedCall.#fromService.response);
    stream.on("trailers", ProxiedCall.#fromService.trailers);
    stream.on("close", ProxiedCall.#fromService.close);
    for (const chunk of this.#replay ?? []) stream.write(chunk);
    if (this.#requestEnded) stream.end();
    if (this.#pumping) this.#paceRequest();
  }

  /** Lets the request flow. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    const down = this.#down;
    down.on("data", ProxiedCall.#fromCaller.data);
    // Of a call without a message the end is past as soon as it came: nothing waits to be read then.
    if (down.readableEnded) return this.#onEnd();
    down.on("end", ProxiedCall.#fromCaller.end);
  }

  #onData(chunk: Buffer): void {
    if (this.#done) return;
    if (this.#reader !== undefined) this.#reader.push(chunk);
    else if (this.#complete) this.end(MORE_THAN_ONE);
    else this.#forward(chunk);
  }

  #onEnd(): void {
    if (this.#done) return;
    if (this.#reader !== undefined) this.#reader.end();
    else if (this.#enforced !== undefined) this.#enforced.halfClose(() => this.#forwardEnd());
  }

  /** The caller sends on while no message of it is judged, and the service takes what came. */
  #paceRequest(): void {
    const waits = this.#unqueue !== undefined || this.#reader?.busy === true;
    if (waits || this.#up?.stream.writableNeedDrain === true) this.#down.pause();
    else this.#down.resume();
  }

  #readRequests(): void {
    this.#reader = new MessageReader({
      encoding: this.#arrival.head.encoding,
      maxBytes: this.#means.maxMessageBytes,
      reads: () => this.#enforced?.reads === true,
      message: this.#safely((bytes, frame) => {
        if (this.#complete) return this.end(MORE_THAN_ONE);
        const awaits = this.#enforced?.awaitsRequest === true;
        // It came in time: what is left is the caller's own deadline.
        if (!this.#permitted || awaits) this.#hold();
        if (!awaits) return this.#enforced?.request(bytes, () => this.#onJudged(frame));
        // Judged with the first bytes that go on, a large message by its prefix: no service runs what has not come whole.
        this.#first = () =>
          this.#enforced?.request(bytes, () => {
            this.#timer?.cancel();
            this.#connect();
            this.#onJudged(frame);
          });
        this.#seek();
      }),
      unread: (why, frame) => this.#enforced?.unreadable(why.message, () => this.#onJudged(frame)) === true,
      more: (chunk) => this.#forward(chunk),
      ended: this.#safely(() => {
        if (this.#enforced?.awaitsRequest === true) this.end(NO_REQUEST);
        else this.#enforced?.halfClose(() => this.#forwardEnd());
      }),
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
    this.#complete = true;
    if (reader.passing) return reader.next();
    this.#reader = undefined;
    const { rest, ended } = reader.stop();
    for (const chunk of rest) this.#onData(chunk);
    if (this.#done) return;
    if (ended) this.#forwardEnd();
    else this.#paceRequest();
  }

  #forward(chunk: Buffer): void {
    if (this.#replay !== undefined) {
      this.#replayBytes += chunk.length;
      // Until there is an upstream, all of it has to be kept.
      if (this.#up !== undefined && this.#unqueue === undefined && this.#replayBytes > REPLAY_BYTES) this.#replay = undefined;
      else this.#replay.push(chunk);
    }
    if (this.#unqueue !== undefined || (this.#up !== undefined && !this.#up.stream.write(chunk))) this.#down.pause();
  }

  #forwardEnd(): void {
    this.#requestEnded = true;
    this.#up?.stream.end();
  }

  #onResponse(headers: ResponseHeaders, flags: number, raw: readonly string[]): void {
    const reply = this.#reply;
    const up = this.#up?.stream;
    this.#replay = undefined;
    if (up === undefined || reply.gone) return;
    if ((flags & NGHTTP2_FLAG_END_STREAM) !== 0) {
      this.#done = true;
      this.#enforced?.ended(codeOf(headers["grpc-status"]));
      reply.whole(trailersOn(raw, this.#enforced?.windowEnds));
      return this.#letGoOfUpstream();
    }
    reply.begin(headersOn(raw));
    this.#down.on("drain", ProxiedCall.#fromCaller.drain);
    this.#answerIsGrpc = isGrpc(headers);
    if (this.#supervised && this.#answerIsGrpc) this.#responses = this.#responseReader();
    up.on("data", ProxiedCall.#fromService.data);
    up.on("end", ProxiedCall.#fromService.end);
  }

  #responseReader(): MessageReader {
    const responses: MessageReader = new MessageReader({
      encoding: "identity",
      maxBytes: this.#means.maxMessageBytes,
      reads: () => false,
      message: (_bytes, frame) =>
        this.#enforced?.response(() => {
          this.#answerOn(frame);
          responses.next();
        }),
      more: (chunk) => this.#answerOn(chunk),
      ended: () => this.#onUpEnd(),
      broken: (status) => this.end(status),
      paced: () => this.#paceResponse(),
    });
    return responses;
  }

  #onAnswer(chunk: Buffer): void {
    if (this.#responses === undefined) this.#answerOn(chunk);
    else this.#responses.push(chunk);
  }

  #onAnswerEnd(): void {
    if (this.#responses === undefined) this.#onUpEnd();
    else this.#responses.end();
  }

  #answerOn(chunk: Buffer): void {
    if (!this.#done && !this.#reply.write(chunk)) this.#up?.stream.pause();
  }

  /** The service sends on while no message of it waits for the guard, and the caller takes what came. */
  #paceResponse(): void {
    if (this.#responses?.busy === true || this.#reply.full) this.#up?.stream.pause();
    else this.#up?.stream.resume();
  }

  /** All bytes of the response have been handed on. */
  #onUpEnd(): void {
    const trailers = this.#upTrailers;
    // Without trailers it is not the end of a gRPC call, but what is told of it once the stream is closed.
    if (this.#done || (trailers === undefined && this.#answerIsGrpc)) return;
    this.#done = true;
    this.#enforced?.ended(codeOf(trailers?.headers["grpc-status"]));
    this.#reply.finish(trailers === undefined ? {} : trailersOn(trailers.raw, this.#enforced?.windowEnds));
    this.#letGoOfUpstream();
  }

  #sendTrailers(): void {
    this.#timer?.cancel();
    this.#reply.sendTrailers();
  }

  #onUpClose(): void {
    const up = this.#up;
    if (up === undefined) return;
    const { connection } = up;
    const stream: UpstreamCall["stream"] & Carrier = up.stream;
    stream[CALL] = undefined;
    up.release();
    if (this.#done) return;
    const { rstCode } = stream;
    const unseen = rstCode === NGHTTP2_REFUSED_STREAM || connection.unseen(stream.id);
    if (unseen && !this.#reply.begun && this.#replay !== undefined && this.#attempts < MAX_ATTEMPTS) {
      // Written to no more; what comes is kept until there is another.
      this.#up = undefined;
      return this.#seek();
    }
    if (connection.problem !== undefined) return this.end(unreachable(connection.problem));
    if (rstCode === NGHTTP2_NO_ERROR) return this.end(plainStatus(GrpcCode.INTERNAL, "the service ended the call without a status"));
    this.end(resetStatus(rstCode ?? 0));
  }

  #onDownClose(): void {
    this.#down[CALL] = undefined;
    this.#arrival.caller.release();
    this.#timer?.cancel();
    this.#reply.closed();
    this.#reader?.stop();
    this.#means.onClose(this);
    if (this.#done) return;
    this.#done = true;
    this.#leaveUpstream();
    this.#enforced?.ended(GrpcCode.CANCELLED);
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
    if (!this.#done || !this.#reply.begun) this.#down.destroy();
  }

  /** What is thrown in a callback is this call's end, and nobody else's. */
  #safely<A extends unknown[]>(handle: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      try {
        handle(...args);
      } catch (error) {
        this.#fault(error);
      }
    };
  }

  /** A listener for all calls: it finds the call on its stream. What is thrown in it is that call's end, and nobody else's. */
  static #listener<A, B, C>(handle: (call: ProxiedCall, a: A, b: B, c: C) => void): (this: Carrier, a: A, b: B, c: C) => void {
    return function (this: Carrier, a, b, c) {
      const call = this[CALL];
      if (call === undefined) return;
      try {
        handle(call, a, b, c);
      } catch (error) {
        call.#fault(error);
      }
    };
  }

  static readonly #fromCaller = {
    data: ProxiedCall.#listener((call, chunk: Buffer) => call.#onData(chunk)),
    end: ProxiedCall.#listener((call) => call.#onEnd()),
    drain: ProxiedCall.#listener((call) => call.#paceResponse()),
    wantTrailers: ProxiedCall.#listener((call) => call.#sendTrailers()),
    trailers: ProxiedCall.#listener((call) => call.end(plainStatus(GrpcCode.INTERNAL, "a request has no trailers in gRPC"))),
    close: ProxiedCall.#listener((call) => call.#onDownClose()),
  };

  static readonly #fromService = {
    drain: ProxiedCall.#listener((call) => {
      if (!call.#done) call.#paceRequest();
    }),
    response: ProxiedCall.#listener((call, headers: ResponseHeaders, flags: number, raw: readonly string[]) => {
      if (!call.#done) call.#onResponse(headers, flags, raw);
    }),
    data: ProxiedCall.#listener((call, chunk: Buffer) => {
      if (!call.#done) call.#onAnswer(chunk);
    }),
    trailers: ProxiedCall.#listener((call, headers: IncomingHttpHeaders, _flags: number, raw: readonly string[]) => {
      call.#upTrailers = { headers, raw };
    }),
    end: ProxiedCall.#listener((call) => call.#onAnswerEnd()),
    close: ProxiedCall.#listener((call) => call.#onUpClose()),
  };
}

function ignore(): void {}

function unreachable(problem: string): EncodedStatus {
  return plainStatus(GrpcCode.UNAVAILABLE, `the service behind the guard is not reached (${problem})`);
}

function isGrpc(response: ResponseHeaders): boolean {
  return response[":status"] === 200 && /^application\/grpc(?:$|[+;])/.test(response["content-type"] ?? "");
}
