// One port for gRPC, Connect, JSON and pages: HTTP/2 and HTTP/1 side by side. With TLS, ALPN tells them apart; in plaintext, which is for
// loopback only, the first bytes do. Never looks into a request.
import { createServer as createHttp1, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import {
  createServer as createHttp2,
  createSecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { isLoopbackHost } from "../identity/fetch.ts";

/** Answers a request of either HTTP version. Does not throw. */
export type RequestHandler = (request: IncomingMessage | Http2ServerRequest, response: ServerResponse | Http2ServerResponse) => void;

/** Certificate and key of the server, PEM. */
export interface ServerTls {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  /** Authorities of client certificates; absent: none are asked for. */
  readonly clientCa?: string | Buffer;
}

/** Where and how to listen. */
export interface ListenOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls?: ServerTls;
  /** Plaintext beyond loopback is all right: nothing that is served is anybody's. */
  readonly public?: true;
  /** Open at once; one more is closed. Default 10,000. */
  readonly mostConnections?: number;
}

/** A server that listens. */
export interface Listener {
  /** `http://127.0.0.1:7400` */
  readonly url: string;
  /** Takes no more connections, lets open requests end for `graceMs`, then cuts. */
  close(graceMs: number): Promise<void>;
}

/** Every HTTP/2 connection starts with `PRI * HTTP/2.0` (RFC 9113, 3.4); no HTTP/1 method starts with its first three letters. */
const PREFACE = "PRI";
const PEEK_MS = 10_000;
const IDLE_MS = 5 * 60_000;
const MOST_CONNECTIONS = 10_000;
const HTTP2_SETTINGS = { settings: { maxConcurrentStreams: 1024 } } as const;

/** @throws Error for plaintext beyond loopback. */
export function refusePlaintext({ host, tls, public: isPublic }: ListenOptions): void {
  if (tls !== undefined || isPublic || isLoopbackHost(inUrl(host))) return;
  throw new Error(`refusing to listen without TLS at ${host}: plaintext is for loopback only; give a certificate and a key`);
}

/** Listens. @throws Error as {@link refusePlaintext}; `EADDRINUSE` and others as node:net does. */
export async function listen(options: ListenOptions, handle: RequestHandler): Promise<Listener> {
  const { host, port, tls, mostConnections = MOST_CONNECTIONS } = options;
  refusePlaintext(options);
  const connections = new Connections();
  const server = tls ? secureServer(tls, handle, connections) : plainServer(handle, connections);
  server.maxConnections = mostConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address() as AddressInfo;
  return {
    url: `${tls ? "https" : "http"}://${inUrl(host)}:${address.port}`,
    close: (graceMs) => connections.close(server, graceMs),
  };
}

function inUrl(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

interface ClosableServer {
  close(done: () => void): unknown;
  closeIdleConnections?(): void;
}

/** All that is open, for the end. */
class Connections {
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<ServerHttp2Session>();
  #closing = false;

  track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  /** Idle sessions never close by themselves. */
  session(session: ServerHttp2Session): void {
    let open = 0;
    this.#sessions.add(session);
    session.once("close", () => this.#sessions.delete(session));
    session.on("error", () => {});
    session.on("stream", (stream) => {
      open += 1;
      stream.once("close", () => {
        open -= 1;
      });
    });
    session.setTimeout(IDLE_MS, () => {
      if (open === 0) session.close();
    });
    if (this.#closing) session.close();
  }

  async close(server: ClosableServer, graceMs: number): Promise<void> {
    this.#closing = true;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const session of this.#sessions) session.close();
    server.closeIdleConnections?.();
    const again = setInterval(() => server.closeIdleConnections?.(), 50);
    const cut = setTimeout(() => {
      for (const session of this.#sessions) session.destroy();
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    await closed;
    clearInterval(again);
    clearTimeout(cut);
    for (const socket of this.#sockets) socket.destroy();
  }
}

function secureServer(tls: ServerTls, handle: RequestHandler, connections: Connections) {
  const { cert, key, clientCa } = tls;
  const clients = clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: false };
  const server = createSecureServer({ cert, key, allowHTTP1: true, minVersion: "TLSv1.2", ...clients, ...HTTP2_SETTINGS }, handle);
  server.on("session", (session) => connections.session(session));
  server.on("secureConnection", (socket) => connections.track(socket));
  server.on("tlsClientError", () => {});
  return server;
}

function plainServer(handle: RequestHandler, connections: Connections): Server {
  const http2 = createHttp2(HTTP2_SETTINGS, handle);
  http2.on("session", (session) => connections.session(session));
  // The HTTP/1 server listens: only one that does enforces its own timeouts.
  const http1 = createHttp1(handle);
  const [serveHttp1] = http1.listeners("connection");
  http1.removeAllListeners("connection");
  http1.on("connection", (socket: Socket) => {
    connections.track(socket);
    peek(socket, (preface) => {
      if (preface) http2.emit("connection", socket);
      else serveHttp1?.call(http1, socket);
    });
  });
  return http1;
}

/** Tells from the first bytes which protocol a connection speaks, and gives them back. */
function peek(socket: Socket, decided: (preface: boolean) => void): void {
  let seen = Buffer.alloc(0);
  const ignore = () => {};
  const timer = setTimeout(() => socket.destroy(), PEEK_MS);
  const finish = () => {
    clearTimeout(timer);
    socket.off("readable", look);
    socket.off("end", abandon);
  };
  const abandon = () => {
    finish();
    socket.destroy();
  };
  const look = () => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    seen = Buffer.concat([seen, chunk]);
    if (seen.length < PREFACE.length) return;
    finish();
    socket.unshift(seen);
    decided(seen.toString("latin1", 0, PREFACE.length) === PREFACE);
  };
  socket.on("error", ignore);
  socket.on("readable", look);
  socket.once("end", abandon);
  socket.once("close", () => clearTimeout(timer));
}
