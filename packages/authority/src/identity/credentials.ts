// What a caller presented, taken from the request as it came: values of `authorization`, the connection's certificate, names of headers.
// Never judges it.
import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import { TLSSocket } from "node:tls";
import { AUTHORIZATION_HEADER } from "@brevet/protocol";

/** What a caller presented. */
export interface Credentials {
  /** One for each time that the header was sent: also where a library would keep the first only. */
  readonly authorization: readonly string[];
  readonly certificate?: PresentedCertificate;
  /** Names only. */
  readonly headersSeen: readonly string[];
}

/** The certificate of a TLS client. */
export interface PresentedCertificate {
  /** Whether it leads to one of the configured authorities, and if not, why. */
  readonly trusted: boolean;
  readonly problem?: string;
  /** URI names (RFC 5280, 4.2.1.6). */
  readonly uris: readonly string[];
  /** Milliseconds since 1970. */
  readonly validToMs: number;
}

// Reading a certificate costs as much as a whole call: once per connection.
const certificates = new WeakMap<TLSSocket, PresentedCertificate | "none">();

/** Reads the credentials of a request of either HTTP version. */
export function credentialsOf(request: IncomingMessage | Http2ServerRequest): Credentials {
  const { rawHeaders } = request;
  const authorization: string[] = [];
  const names = new Set<string>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? "").toLowerCase();
    if (name === AUTHORIZATION_HEADER) authorization.push(rawHeaders[i + 1] ?? "");
    if (!name.startsWith(":")) names.add(name);
  }
  const socket = "stream" in request ? request.stream.session?.socket : request.socket;
  const certificate = socket instanceof TLSSocket ? certificateOf(socket) : undefined;
  return { authorization, headersSeen: [...names], ...(certificate ? { certificate } : {}) };
}

function certificateOf(socket: TLSSocket): PresentedCertificate | undefined {
  let known = certificates.get(socket);
  if (known === undefined) certificates.set(socket, (known = readCertificate(socket) ?? "none"));
  return known === "none" ? undefined : known;
}

function readCertificate(socket: TLSSocket): PresentedCertificate | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  return {
    trusted: socket.authorized,
    uris: uriNames(certificate.subjectAltName ?? ""),
    validToMs: Date.parse(certificate.validTo),
    ...(socket.authorized ? {} : { problem: String(socket.authorizationError ?? "not trusted") }),
  };
}

/** The URI names in OpenSSL's one-line form, in which a name that could be misread is a JSON string. */
export function uriNames(subjectAltName: string): string[] {
  const names: string[] = [];
  for (const [, kind, quoted, plain] of subjectAltName.matchAll(/(?:^|, )([A-Za-z ]+):(?:("(?:[^"\\]|\\.)*")|([^,]*))/g)) {
    if (kind !== "URI") continue;
    if (quoted === undefined) names.push(plain ?? "");
    else names.push(String(JSON.parse(quoted)));
  }
  return names;
}
