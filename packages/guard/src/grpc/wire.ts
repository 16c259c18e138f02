// Where grpc-js shows what its public interface does not: the bytes of a request, the session of a call, headers that came twice.
// Owns the only look behind that interface, each checked at run time: what is not found is said, and the guard fails closed.
import { subscribe } from "node:diagnostics_channel";
import { EventEmitter } from "node:events";
import { constants, type ServerHttp2Stream } from "node:http2";
import { type ServerInterceptingCallInterface, status } from "@grpc/grpc-js";

type Deserialize = (bytes: Buffer) => unknown;

/**
 * Has a call keep the bytes of its messages: the wire form after decompression, exactly as they came. Undefined where that cannot be had:
 * another interceptor stands between the guard and the network.
 *
 * A server interceptor gets messages only deserialised, and its method definition can serialise responses only. The call at the
 * network's end deserialises by its `handler`, which is put behind one that takes the bytes on the way, for this call alone.
 */
export function takeBytes(call: ServerInterceptingCallInterface): (() => Uint8Array | undefined) | undefined {
  const handler: unknown = Reflect.get(call, "handler");
  if (typeof handler !== "object" || handler === null) return undefined;
  const deserialize: unknown = Reflect.get(handler, "deserialize");
  if (!isDeserialize(deserialize)) return undefined;
  const taken: Buffer[] = [];
  const taking: object = Object.create(handler, {
    deserialize: {
      value(bytes: Buffer) {
        const message: unknown = Reflect.apply(deserialize, handler, [bytes]);
        taken.push(bytes);
        return message;
      },
    },
  });
  return Reflect.set(call, "handler", taking) && Reflect.get(call, "handler") === taking ? () => taken.shift() : undefined;
}

/**
 * Answers a unary call with one message, given as its bytes, and OK. False where that cannot be had. A call serialises what it sends by its
 * `handler`, for messages of a library that the guard does not know: that is put behind one which takes bytes, for this call alone.
 */
export function answerBytes(call: ServerInterceptingCallInterface, message: Uint8Array): boolean {
  const handler: unknown = Reflect.get(call, "handler");
  if (typeof handler !== "object" || handler === null || !("serialize" in handler)) return false;
  const plain: object = Object.create(handler, { serialize: { value: (bytes: Uint8Array) => Buffer.from(bytes) } });
  if (!Reflect.set(call, "handler", plain)) return false;
  call.sendMessage(message, () => call.sendStatus({ code: status.OK, details: "OK" }));
  return true;
}

/** What a caller that reads nothing more is given to take the last bytes and the status of a call that was ended. */
const LAST_WORDS_MS = 1000;

/**
 * Closes a call that was ended while its caller reads nothing: the status stands behind what was sent before, and as long as it does the
 * handler is not told either. Of no effect where all has been taken by then.
 */
export function closeUnread(call: ServerInterceptingCallInterface): void {
  const stream: unknown = Reflect.get(call, "stream");
  if (!isStream(stream) || stream.writableLength === 0) return;
  const timer = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), LAST_WORDS_MS);
  timer.unref();
  stream.once("close", () => clearTimeout(timer));
}

function isStream(stream: unknown): stream is ServerHttp2Stream {
  return stream instanceof EventEmitter && "writableLength" in stream && "close" in stream;
}

/** What stays the same for all calls of one connection; undefined where it cannot be had. */
export function sessionOf(call: ServerInterceptingCallInterface): object | undefined {
  const stream: unknown = Reflect.get(call, "stream");
  const session: unknown = typeof stream === "object" && stream !== null ? Reflect.get(stream, "session") : undefined;
  return typeof session === "object" && session !== null ? session : undefined;
}

const AUTHORIZATION = "authorization";
const sessions = new WeakSet<EventEmitter>();
/** By HTTP/2 stream: the values of an `authorization` that came more than once. */
const repeated = new WeakMap<object, readonly string[]>();
let watching = false;

/**
 * Looks at the raw headers of every HTTP/2 server of this process from now on: Node hands on the first of several `authorization` headers
 * only. A new stream is told of on a diagnostics channel before its session emits it, so that not even a connection's first goes unseen.
 */
export function watchAuthorization(): void {
  if (watching) return;
  watching = true;
  subscribe("http2.server.stream.created", (message) => {
    const stream: unknown = typeof message === "object" && message !== null ? Reflect.get(message, "stream") : undefined;
    const session: unknown = typeof stream === "object" && stream !== null ? Reflect.get(stream, "session") : undefined;
    if (!(session instanceof EventEmitter) || sessions.has(session)) return;
    sessions.add(session);
    session.prependListener("stream", onStream);
  });
}

/** All values of a call's `authorization` where there were several; undefined for one or none. */
export function repeatedAuthorization(call: ServerInterceptingCallInterface): readonly string[] | undefined {
  const stream: unknown = Reflect.get(call, "stream");
  return typeof stream === "object" && stream !== null ? repeated.get(stream) : undefined;
}

/** Raw headers are names and values in turn. */
function onStream(stream: object, _headers: unknown, _flags: unknown, raw: unknown): void {
  if (!Array.isArray(raw)) return;
  const first = raw.indexOf(AUTHORIZATION);
  if (first < 0 || raw.indexOf(AUTHORIZATION, first + 1) < 0) return;
  const values = raw.filter((_, index) => index % 2 === 1 && raw[index - 1] === AUTHORIZATION).map(String);
  if (values.length > 1) repeated.set(stream, values);
}

function isDeserialize(value: unknown): value is Deserialize {
  return typeof value === "function";
}
