// The connections to the service behind the proxy: made when needed, again after a failure, more of them when one is full.
// Owns backing off and what a GOAWAY means. Never looks into a call.
import { type ClientHttp2Session, type ClientHttp2Stream, connect, sensitiveHeaders } from "node:http2";
import { connect as connectSocket, isIP, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import type { Clock, Timer } from "@brevet/protocol";
import type { GuardLogger } from "../log/logger.ts";
import { type Address, addressText } from "./address.ts";

/** PEM, for TLS to the service. */
export interface UpstreamTls {
  /** Certificates of the authorities that are trusted instead of the system's. */
  readonly ca?: string | Buffer;
  /** The proxy's client certificate and key. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  /** The name that the service's certificate has to carry; default: the host. */
  readonly serverName?: string;
}

/** What the connections are made with. */
export interface UpstreamOptions {
  readonly address: Address;
  /** Absent: plaintext. */
  readonly tls?: UpstreamTls;
  /** Connections at once. */
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly maxHeaderBytes: number;
  readonly clock: Clock;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  readonly logger: GuardLogger;
}

/** A call's stream to the service, and what became of its connection. */
export interface UpstreamCall {
  readonly stream: ClientHttp2Stream;
  readonly connection: UpstreamConnection;
}

/** One connection. */
export interface UpstreamConnection {
  /** Why it is gone, with all its calls; undefined while it is there. */
  readonly problem: string | undefined;
  /** Whether the service surely never saw a stream with this id (RFC 9113, 6.8). */
  unseen(id: number | undefined): boolean;
  /** The call is over. */
  release(): void;
}

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MOST_MS = 5000;
/** As long as nothing else is known (RFC 9113, 6.5.2 recommends no less). */
const STREAMS_UNTIL_KNOWN = 100;
/** A connection has ids for 2^30 calls: it is retired before. */
const LAST_STREAM_ID = 2 ** 31 - 10_000;
const WINDOW_BYTES = 4 << 20;
const STREAM_WINDOW_BYTES = 1 << 18;
const KEEPALIVE_MS = 30_000;
const MEMORY_MB = 256;
// What a caller or a service said twice is passed on twice.
const LENIENT = { strictSingleValueFields: false };

/** The connections. */
export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #connections: Connection[] = [];
  #failures = 0;
  #retryAtMs = 0;
  #problem = "";
  #logged = "";
  #closed = false;

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  get scheme(): "http" | "https" {
    return this.#options.tls === undefined ? "http" : "https";
  }

  /** Why there is no connection; undefined while there is one, or none was needed yet. */
  get problem(): string | undefined {
    return this.#problem === "" ? undefined : this.#problem;
  }

  /** Begins a call with these headers, names and values in turn. A text: why it cannot be begun now. */
  open(headers: string[], sensitive: readonly string[]): UpstreamCall | string {
    const connection = this.#pick();
    return typeof connection === "string" ? connection : connection.open(headers, sensitive);
  }

  /** Ends all connections, with whatever still runs on them. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#connections.slice()) connection.destroy();
  }

  /** The first that has room, so that few are open; else another one; else the one with the fewest calls, which wait there. */
  #pick(): Connection | string {
    if (this.#closed) return "the proxy is closed";
    let least: Connection | undefined;
    for (const connection of this.#connections) {
      if (!connection.usable) continue;
      if (connection.calls < connection.limit) return connection;
      if (least === undefined || connection.calls < least.calls) least = connection;
    }
    const { maxConnections, clock } = this.#options;
    const more = this.#connections.length < maxConnections && clock.monotonicMs() >= this.#retryAtMs;
    if (least !== undefined && !more) return least;
    if (!more) return this.#problem === "" ? "every connection to it is ending" : this.#problem;
    const connection = new Connection(this.#options, {
      ready: () => this.#ready(),
      ended: (problem, wasReady) => this.#ended(connection, problem, wasReady),
    });
    this.#connections.push(connection);
    return connection;
  }

  #ready(): void {
    this.#failures = 0;
    this.#retryAtMs = 0;
    this.#problem = "";
    if (this.#logged !== "") this.#options.logger.info({ upstream: addressText(this.#options.address) }, "the service is reached again");
    this.#logged = "";
  }

  #ended(connection: Connection, problem: string | undefined, wasReady: boolean): void {
    const at = this.#connections.indexOf(connection);
    if (at >= 0) this.#connections.splice(at, 1);
    if (problem === undefined || this.#closed) return;
    const { clock, random, logger, address } = this.#options;
    if (!wasReady) {
      // Half of it is jitter: many callers of a service that comes back do not come at once.
      const mostMs = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.#failures, 10));
      this.#failures += 1;
      this.#retryAtMs = clock.monotonicMs() + mostMs * (0.5 + random() / 2);
      this.#problem = problem;
    }
    if (this.#logged === problem) return;
    this.#logged = problem;
    logger.warn({ upstream: addressText(address), cause: problem }, "the service behind the proxy is not reached");
  }
}

interface Hooks {
  ready(): void;
  ended(problem: string | undefined, wasReady: boolean): void;
}

class Connection implements UpstreamConnection {
  readonly #session: ClientHttp2Session;
  #timer: Timer | undefined;
  #ready = false;
  #limit = STREAMS_UNTIL_KNOWN;
  #lastSeen = Infinity;
  #retired = false;
  #problem: string | undefined;
  /** One for all calls: it knows nothing of them. */
  readonly #onStreamError = (error: NodeJS.ErrnoException): void => {
    if (this.#session.destroyed) this.#problem ??= error.code ?? error.message;
  };
  calls = 0;

  constructor(options: UpstreamOptions, hooks: Hooks) {
    const { clock, connectTimeoutMs } = options;
    const socket = socketTo(options);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    // Before the session hears of it: its calls are told at once, and want to know why.
    socket.on("error", (error: NodeJS.ErrnoException) => (this.#problem ??= error.code ?? error.message));
    const authority = "path" in options.address ? "localhost" : addressText(options.address);
    const session = connect(`${options.tls === undefined ? "http" : "https"}://${authority}`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES, maxHeaderListSize: options.maxHeaderBytes },
      ...LENIENT,
      maxSessionMemory: MEMORY_MB,
      peerMaxConcurrentStreams: STREAMS_UNTIL_KNOWN,
    });
    this.#session = session;
    this.#timer = clock.after(connectTimeoutMs, () => this.#fail(`no answer within ${connectTimeoutMs} ms`));
    session.once("connect", () => {
      session.setLocalWindowSize(WINDOW_BYTES);
      if (socket instanceof TLSSocket && socket.alpnProtocol !== "h2") this.#fail("it does not speak HTTP/2");
    });
    session.on("remoteSettings", ({ maxConcurrentStreams }) => {
      this.#limit = Math.max(1, maxConcurrentStreams ?? Infinity);
      if (this.#ready) return;
      // Connected is who answered: a socket alone may be anybody's.
      this.#ready = true;
      this.#timer?.cancel();
      hooks.ready();
    });
    session.on("goaway", (_code, lastStreamId) => {
      this.#lastSeen = lastStreamId;
    });
    session.on("error", (error: NodeJS.ErrnoException) => {
      this.#problem ??= error.code ?? error.message;
    });
    session.once("close", () => {
      this.#timer?.cancel();
      if (!this.#ready) this.#problem ??= "it closed the connection at once";
      hooks.ended(this.#problem, this.#ready);
    });
  }

  get usable(): boolean {
    return !this.#retired && !this.#session.closed && !this.#session.destroyed;
  }

  get problem(): string | undefined {
    return this.#session.destroyed ? (this.#problem ?? "the connection ended") : undefined;
  }

  get limit(): number {
    return this.#limit;
  }

  open(headers: string[], sensitive: readonly string[]): UpstreamCall {
    const raw = sensitive.length === 0 ? headers : withSensitive(headers, sensitive);
    const stream = this.#session.request(raw, { endStream: false });
    this.calls += 1;
    // A connection that breaks tells its streams first.
    stream.on("error", this.#onStreamError);
    if ((stream.id ?? 0) > LAST_STREAM_ID) {
      this.#retired = true;
      this.#session.close();
    }
    return { stream, connection: this };
  }

  unseen(id: number | undefined): boolean {
    return this.#ready && (id === undefined || id > this.#lastSeen);
  }

  release(): void {
    this.calls -= 1;
  }

  destroy(): void {
    this.#session.destroy();
  }

  #fail(problem: string): void {
    this.#problem ??= problem;
    this.#session.destroy(new Error(problem));
  }
}

/** TCP, a Unix socket, or TLS over one of them. */
function socketTo({ address, tls }: UpstreamOptions): Socket {
  if (tls === undefined) return connectSocket(address);
  const { ca, cert, key, serverName } = tls;
  // No name is sent for an address in numbers (RFC 6066, 3), and none can be made up for a path.
  const name = serverName ?? ("host" in address && isIP(address.host) === 0 ? address.host : undefined);
  return connectTls({
    ...address,
    ALPNProtocols: ["h2"],
    ...(name !== undefined && { servername: name }),
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
  });
}

/** Headers that a caller wanted never to be indexed stay so (RFC 7541, 7.1.3). */
function withSensitive(headers: string[], names: readonly string[]): string[] {
  Reflect.set(headers, sensitiveHeaders, names);
  return headers;
}
