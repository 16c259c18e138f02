// What both sides must agree on: names and limits, ids, methods, the catalogue of reasons, refusals on the wire, grants,
// checkpoints, time.
// Decides nothing and talks to nobody.
export {
  type Checkpoint,
  formatVerifier,
  type NoteVerifier,
  openCheckpoint,
  parseVerifier,
  signCheckpoint,
} from "./checkpoint/checkpoint.ts";
export { formatId, type IdPrefix, type NewId, newId } from "./ids.ts";
export { isMethodName, type MethodName, methodMatches, methodOfPath, parseMethodName } from "./method.ts";
export {
  AUTHORIZATION_HEADER,
  BREVET_HEADER_PREFIX,
  DEFAULT_ADMIN_PORT,
  DEFAULT_AUTHORITY_AUDIENCE,
  DEFAULT_PORT,
  ERROR_DOMAIN,
  GRANT_DETAIL_TYPE,
  GRANT_HEADER,
  GRANT_TYPE,
  MAX_ENTITLEMENT_BYTES,
  MAX_GRANT_LIFETIME_MS,
  MAX_GRANTS,
  MAX_MESSAGE_BYTES,
  MAX_METHOD_BYTES,
  MAX_PRINCIPAL_BYTES,
  MAX_TRAILER_BYTES,
  PROBE_METHOD,
  REMEMBER_ENDED_MS,
  RETRY_PUSHBACK_TRAILER,
  STATUS_DETAILS_TRAILER,
  TRACEPARENT_HEADER,
  WINDOW_ENDS_TRAILER,
} from "./names.ts";
export { type CatalogueEntry, catalogue, isReasonName, type ReasonName, type RetryClass } from "./reason/catalogue.ts";
export { codeName, GrpcCode } from "./reason/code.ts";
export type { Denial, FieldViolation, HelpLink, PreconditionViolation } from "./status/denial.ts";
export { sanitise } from "./status/sanitise.ts";
export { type EncodedStatus, encodeDenial, type ReceivedStatus, readStatus, trailerBytes } from "./status/status.ts";
export { type Clock, sleep, systemClock, type Timer } from "./time/clock.ts";
export { formatDuration, parseDuration } from "./time/duration.ts";
export { OffsetEstimator, type OffsetOptions, type TimeEstimate } from "./time/offset.ts";
export {
  type GrantCheck,
  type GrantClaims,
  type GrantExpectation,
  type GrantForm,
  grantMethods,
  judgeGrant,
  parseGrant,
  signGrant,
  verifyGrant,
} from "./token/grant.ts";
export { type JsonObject, type JsonValue, type JwsForm, type JwsLimits, parseJws } from "./token/jws.ts";
export { generateSigningKey, keysOfJwks, type PublicJwk, type SigningKey, thumbprint } from "./token/keys.ts";
export { traceIdOf } from "./trace/trace.ts";
