// The connection to the authority: one HTTP/2 session, verified TLS or loopback, the guard's own identity on each call.
// Never sends an identity in plaintext to another machine.

import { ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { GuardService } from "@brevet/protocol/brevet/v1/guard";
import { LogService } from "@brevet/protocol/brevet/v1/log";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { identityFailure } from "./failure.ts";

/** PEM. */
export interface GuardTls {
  /** Certificates of the authorities that are trusted instead of the system's. */
  readonly ca?: string | Buffer;
  /** The guard's client certificate and key. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
}

/** Gives the guard's identity token for an audience, as a client certificate's holder may leave out: an empty text sends none. */
export type IdentitySource = (audience: string) => string | Promise<string>;

/** Where the authority is, and as whom to call it. */
export interface ConnectionOptions {
  /** `https://host:port`; `http://` on loopback only. */
  readonly authority: string;
  readonly identity: IdentitySource;
  /** The authority's own audience. */
  readonly authorityAudience: string;
  readonly tls?: GuardTls;
}

/** The authority's services, over one connection that is made when it is needed. */
export interface Connection {
  readonly guards: Client<typeof GuardService>;
  readonly elevations: Client<typeof ElevationService>;
  readonly logs: Client<typeof LogService>;
  /** Ends the connection; the next call makes another. */
  reset(): void;
  /** Ends the connection and all calls on it. */
  close(): void;
}

const PING_MS = 20_000;
const PING_TIMEOUT_MS = 5_000;

/** Prepares the connection. @throws TypeError for an address that is not https, or not http on loopback. */
export function connect(options: ConnectionOptions): Connection {
  const url = authorityUrl(options.authority);
  const { ca, cert, key } = options.tls ?? {};
  const manager = new Http2SessionManager(
    url.origin,
    { pingIntervalMs: PING_MS, pingTimeoutMs: PING_TIMEOUT_MS },
    url.protocol === "https:" ? { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } : {},
  );
  const identify: Interceptor = (next) => async (request) => {
    const token = await identityOf(options);
    if (token !== "") request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createGrpcTransport({ baseUrl: url.origin, interceptors: [identify], sessionManager: manager });
  return {
    guards: createClient(GuardService, transport),
    elevations: createClient(ElevationService, transport),
    logs: createClient(LogService, transport),
    reset: () => manager.abort(),
    close: () => manager.abort(),
  };
}

async function identityOf({ identity, authorityAudience }: ConnectionOptions): Promise<string> {
  try {
    return await identity(authorityAudience);
  } catch (error) {
    throw identityFailure(error);
  }
}

function authorityUrl(authority: string): URL {
  const url = URL.canParse(authority) ? new URL(authority) : undefined;
  if (url?.protocol === "https:") return url;
  if (url?.protocol !== "http:") throw new TypeError(`the authority's address is not https://…: ${authority}`);
  if (!/^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname))
    throw new TypeError(`plaintext to ${url.hostname} is refused: use https, http is for loopback only`);
  return url;
}
