// One request as HTTP/2 brought it: what gRPC makes of its headers, and which of them go on.
// Never decides whether the call is allowed; it refuses only what cannot be read in one way.
import {
  AUTHORIZATION_HEADER,
  BREVET_HEADER_PREFIX,
  GRANT_HEADER,
  GrpcCode,
  MAX_METHOD_BYTES,
  methodOfPath,
  TRACEPARENT_HEADER,
} from "@brevet/protocol";
import { timeoutMsOf } from "./timeout.ts";

/** The headers of a call that can be read. */
export interface RequestHead {
  /** `package.Service/Method`. */
  readonly method: string;
  /** Every value that came, in order. */
  readonly authorization: readonly string[];
  readonly grants: readonly string[];
  readonly traceparent: readonly string[];
  /** Of compressed messages, `grpc-encoding`. */
  readonly encoding: string;
  /** Undefined: the caller set no deadline. */
  readonly timeoutMs: number | undefined;
  /** Names and values in turn, for the upstream: all that came but `brevet-*`. */
  readonly forward: string[];
  /** Place of the value of `grpc-timeout` in `forward`; -1: none. */
  readonly timeoutAt: number;
}

/** A request that is none: answered by an HTTP status with a text, or by a gRPC status. */
export type Unreadable =
  | { readonly kind: "http"; readonly status: number; readonly text: string }
  | { readonly kind: "grpc"; readonly code: number; readonly message: string };

/** What makes the headers. */
export interface ReadOptions {
  /** Scheme of the upstream. */
  readonly scheme: "http" | "https";
  /** Of the header list as HTTP/2 counts it, Σ(name + value + 32). */
  readonly maxHeaderBytes: number;
}

const ENTRY_BYTES = 32;
/** Messages are read as protobuf: a service that reads another form out of the same bytes would run what nobody judged. */
const GRPC_CONTENT_TYPE = /^application\/grpc(?:\+proto)?$/;
const NONE: readonly string[] = [];

/** Reads raw headers, names and values in turn, as `stream` events of node:http2 carry them. */
export function readRequest(raw: readonly string[], { scheme, maxHeaderBytes }: ReadOptions): RequestHead | Unreadable {
  const forward: string[] = [];
  let httpMethod = "";
  let path = "";
  let contentType = "";
  let types = 0;
  let bodyEncoded = false;
  let encoding = "identity";
  let encodings = 0;
  let timeout = "";
  let timeouts = 0;
  let timeoutAt = -1;
  let bytes = 0;
  let authorization = NONE;
  let grants = NONE;
  let traceparent = NONE;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? "";
    let value = raw[i + 1] ?? "";
    bytes += name.length + value.length + ENTRY_BYTES;
    switch (name) {
      case ":method":
        httpMethod = value;
        break;
      case ":path":
        path = value;
        break;
      case ":scheme":
        value = scheme;
        break;
      case "content-type":
        contentType = value;
        types += 1;
        break;
      case "content-encoding":
        bodyEncoded ||= value !== "identity";
        break;
      case "grpc-encoding":
        encoding = value;
        encodings += 1;
        break;
      case "grpc-timeout":
        timeout = value;
        timeouts += 1;
        timeoutAt = forward.length + 1;
        break;
      case AUTHORIZATION_HEADER:
        authorization = [...authorization, value];
        break;
      case GRANT_HEADER:
        grants = [...grants, value];
        break;
      case TRACEPARENT_HEADER:
        traceparent = [...traceparent, value];
        break;
      default:
    }
    if (!name.startsWith(BREVET_HEADER_PREFIX)) forward.push(name, value);
  }
  if (httpMethod !== "POST") return http(405, "gRPC calls are POST requests over HTTP/2");
  if (types !== 1 || !GRPC_CONTENT_TYPE.test(contentType)) return http(415, "this is a gRPC service: the content type is application/grpc");
  if (bodyEncoded) return http(415, "gRPC compresses messages, not bodies: no content-encoding is taken");
  if (bytes > maxHeaderBytes) return grpc(GrpcCode.RESOURCE_EXHAUSTED, `the metadata is ${bytes} bytes, more than ${maxHeaderBytes}`);
  const method = methodOfPath(path);
  if (method === undefined)
    return grpc(GrpcCode.UNIMPLEMENTED, `the path is not a literal /package.Service/Method of at most ${MAX_METHOD_BYTES} bytes`);
  if (encodings > 1) return grpc(GrpcCode.INTERNAL, "grpc-encoding came more than once");
  const timeoutMs = timeouts === 0 ? undefined : timeoutMsOf(timeout);
  if (timeouts > 1 || (timeouts === 1 && timeoutMs === undefined)) return grpc(GrpcCode.INTERNAL, "grpc-timeout cannot be read");
  return { method, authorization, grants, traceparent, encoding, timeoutMs, forward, timeoutAt };
}

/** Header names that a gRPC library keeps to itself. */
const TRANSPORT = new Set(["te", "content-type", "accept-encoding", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"]);

/** Names of the metadata that came, in order. */
export function namesSeen(raw: readonly string[]): readonly string[] {
  const names = new Set<string>();
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? "";
    if (!name.startsWith(":") && !TRANSPORT.has(name)) names.add(name);
  }
  return [...names];
}

function http(status: number, text: string): Unreadable {
  return { kind: "http", status, text };
}

function grpc(code: number, message: string): Unreadable {
  return { kind: "grpc", code, message };
}
