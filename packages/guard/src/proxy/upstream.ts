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
  /** The call is over. */
  release(): void;
}

/** Room for one call, kept until it is opened or left. */
export interface Place {
  /** Begins the call with these headers, names and values in turn. A text: why it cannot be begun now. */
  open(headers: string[], sensitive: readonly string[]): UpstreamCall | string;
  leave(): void;
}

/** One connection. */
export interface UpstreamConnection {
  /** Why it is gone, with all its calls; undefined while it is there. */
  readonly problem: string | undefined;
  /** Whether the service surely never saw a stream with this id (RFC 9113, 6.8). */
  unseen(id: number | undefined): boolean;
}

/** Calls that wait for room, all in all and of one caller's connection, and for how long each. */
const MAX_WAITING = 4000;
const MAX_WAITING_OF_ONE = 1000;
const MAX_WAIT_MS = 5000;
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
  /** In the order of their coming. */
  readonly #waiting = new Set<Waiter>();
  readonly #shares = new Map<object, Share>();
  #serving = false;
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

  /** Calls that wait for room. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Asks for room for a call of this caller. `turn` is told once: a place, or why there is none; at once, and then undefined is answered,
   * or later, and then what leaves the queue.
   */
  enter(caller: object, turn: (place: Place | string) => void): (() => void) | undefined {
    const share = this.#shareOf(caller);
    if (this.#mayHave(share)) {
      const connection = this.#withRoom();
      if (connection !== undefined) {
        turn(this.#place(connection, share));
        return undefined;
      }
    }
    const problem = this.#cannotWait(share);
    if (problem !== undefined) {
      this.#forget(share);
      turn(problem);
      return undefined;
    }
    const { clock, connectTimeoutMs } = this.#options;
    const leave = (): boolean => {
      timer.cancel();
      if (!this.#waiting.delete(waiter)) return false;
      share.waiting -= 1;
      this.#forget(share);
      return true;
    };
    const waiter: Waiter = { share, turn, leave };
    const timer = clock.after(Math.max(MAX_WAIT_MS, connectTimeoutMs), () => {
      if (leave()) turn("it has no room for further calls");
    });
    this.#waiting.add(waiter);
    share.waiting += 1;
    return leave;
  }

  /** Ends all connections, with whatever still runs on them. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#connections.slice()) connection.destroy();
  }

  /** The first that has room, so that few are open. */
  #withRoom(): Connection | undefined {
    return this.#connections.find((connection) => connection.ready && connection.usable && connection.calls < connection.limit);
  }

  /** One caller's connection never has more than half of the room, however long its calls take. */
  #mayHave({ held }: Share): boolean {
    const limit = this.#connections.find(({ ready, usable }) => ready && usable)?.limit ?? Infinity;
    return held < Math.max(1, Math.ceil((limit * this.#options.maxConnections) / 2));
  }

  /** Why a call cannot wait. If it can, and a further connection may help, that is being made. */
  #cannotWait(share: Share): string | undefined {
    if (this.#closed) return "the proxy is closed";
    if (this.#waiting.size >= MAX_WAITING || share.waiting >= MAX_WAITING_OF_ONE) return "too many calls wait for it";
    const { maxConnections, clock } = this.#options;
    const usable = this.#connections.filter((connection) => connection.usable);
    // One that is being made serves those that wait for it, before there is need of another.
    const coming = usable.reduce((sum, connection) => sum + (connection.ready ? 0 : connection.limit), 0);
    if (this.#mayHave(share) && this.#waiting.size >= coming) {
      if (this.#connections.length < maxConnections && clock.monotonicMs() >= this.#retryAtMs) this.#connect();
      else if (usable.length === 0) return this.#problem === "" ? "every connection to it is ending" : this.#problem;
    }
    return undefined;
  }

  #connect(): void {
    const connection: Connection = new Connection(this.#options, {
      ready: () => this.#ready(),
      room: () => this.#serve(),
      ended: (problem, wasReady) => this.#ended(connection, problem, wasReady),
    });
    this.#connections.push(connection);
  }

  #place(connection: Connection, share: Share): Place {
    connection.calls += 1;
    share.held += 1;
    let left = false;
    const leave = (): void => {
      if (left) return;
      left = true;
      connection.calls -= 1;
      share.held -= 1;
      this.#forget(share);
      this.#serve();
    };
    return {
      open(headers, sensitive) {
        if (connection.usable) return connection.open(headers, sensitive, leave);
        leave();
        return connection.problem ?? "the connection is ending";
      },
      leave,
    };
  }

  /** Gives what room there is to those that wait longest, of those that may have more. */
  #serve(): void {
    if (this.#serving) return;
    this.#serving = true;
    try {
      for (const waiter of this.#waiting) {
        const connection = this.#withRoom();
        if (connection === undefined) return;
        if (!this.#mayHave(waiter.share)) continue;
        // Taken before it leaves the queue: its share lives on.
        const place = this.#place(connection, waiter.share);
        waiter.leave();
        waiter.turn(place);
      }
    } finally {
      this.#serving = false;
    }
  }

  #shareOf(caller: object): Share {
    let share = this.#shares.get(caller);
    if (share === undefined) {
      share = { caller, held: 0, waiting: 0 };
      this.#shares.set(caller, share);
    }
    return share;
  }

  #forget({ caller, held, waiting }: Share): void {
    if (held === 0 && waiting === 0) this.#shares.delete(caller);
  }

  /** A connection is gone: those that wait have another to wait for, or none. */
  #goneFor(problem: string | undefined, wasReady: boolean): void {
    if (this.#waiting.size === 0 || this.#connections.some(({ usable }) => usable)) return;
    // One that worked is made anew for them, one that could not be made is why they have waited in vain.
    if (wasReady && !this.#closed && this.#options.clock.monotonicMs() >= this.#retryAtMs) return this.#connect();
    // Whoever is told may come again.
    const all = Array.from(this.#waiting);
    for (const { leave, turn } of all) if (leave()) turn(problem ?? "the connection ended");
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
    this.#goneFor(problem, wasReady);
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

/** One caller's connection. */
interface Share {
  readonly caller: object;
  /** Its calls at the service, and those that wait. */
  held: number;
  waiting: number;
}

interface Waiter {
  readonly share: Share;
  readonly turn: (place: Place | string) => void;
  /** False: it was gone already. */
  leave(): boolean;
}

interface Hooks {
  ready(): void;
  /** There may be more room than before. */
  room(): void;
  ended(problem: string | undefined, wasReady: boolean): void;
}

class Connection implements UpstreamConnection {
  readonly #session: ClientHttp2Session;
  #timer: Timer | undefined;
  ready = false;
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
      if (this.ready) return hooks.room();
      // Connected is who answered: a socket alone may be anybody's.
      this.ready = true;
      this.#timer?.cancel();
      hooks.ready();
      hooks.room();
    });
    session.on("goaway", (_code, lastStreamId) => {
      this.#lastSeen = lastStreamId;
    });
    session.on("error", (error: NodeJS.ErrnoException) => {
      this.#problem ??= error.code ?? error.message;
    });
    session.once("close", () => {
      this.#timer?.cancel();
      if (!this.ready) this.#problem ??= "it closed the connection at once";
      hooks.ended(this.#problem, this.ready);
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

  open(headers: string[], sensitive: readonly string[], release: () => void): UpstreamCall {
    const raw = sensitive.length === 0 ? headers : withSensitive(headers, sensitive);
    const stream = this.#session.request(raw, { endStream: false });
    // A connection that breaks tells its streams first.
    stream.on("error", this.#onStreamError);
    if ((stream.id ?? 0) > LAST_STREAM_ID) {
      this.#retired = true;
      this.#session.close();
    }
    return { stream, connection: this, release };
  }

  unseen(id: number | undefined): boolean {
    return this.ready && (id === undefined || id > this.#lastSeen);
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
