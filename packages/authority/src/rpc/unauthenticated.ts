// What callers without an identity may cost: a bounded body, and a bounded number of calls that are open at once. Never decides who is one.
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";

/** Of one message, unpacked. */
export const MAX_HEALTH_BYTES = 4 * 1024;
export const MAX_REFLECTION_BYTES = 64 * 1024;

/** Open at once, of each method that streams; and of each that does not. */
const MOST_STREAMS = 100;
const MOST_CALLS = 1000;

/** A gate for methods that are open to everybody: each has so many places, and a call holds its own until it ends. */
export function boundedGate(): (context: HandlerContext) => Promise<void> {
  const open = new Map<string, number>();
  return ({ method, service, signal }) => {
    const name = `${service.typeName}/${method.name}`;
    const most = method.methodKind === "unary" ? MOST_CALLS : MOST_STREAMS;
    const now = open.get(name) ?? 0;
    if (now >= most)
      return Promise.reject(new ConnectError(`${most} calls of ${name} are open; end one, or try later`, Code.ResourceExhausted));
    // Aborted when the call ends, however it does.
    if (signal.aborted) return Promise.resolve();
    open.set(name, now + 1);
    signal.addEventListener("abort", () => open.set(name, (open.get(name) ?? 1) - 1), { once: true });
    return Promise.resolve();
  };
}

/** The messages of a caller, until it ends or `drain` is aborted. */
export async function* untilDrained<T>(messages: AsyncIterable<T>, drain: AbortSignal): AsyncGenerator<T> {
  const incoming = messages[Symbol.asyncIterator]();
  while (!drain.aborted) {
    const next = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
      const stop = () => resolve(undefined);
      drain.addEventListener("abort", stop, { once: true });
      void incoming
        .next()
        .then(resolve, reject)
        .finally(() => drain.removeEventListener("abort", stop));
    });
    if (next === undefined || next.done === true) return;
    yield next.value;
  }
}
