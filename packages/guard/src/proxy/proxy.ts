// The guard as a proxy in front of a service in any language: node:http2 on both sides, bytes relayed, calls judged by the same enforcement.
// Owns the wiring of listener, upstream and enforcement, and their end; calls live in call.ts.
import type { ServerHttp2Stream } from "node:http2";
import { type Clock, GrpcCode, systemClock, type Timer } from "@brevet/protocol";
import { Enforcement, type GuardOptions, type GuardState } from "../enforcement/enforcement.ts";
import { jsonLogger, steadyLogger } from "../log/logger.ts";
import { type Address, addressOf, addressText, isLocal, reachesItself } from "./address.ts";
import { type CallMeans, ProxiedCall } from "./call.ts";
import { type Caller, Listener, type ListenTls } from "./listener.ts";
import { readRequest, type Unreadable } from "./request.ts";
import { plainStatus, trailersOnly } from "./status.ts";
import { Upstream, type UpstreamTls } from "./upstream.ts";

export type { GuardOptions, GuardState } from "../enforcement/enforcement.ts";
export type { DecisionEvent } from "../enforcement/record.ts";
export { fromFile } from "../grpc/source.ts";
export type { GuardTls, IdentitySource } from "../link/connection.ts";
export { type GuardLogger, jsonLogger } from "../log/logger.ts";
export type { ListenTls } from "./listener.ts";
export type { UpstreamTls } from "./upstream.ts";

/** Bounds against abuse, each with a default. */
export interface ProxyLimits {
  /** Callers' connections at once; 10,000. */
  readonly maxConnections?: number;
  /** Calls at once on one caller's connection; 1,000. */
  readonly maxConcurrentStreams?: number;
  /** Metadata of a call as HTTP/2 counts it, Σ(name + value + 32); 16 KiB. */
  readonly maxHeaderBytes?: number;
  /** A request message that a condition or a payload binding reads, before and after decompression; 4 MiB. Others have no limit. */
  readonly maxMessageBytes?: number;
  /** How long such a message may take to come; 10 s. */
  readonly requestTimeoutMs?: number;
  /** A caller's connection without calls for so long is closed; 10 min. */
  readonly idleMs?: number;
  /** Connections to the service; 8. */
  readonly upstreamConnections?: number;
  /** How long the service may take to answer a new connection; 5 s. */
  readonly connectTimeoutMs?: number;
  /** How long calls may go on after `close`; 10 s. */
  readonly drainMs?: number;
}

/** A guard in front of one service. */
export interface ProxyOptions extends GuardOptions {
  /** Where callers come: `host:port`, port 0 for any free one, or `unix:/path`. */
  readonly listen: string;
  /** The service: `host:port` or `unix:/path`. */
  readonly upstream: string;
  /** TLS to the callers. Without it callers are taken on loopback and Unix sockets only. */
  readonly listenTls?: ListenTls;
  /** TLS to the service. Without it the service is called on loopback and Unix sockets only. */
  readonly upstreamTls?: UpstreamTls;
  /** Takes plaintext callers, with their tokens, from elsewhere too. */
  readonly insecureListen?: boolean;
  /** Sends calls, with their tokens, in plaintext to another machine too. */
  readonly insecureUpstream?: boolean;
  readonly limits?: ProxyLimits;
}

/** How a proxy stands. */
export interface ProxyState extends GuardState {
  /** Why the service is not reached; absent while it is, or before it was needed. */
  readonly upstreamProblem?: string;
  /** Calls in hand. */
  readonly calls: number;
  /** Of these, those that were let through and wait for room at the service. */
  readonly waiting: number;
}

/** A proxy that listens. */
export interface Proxy extends AsyncDisposable {
  /** 0 on a Unix socket. */
  readonly port: number;
  /** Where it listens, as `host:port` or `unix:/path`. */
  readonly address: string;
  /** Resolves once there is a policy to decide by; until then calls get UNAVAILABLE. Rejects when aborted or closed first. */
  ready(signal?: AbortSignal): Promise<void>;
  status(): ProxyState;
  /** Takes no new calls, lets those in hand finish within `drainMs`, ends the rest with UNAVAILABLE, and disconnects. */
  close(): Promise<void>;
}

const DEFAULTS: Required<ProxyLimits> = {
  maxConnections: 10_000,
  maxConcurrentStreams: 1000,
  maxHeaderBytes: 16 << 10,
  maxMessageBytes: 4 << 20,
  requestTimeoutMs: 10_000,
  idleMs: 600_000,
  upstreamConnections: 8,
  connectTimeoutMs: 5000,
  drainMs: 10_000,
};
/** After the last calls were ended: for their statuses to go out. */
const FAREWELL_MS = 500;

/** Starts one: resolves once it listens. @throws TypeError for addresses that may not be used, and the system's Error for one that cannot be had. */
export async function proxy(options: ProxyOptions): Promise<Proxy> {
  const listen = checked("listen", options.listen, options.listenTls !== undefined || options.insecureListen === true);
  const upstream = checked("upstream", options.upstream, options.upstreamTls !== undefined || options.insecureUpstream === true);
  if (reachesItself(listen, upstream))
    throw new TypeError(
      `upstream ${options.upstream} is where the proxy itself listens (${options.listen}): calls would go round for ever`,
    );
  const running = new RunningProxy(options, listen, upstream);
  await running.listen();
  return running;
}

function checked(name: string, text: string, plaintextAnywhere: boolean): Address {
  const address = addressOf(text);
  if (address === undefined) throw new TypeError(`${name} is not host:port or unix:/path: ${text}`);
  if (!plaintextAnywhere && !isLocal(address)) throw new TypeError(`${name}: plaintext on ${text} is refused, tokens would pass; use TLS`);
  return address;
}

class RunningProxy implements Proxy {
  readonly #enforcement: Enforcement;
  readonly #listener: Listener;
  readonly #upstream: Upstream;
  readonly #means: CallMeans;
  readonly #limits: Required<ProxyLimits>;
  readonly #clock: Clock;
  readonly #listen: Address;
  readonly #calls = new Set<ProxiedCall>();
  #closing: Promise<void> | undefined;
  port = 0;

  constructor(options: ProxyOptions, listen: Address, upstream: Address) {
    const { clock = systemClock, listenTls, upstreamTls } = options;
    const limits = { ...DEFAULTS, ...options.limits };
    const logger = steadyLogger(options.logger ?? jsonLogger());
    this.#limits = limits;
    this.#clock = clock;
    this.#listen = listen;
    this.#enforcement = new Enforcement(options, "proxy");
    this.#upstream = new Upstream({
      address: upstream,
      ...(upstreamTls && { tls: upstreamTls }),
      maxConnections: limits.upstreamConnections,
      connectTimeoutMs: limits.connectTimeoutMs,
      // Statuses with details come back: as much as callers take.
      maxHeaderBytes: 64 << 10,
      clock,
      random: () => Math.random(),
      logger,
    });
    this.#listener = new Listener({
      ...limits,
      ...(listenTls && { tls: listenTls }),
      clock,
      onCall: (caller, stream, raw, sensitive) => this.#onCall(caller, stream, raw, sensitive),
    });
    this.#means = {
      ...limits,
      enforcement: this.#enforcement,
      upstream: this.#upstream,
      clock,
      onClose: (call) => this.#calls.delete(call),
    };
  }

  async listen(): Promise<void> {
    try {
      this.port = await this.#listener.listen(this.#listen);
    } catch (error) {
      await this.#enforcement.close();
      throw error;
    }
  }

  get address(): string {
    return addressText("path" in this.#listen ? this.#listen : { ...this.#listen, port: this.port });
  }

  ready(signal?: AbortSignal): Promise<void> {
    return this.#enforcement.ready(signal);
  }

  status(): ProxyState {
    const { problem, waiting } = this.#upstream;
    return { ...this.#enforcement.status(), calls: this.#calls.size, waiting, ...(problem !== undefined && { upstreamProblem: problem }) };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    let timer: Timer | undefined;
    const drained = this.#listener.drain();
    const within = (ms: number) =>
      Promise.race([drained, new Promise<void>((resolve) => (timer = this.#clock.after(ms, resolve, { hold: true })))]).finally(() =>
        timer?.cancel(),
      );
    await within(this.#limits.drainMs);
    for (const call of this.#calls) call.end(plainStatus(GrpcCode.UNAVAILABLE, "the guard in front of the service is shutting down"));
    await within(FAREWELL_MS);
    this.#listener.destroy();
    await drained;
    this.#upstream.close();
    await this.#enforcement.close();
  }

  #onCall(caller: Caller, stream: ServerHttp2Stream, raw: readonly string[], sensitive: readonly string[]): void {
    try {
      const head = readRequest(raw, { scheme: this.#upstream.scheme, maxHeaderBytes: this.#limits.maxHeaderBytes });
      if ("kind" in head) return refuseUnreadable(caller, stream, head);
      this.#calls.add(new ProxiedCall(this.#means, { caller, stream, head, raw, sensitive }));
    } catch (error) {
      this.#enforcement.faulty(error);
      stream.on("error", () => {});
      stream.destroy();
    }
  }
}

function refuseUnreadable(caller: Caller, stream: ServerHttp2Stream, why: Unreadable): void {
  stream.on("error", () => {});
  stream.on("close", () => caller.release());
  if (why.kind === "grpc") stream.respond(trailersOnly(plainStatus(why.code, why.message)), { endStream: true });
  else {
    const allow = why.status === 405 ? { allow: "POST" } : {};
    stream.respond({ ":status": why.status, "content-type": "text/plain", ...allow });
    stream.end(`${why.text}\n`);
  }
  stream.resume();
  setImmediate(() => {
    if (!stream.readableEnded && !stream.closed) stream.close();
  });
}
