// One gRPC call over plain HTTP/2, so that all of it can be seen: the certificate, a call of which only the headers are sent, what came back.
// Sends no credential over a connection whose certificate does not hold. Never throws.
import { connect as connectHttp2, constants, type IncomingHttpHeaders } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { type ReceivedStatus, readStatus, STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import { causeOf } from "../connection/identity.ts";

/** Where to. */
export interface Place {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** Certificates to trust, PEM. */
  readonly ca?: string;
}

/** A server's certificate, as far as its validity goes. */
export interface Certificate {
  readonly subject: string;
  readonly fromMs: number;
  readonly toMs: number;
  /** Why it is not trusted: Node's code, such as CERT_HAS_EXPIRED; absent where it is. */
  readonly problem?: string;
}

/** What to call. */
export interface WireCall {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined: only the headers are sent, so that no unary handler runs. */
  readonly message: Uint8Array | undefined;
  readonly timeoutMs: number;
}

/** What came of it. */
export type WireAnswer = { readonly certificate?: Certificate } & (
  | { readonly kind: "status"; readonly status: ReceivedStatus; readonly trailersOnly: boolean }
  | { readonly kind: "message"; readonly message: Uint8Array }
  /** Answered, and not in gRPC. */
  | { readonly kind: "http"; readonly httpStatus: number }
  /** It took the headers and said nothing. */
  | { readonly kind: "silent" }
  | { readonly kind: "unreachable"; readonly cause: string }
);

/** Makes the call. */
export async function wireCall(place: Place, call: WireCall): Promise<WireAnswer> {
  let socket: Socket | TLSSocket;
  try {
    socket = await open(place, call.timeoutMs);
  } catch (error) {
    return { kind: "unreachable", cause: causeOf(error) };
  }
  const certificate = place.tls ? certificateOf(socket as TLSSocket) : undefined;
  const beside = certificate === undefined ? {} : { certificate };
  if (certificate?.problem !== undefined) {
    socket.destroy();
    return { kind: "unreachable", cause: certificate.problem, ...beside };
  }
  try {
    return { ...(await exchange(socket, place, call)), ...beside };
  } catch (error) {
    return { kind: "unreachable", cause: causeOf(error), ...beside };
  } finally {
    socket.destroy();
  }
}

/** `host:port`, `https://host:port` or `http://host:port`; loopback is plaintext unless it says https. Undefined for what is none. */
export function placeOf(text: string): Place | undefined {
  const [, scheme, rest = ""] = /^(?:(https?):\/\/)?(.+?)\/?$/.exec(text) ?? [];
  const [, host = "", port = ""] = /^(\[[0-9a-fA-F:.]+\]|[^:/\s]+)(?::(\d{1,5}))?$/.exec(rest) ?? [];
  if (host === "") return undefined;
  const plain = scheme === "http" || (scheme === undefined && /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(host));
  const number = port === "" ? (plain ? 80 : 443) : Number(port);
  return number > 65_535 ? undefined : { host: host.replace(/^\[|\]$/g, ""), port: number, tls: !plain };
}

function open({ host, port, tls, ca }: Place, timeoutMs: number): Promise<Socket | TLSSocket> {
  return new Promise((resolve, reject) => {
    // Looked at here, and refused by whoever reads it.
    const options = { host, port, ALPNProtocols: ["h2"], rejectUnauthorized: false, ...(ca === undefined ? {} : { ca }) };
    const servername = /^[\d.]+$|:/.test(host) ? {} : { servername: host };
    const socket = tls ? connectTls({ ...options, ...servername }) : connectTcp({ host, port });
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error("no answer in time")));
    socket.once("error", reject);
    socket.once(tls ? "secureConnect" : "connect", () => {
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}

function certificateOf(socket: TLSSocket): Certificate {
  const { subject, valid_from, valid_to } = socket.getPeerCertificate();
  const problem = socket.authorized ? undefined : String(socket.authorizationError);
  return {
    subject: String(subject?.CN ?? ""),
    fromMs: Date.parse(valid_from),
    toMs: Date.parse(valid_to),
    ...(problem === undefined ? {} : { problem }),
  };
}

function exchange(socket: Socket, { host, port, tls }: Place, { method, headers, message, timeoutMs }: WireCall): Promise<WireAnswer> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`${tls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`, {
      createConnection: () => socket,
    });
    session.once("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": `/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    let first: IncomingHttpHeaders | undefined;
    let trailers: IncomingHttpHeaders | undefined;
    const chunks: Buffer[] = [];
    const done = (answer: WireAnswer) => {
      clearTimeout(late);
      stream.close(constants.NGHTTP2_CANCEL);
      session.destroy();
      resolve(answer);
    };
    const late = setTimeout(() => done(first === undefined ? { kind: "silent" } : answerOf(first, trailers, chunks)), timeoutMs);
    stream.once("response", (got) => {
      first = got;
    });
    stream.once("trailers", (got) => {
      trailers = got;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.once("error", (error) => {
      clearTimeout(late);
      reject(error);
    });
    stream.once("end", () => setImmediate(() => done(first === undefined ? { kind: "silent" } : answerOf(first, trailers, chunks))));
    if (message !== undefined) stream.end(framed(message));
  });
}

function answerOf(first: IncomingHttpHeaders, trailers: IncomingHttpHeaders | undefined, chunks: readonly Buffer[]): WireAnswer {
  const trailersOnly = first["grpc-status"] !== undefined;
  const last = trailersOnly ? first : trailers;
  const http = Number(first[":status"]);
  if (first["content-type"]?.startsWith("application/grpc") !== true) return { kind: "http", httpStatus: http };
  const code = Number(last?.["grpc-status"] ?? Number.NaN);
  const body = Buffer.concat(chunks);
  if (code === 0 && body.length >= 5) return { kind: "message", message: body.subarray(5, 5 + body.readUInt32BE(1)) };
  if (Number.isNaN(code)) return { kind: "silent" };
  const details = last?.[STATUS_DETAILS_TRAILER];
  const status = readStatus(
    code,
    decoded(String(last?.["grpc-message"] ?? "")),
    typeof details === "string" ? Buffer.from(details, "base64") : undefined,
  );
  return { kind: "status", status, trailersOnly };
}

function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
