// The one HTTP/2 connection to the configured authority, with the caller's identity on each call. Opened by the first call, let go when idle.
// Talks to no other address, whatever a service says.
import { type Clock, DEFAULT_AUTHORITY_AUDIENCE, formatDuration } from "@brevet/protocol";
import { ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { bounded, type Limit } from "./bounded.ts";
import { IdentityFailure } from "./failure.ts";

/**
 * Gives an identity token for an audience: the service's or the authority's. Called for each use; cache where that is costly. One for the
 * authority that is not there in 8 s counts as none.
 */
export type IdentitySource = (audience: string) => string | Promise<string>;

/** TLS towards the authority, PEM. Without `ca` the system's certificate authorities count; `cert` and `key` are the caller's own. */
export interface TlsOptions {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
}

/** Where the authority is, and who calls. */
export interface ConnectionOptions {
  /** `https://host:port`; `http://` on this machine only. */
  readonly authority: string;
  readonly identity: IdentitySource;
  /** The authority's own audience; "brevet" unless told. */
  readonly authorityAudience?: string;
  readonly tls?: TlsOptions;
}

/** The authority's API, and its end. */
export interface Connection {
  /** Origin, for links and messages. */
  readonly url: string;
  readonly api: Client<typeof ElevationService>;
  /** Ends what is open. */
  close(): void;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;
const PING_INTERVAL_MS = 20_000;
const IDLE_MS = 60_000;
// Less than any call of the authority may take: the call would be told that the authority is slow.
const TOKEN_LIMIT_MS = 8000;

/** Prepares the connection; nothing is sent. Throws TypeError for a URL that no token may be sent to. */
export function openConnection(options: ConnectionOptions, clock: Clock): Connection {
  const url = authorityOrigin(options.authority);
  const audience = options.authorityAudience ?? DEFAULT_AUTHORITY_AUDIENCE;
  const identify: Interceptor = (next) => async (request) => {
    // An interceptor that waits is not ended with its call.
    const token = await bounded(identityToken(options.identity, audience), request.signal, tokenLimit(clock, audience, TOKEN_LIMIT_MS));
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const { ca, cert, key } = options.tls ?? {};
  const session = new Http2SessionManager(
    url,
    { pingIntervalMs: PING_INTERVAL_MS, idleConnectionTimeoutMs: IDLE_MS },
    { ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) },
  );
  const transport = createGrpcTransport({ baseUrl: url, sessionManager: session, interceptors: [identify] });
  return { url, api: createClient(ElevationService, transport), close: () => session.abort() };
}

/** The origin of an authority's URL. Throws TypeError unless it is https, or http to this machine, without a path. */
export function authorityOrigin(text: string): string {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:") || url.pathname !== "/" || url.username !== "")
    throw new TypeError(`authority: "${text}" is not a URL like https://brevet.example.com:7400`);
  if (url.protocol === "http:" && !LOOPBACK.test(url.hostname))
    throw new TypeError(`authority: ${url.origin} would carry identity tokens in plaintext to another machine; use https`);
  return url.origin;
}

/** The token, from wherever it comes. Rejects with {@link IdentityFailure}. */
export async function identityToken(identity: IdentitySource, audience: string): Promise<string> {
  let token: string;
  try {
    token = await identity(audience);
  } catch (error) {
    throw new IdentityFailure(audience, error);
  }
  if (typeof token !== "string" || token === "") throw new IdentityFailure(audience, "it gave no token");
  return token;
}

/** What a token that does not come ends with, after so long. */
export function tokenLimit(clock: Clock, audience: string, afterMs: number): Limit {
  return { clock, afterMs, late: () => new IdentityFailure(audience, `it gave none in ${formatDuration(afterMs)}`) };
}
