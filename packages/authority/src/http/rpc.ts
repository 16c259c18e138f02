// Connect's router on Node's requests. Beside what connect-node's own adapter does: refusals in gRPC leave as Trailers-Only, so that a
// client may retry, their messages are spelt as all clients read them, and what fails is logged here, not printed. Never answers anything itself.
import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, type Http2ServerRequest, type Http2ServerResponse, type OutgoingHttpHeaders } from "node:http2";
import { Code, ConnectError, type ConnectRouter, createConnectRouter, type Interceptor } from "@connectrpc/connect";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import { compressionGzip, universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { Logger } from "pino";
import { credentialsOf } from "../identity/credentials.ts";
import { presented } from "../rpc/authentication.ts";

/** What the router is served with. */
export interface RpcOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly interceptors: readonly Interceptor[];
  readonly logger: Logger;
  /** Aborted when the authority goes away. */
  readonly drain: AbortSignal;
}

/** Answers a request if its path is a method's. */
export type RpcHandler = (request: IncomingMessage | Http2ServerRequest, response: ServerResponse | Http2ServerResponse) => boolean;

/** A caller has so long to end its half of a stream that was answered. */
const HALF_OPEN_MS = 1000;
/** When the authority goes away: long enough for the answer to be read apart from the reset. */
const HALF_OPEN_DRAINING_MS = 100;
/** And to send the one message of a call that does not stream. */
const BODY_MS = 30_000;
/** The farthest deadline that is kept here: 20 days. */
const FARTHEST_S = 20 * 86_400;
const SECONDS: Readonly<Record<string, number>> = { H: 3600, M: 60, S: 1 };

/** Serves a router. */
export function rpcHandler({ routes, interceptors, logger, drain }: RpcOptions): RpcHandler {
  const router = createConnectRouter({ interceptors: [...interceptors], acceptCompression: [compressionGzip] });
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, response) => {
    const handler = handlers.get(request.url?.split("?", 1)[0] ?? "");
    if (handler === undefined) return false;
    if ("stream" in request && handler.method.methodKind === "unary") closeLate(request);
    const serve = async () => {
      const asked = universalRequestFromNodeRequest(request, response, undefined, presented(credentialsOf(request)));
      dropFarDeadline(asked.header);
      const answer = await handler(asked);
      if ("stream" in response) endWithAnswer(response, drain);
      if (isGrpc(request) && "stream" in response && (await sentAsTrailersOnly(answer, response))) return;
      await universalResponseToNodeResponse(answer, response);
    };
    serve().catch((error: unknown) => {
      const { code } = ConnectError.from(error);
      if (code === Code.Aborted || code === Code.Canceled || response.destroyed) return;
      logger.warn({ method: handler.requestPath.slice(1), err: error }, "an answer could not be sent");
      response.destroy();
    });
    return true;
  };
}

/** Connect hands a deadline to a timer of Node's as it is, and one of more than 24.8 days rings at once. The client keeps its own. */
function dropFarDeadline(headers: Headers): void {
  const [, count = "0", unit = ""] = /^(\d{1,8})([HMS])$/.exec(headers.get("grpc-timeout") ?? "") ?? [];
  if (Number(count) * (SECONDS[unit] ?? 0) > FARTHEST_S) headers.delete("grpc-timeout");
  const connectMs = headers.get("connect-timeout-ms") ?? "";
  if (/^\d{1,10}$/.test(connectMs) && Number(connectMs) > FARTHEST_S * 1000) headers.delete("connect-timeout-ms");
}

function isGrpc(request: IncomingMessage | Http2ServerRequest): boolean {
  return /^application\/grpc(\+|;|$)/.test(request.headers["content-type"] ?? "");
}

/**
 * An answer that is complete ends the stream, also where the caller does not end its half (RFC 9113, 8.1): or it would stay open for ever.
 * Not at once: connect-node takes a reset for a failure, and forgets the answer.
 */
function endWithAnswer({ stream }: Http2ServerResponse, drain: AbortSignal): void {
  stream.once("finish", () => {
    const late = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), drain.aborted ? HALF_OPEN_DRAINING_MS : HALF_OPEN_MS);
    stream.once("close", () => clearTimeout(late));
  });
}

/** HTTP/1 servers give up on a body that does not come; HTTP/2 ones do not. */
function closeLate(request: Http2ServerRequest): void {
  const late = setTimeout(() => request.stream.close(constants.NGHTTP2_CANCEL), BODY_MS);
  const came = () => clearTimeout(late);
  request.stream.once("end", came);
  request.stream.once("close", came);
}

/** Sends an answer without a message as one block of headers. One that has a message is left as it was. */
async function sentAsTrailersOnly(answer: UniversalServerResponse, response: Http2ServerResponse): Promise<boolean> {
  const { body, status, header, trailer } = answer;
  if (body === undefined || trailer === undefined) return false;
  const messages = body[Symbol.asyncIterator]();
  const first = await messages.next();
  if (first.done !== true) {
    answer.body = behind(first.value, messages, () => spell(trailer));
    return false;
  }
  spell(trailer);
  if (!response.stream.destroyed) {
    response.stream.respond({ ":status": status, ...plain(header), ...plain(trailer) }, { endStream: true });
    response.stream.resume();
  }
  return true;
}

/** The first message again, then the others; errors of sending reach whoever makes them. */
async function* behind(first: Uint8Array, rest: AsyncIterator<Uint8Array>, ended: () => void): AsyncGenerator<Uint8Array> {
  try {
    yield first;
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
    ended();
  } catch (error) {
    await rest.throw?.(error);
    throw error;
  } finally {
    await rest.return?.();
  }
}

/** Connect escapes more of the message than the gRPC protocol does, and grpc-js shows such escapes as they are. */
function spell(trailer: Headers): void {
  const escaped = trailer.get("grpc-message");
  if (escaped === null) return;
  const bytes = [...Buffer.from(decodeURIComponent(escaped))];
  const isPlain = (byte: number) => byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
  const spelt = bytes.map((byte) => (isPlain(byte) ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`));
  trailer.set("grpc-message", spelt.join(""));
}

function plain(headers: Headers | undefined): OutgoingHttpHeaders {
  return Object.fromEntries(headers ?? []);
}
