// Where grpc-js shows what its public interface does not: the bytes of a request, and the session of a call.
// Owns the only look behind that interface, each checked at run time: what is not found is said, and the guard fails closed.
import type { ServerInterceptingCallInterface } from "@grpc/grpc-js";

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

/** What stays the same for all calls of one connection; undefined where it cannot be had. */
export function sessionOf(call: ServerInterceptingCallInterface): object | undefined {
  const stream: unknown = Reflect.get(call, "stream");
  const session: unknown = typeof stream === "object" && stream !== null ? Reflect.get(stream, "session") : undefined;
  return typeof session === "object" && session !== null ? session : undefined;
}

function isDeserialize(value: unknown): value is Deserialize {
  return typeof value === "function";
}
