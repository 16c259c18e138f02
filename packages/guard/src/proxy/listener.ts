// The callers' side: accepts connections, tells HTTP/2 from the rest, and bounds what one caller may hold.
// Never looks into a call: each stream is handed on with its raw headers.
import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  sensitiveHeaders,
} from "node:http2";
import { createServer as createSocketServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import type { Clock } from "@brevet/protocol";
import type { ClientCertificate } from "../core/call.ts";
import { readCertificate } from "../core/certificate.ts";
import type { Address } from "./address.ts";

/** PEM, for TLS to the callers. */
export interface ListenTls {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  /** Authorities of client certificates; absent: none is asked for. A caller without one is told so per call. */
  readonly clientCa?: string | Buffer;
}

/** One caller's connection. */
export interface Caller {
  /** `address#port`; empty on a Unix socket. */
  readonly peer: string;
  /** Its verified client certificate, read once. */
  certificate(): ClientCertificate | undefined;
  /** A call of it is over. */
  release(): void;
}

/** What a listener is made with. */
export interface ListenerOptions {
  readonly tls?: ListenTls;
  readonly maxConnections: number;
  /** Of one connection. */
  readonly maxConcurrentStreams: number;
  readonly maxHeaderBytes: number;
  /** A connection without a call for so long is closed. */
  readonly idleMs: number;
  readonly clock: Clock;
  /** A call began. The raw headers are names and values in turn; `sensitive`: names of those that are never to be indexed. */
  readonly onCall: (caller: Caller, stream: ServerHttp2Stream, raw: readonly string[], sensitive: readonly string[]) => void;
}

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PEEK_MS = 10_000;
const KEEPALIVE_MS = 30_000;
const STREAM_WINDOW_BYTES = 1 << 18;
const WINDOW_BYTES = 4 << 20;
const MEMORY_MB = 256;
const NONE: readonly string[] = [];
const NOT_HTTP2 = "This is a gRPC proxy: it speaks HTTP/2 only.\n";

/** Accepts callers until closed. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #http2: Http2Server | Http2SecureServer;
  readonly #server: Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #sockets = new Set<Socket>();
  readonly #peeked = new Set<Socket>();
  #draining = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
    const { tls, maxConcurrentStreams, maxHeaderBytes, maxConnections } = options;
    const common = {
      // The limit that callers are told of; a block far beyond it is refused before it reaches anybody.
      settings: { maxConcurrentStreams, maxHeaderListSize: 2 * maxHeaderBytes, initialWindowSize: STREAM_WINDOW_BYTES },
      maxHeaderListPairs: Math.max(128, Math.floor(maxHeaderBytes / 33)),
      strictSingleValueFields: false,
      maxSessionMemory: MEMORY_MB,
    };
    const tcp = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_MS };
    if (tls === undefined) {
      this.#http2 = createServer(common);
      this.#server = createSocketServer(tcp, (socket) => this.#peek(socket));
    } else {
      const { cert, key, clientCa } = tls;
      // Callers without a certificate are told so by the guard, not by a broken handshake.
      const asked = clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: false };
      const secure = createSecureServer({
        ...common,
        ...tcp,
        ...asked,
        cert,
        key,
        ALPNCallback: ({ protocols }) => (protocols.includes("h2") ? "h2" : protocols.find((name) => name === "http/1.1")),
      });
      secure.on("unknownProtocol", (socket) => refuseHttp1(socket));
      secure.on("tlsClientError", (_error, socket) => socket.destroy());
      this.#http2 = secure;
      this.#server = secure;
    }
    this.#server.maxConnections = maxConnections;
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#http2.on("session", (session: ServerHttp2Session) => this.#onSession(session));
    // What one caller's connection breaks with is that caller's.
    this.#http2.on("sessionError", () => {});
  }

  /** Resolves with the port; 0 on a Unix socket. @throws Error of the system for an address that cannot be had. */
  listen(address: Address): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      const done = (): void => {
        this.#server.off("error", reject);
        const bound = this.#server.address();
        resolve(typeof bound === "object" && bound !== null ? bound.port : 0);
      };
      if ("path" in address) this.#server.listen(address.path, done);
      else this.#server.listen(address.port, address.host, done);
    });
  }

  /** Takes no new calls (GOAWAY), and resolves when the last connection is gone. */
  async drain(): Promise<void> {
    this.#draining = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#peeked) socket.destroy();
    for (const session of this.#sessions) session.close();
    await closed;
  }

  /** Ends every connection now, those too that never got as far as HTTP/2. */
  destroy(): void {
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** A plaintext connection: HTTP/2 begins with a preface of its own (RFC 9113, 3.4). */
  #peek(socket: Socket): void {
    this.#peeked.add(socket);
    const timer = this.#options.clock.after(PEEK_MS, () => socket.destroy());
    let head = Buffer.alloc(0);
    const onReadable = (): void => {
      const more: unknown = socket.read();
      if (!Buffer.isBuffer(more)) return;
      // Given back at the end only: what is given back is readable again at once.
      head = Buffer.concat([head, more]);
      const seen = head.toString("latin1", 0, PREFACE.length);
      if (seen.length < 3 && PREFACE.startsWith(seen)) return;
      leave();
      if (!PREFACE.startsWith(seen)) return refuseHttp1(socket);
      socket.unshift(head);
      this.#http2.emit("connection", socket);
    };
    const leave = (): void => {
      timer.cancel();
      socket.off("readable", onReadable);
      socket.off("close", leave);
      this.#peeked.delete(socket);
    };
    socket.on("error", () => {});
    socket.on("close", leave);
    socket.on("readable", onReadable);
  }

  #onSession(session: ServerHttp2Session): void {
    const { idleMs, onCall } = this.#options;
    this.#sessions.add(session);
    const { socket } = session;
    const { remoteAddress = "", remotePort } = socket;
    session.setLocalWindowSize(WINDOW_BYTES);
    let calls = 0;
    let certificate: ClientCertificate | "none" | undefined;
    const caller: Caller = {
      peer: remotePort === undefined ? remoteAddress : `${remoteAddress}#${remotePort}`,
      certificate() {
        certificate ??= certificateOf(session) ?? "none";
        return certificate === "none" ? undefined : certificate;
      },
      release() {
        calls -= 1;
      },
    };
    session.on("stream", (stream, headers, _flags, raw) => {
      calls += 1;
      const sensitive: unknown = Reflect.get(headers, sensitiveHeaders);
      onCall(caller, stream, raw, Array.isArray(sensitive) ? sensitive : NONE);
    });
    session.setTimeout(idleMs, () => {
      if (calls === 0) session.close();
    });
    session.on("close", () => this.#sessions.delete(session));
    if (this.#draining) session.close();
  }
}

function certificateOf(session: ServerHttp2Session): ClientCertificate | undefined {
  const { socket } = session;
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const { raw } = socket.getPeerCertificate();
  return raw === undefined ? undefined : readCertificate(raw);
}

/** Whoever speaks HTTP/1 is told so in words that it can show. */
function refuseHttp1(socket: Duplex): void {
  socket.on("error", () => {});
  socket.resume();
  const head = `HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\ncontent-length: ${NOT_HTTP2.length}\r\nconnection: close\r\n\r\n`;
  socket.end(head + NOT_HTTP2, () => socket.destroy());
}
