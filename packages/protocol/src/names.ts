// Names and limits that callers, guards and the authority share. Metadata names carry no underscore: nginx drops those.

/** Identity of the caller: `Bearer <JWS>`, exactly one. */
export const AUTHORIZATION_HEADER = "authorization";
/** Grants of the caller, at most {@link MAX_GRANTS}; repeated entries may arrive joined by commas. */
export const GRANT_HEADER = "brevet-grant";
/** Trailer on permitted elevated calls: whole seconds until the window ends. */
export const WINDOW_ENDS_TRAILER = "brevet-window-ends";
/** Everything with this prefix is taken off before the handler or the upstream sees it. */
export const BREVET_HEADER_PREFIX = "brevet-";
/** Serialized google.rpc.Status. */
export const STATUS_DETAILS_TRAILER = "grpc-status-details-bin";
/** Milliseconds to wait before a retry, -1 for "do not" (gRFC A6). */
export const RETRY_PUSHBACK_TRAILER = "grpc-retry-pushback-ms";
/** W3C Trace Context. */
export const TRACEPARENT_HEADER = "traceparent";

/** `google.rpc.ErrorInfo.domain` of every Brevet error. It authenticates nobody. */
export const ERROR_DOMAIN = "brevet.dev";
/** `typ` of a grant. */
export const GRANT_TYPE = "brevet-grant+jwt";
/** RFC 9396 type of what a grant authorizes. */
export const GRANT_DETAIL_TYPE = "grpc_method";

/** Longest life of a grant, from `iat` to `exp`. */
export const MAX_GRANT_LIFETIME_MS = 15 * 60_000;
/** Grants looked at in one call. */
export const MAX_GRANTS = 4;
/** Bytes of `package.Service/Method`. */
export const MAX_METHOD_BYTES = 200;
/** Bytes of a principal's name. */
export const MAX_PRINCIPAL_BYTES = 256;
/** Bytes of an entitlement's id. */
export const MAX_ENTITLEMENT_BYTES = 64;
/** Bytes of a status message. */
export const MAX_MESSAGE_BYTES = 400;
/** Bytes of the trailer block of a denial, Σ(name + base64 value + 32). C-core clients lose larger ones. */
export const MAX_TRAILER_BYTES = 4096;
/** How long an ended elevation is remembered by its state; then ELEVATION_REQUIRED. */
export const REMEMBER_ENDED_MS = 24 * 3_600_000;
/** Port of the authority: gRPC, Connect, JSON, pages. */
export const DEFAULT_PORT = 7400;
/** Port of the authority's metrics and health. */
export const DEFAULT_ADMIN_PORT = 7401;
/** Audience of identity tokens for the authority itself, unless configured. */
export const DEFAULT_AUTHORITY_AUDIENCE = "brevet";

/** What a guard answers itself, for `brevet doctor`. */
export const PROBE_METHOD = "brevet.v1.GuardService/Probe";
