// The error details of one status, each type at most once (AIP-193): built from a denial, capped field by field, packed.
// Owns the caps; status.ts owns the budget of the whole.
import { create, type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema, type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import {
  type ElevationRequired,
  ElevationRequiredSchema,
  type EntitlementOffer,
  EntitlementOfferSchema,
} from "../gen/brevet/v1/error_pb.ts";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  HelpSchema,
  PreconditionFailureSchema,
  RetryInfoSchema,
} from "../gen/google/rpc/error_details_pb.ts";
import { ERROR_DOMAIN, MAX_ENTITLEMENT_BYTES, MAX_METHOD_BYTES, MAX_PRINCIPAL_BYTES } from "../names.ts";
import type { Denial, FieldViolation, HelpLink, PreconditionViolation } from "./denial.ts";
import { sanitise, utf8Length } from "./sanitise.ts";

/** Entitlements offered by name; further ones are counted. */
export const MAX_OFFERS = 5;
const MAX_LINKS = 4;
const MAX_VIOLATIONS = 8;
const MAX_URL_BYTES = 300;
const MAX_PATTERN_BYTES = 200;
const MAX_AUDIENCE_BYTES = 128;
const MAX_ID_BYTES = 64;
const MAX_VALUE_BYTES = 256;
/** All of `ErrorInfo.metadata`, so that ErrorInfo, RetryInfo and the longest message always fit the trailer block. */
const MAX_METADATA_BYTES = 1024;
const MAX_DURATION_SECONDS = 315_576_000_000n;

const METADATA_KEY = /^[a-z][A-Za-z0-9]{0,63}$/;
// What a reader needs most comes first, and stays when not all fits.
const FIRST_KEYS = ["decisionId", "method", "elevation", "entitlement", "principal", "serverTime", "policyVersion"];
const VALUE_BYTES = new Map([
  ["method", MAX_METHOD_BYTES],
  ["principal", MAX_PRINCIPAL_BYTES],
  ["entitlement", MAX_ENTITLEMENT_BYTES],
  ["elevation", MAX_ID_BYTES],
  ["decisionId", MAX_ID_BYTES],
]);

/** Details before they are packed; lists shrink when the budget asks for it. */
export interface DetailParts {
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryDelayMs: number | undefined;
  fieldViolations: readonly FieldViolation[];
  offer: ElevationRequired | undefined;
  help: readonly HelpLink[];
  preconditions: readonly PreconditionViolation[];
}

/** The parts of a denial, each string sanitised and capped. */
export function detailParts(denial: Denial): DetailParts {
  return {
    reason: denial.reason,
    metadata: cappedMetadata(denial.metadata),
    retryDelayMs: cappedDelayMs(denial.retryDelayMs),
    fieldViolations: cappedFieldViolations(denial.fieldViolations ?? []),
    offer: denial.offer && cappedOffer(denial.offer),
    help: cappedHelp(denial.help ?? []),
    preconditions: (denial.preconditions ?? []).slice(0, MAX_VIOLATIONS).map((violation) => ({
      type: sanitise(violation.type, MAX_ID_BYTES),
      subject: sanitise(violation.subject, MAX_VALUE_BYTES),
      description: sanitise(violation.description, MAX_VALUE_BYTES),
    })),
  };
}

/** Packs the parts, ErrorInfo first. */
export function packDetails(parts: DetailParts): Any[] {
  const details = [
    pack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: parts.reason, domain: ERROR_DOMAIN, metadata: { ...parts.metadata } })),
  ];
  if (parts.retryDelayMs !== undefined) {
    const ms = parts.retryDelayMs;
    const retryDelay = create(DurationSchema, { seconds: BigInt(Math.trunc(ms / 1000)), nanos: Math.trunc(ms % 1000) * 1_000_000 });
    details.push(pack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  if (parts.fieldViolations.length > 0)
    details.push(pack(BadRequestSchema, create(BadRequestSchema, { fieldViolations: parts.fieldViolations.map((one) => ({ ...one })) })));
  if (parts.offer) details.push(pack(ElevationRequiredSchema, parts.offer));
  if (parts.help.length > 0) details.push(pack(HelpSchema, create(HelpSchema, { links: parts.help.map((link) => ({ ...link })) })));
  if (parts.preconditions.length > 0)
    details.push(
      pack(PreconditionFailureSchema, create(PreconditionFailureSchema, { violations: parts.preconditions.map((one) => ({ ...one })) })),
    );
  return details;
}

function pack<D extends DescMessage>(schema: D, message: MessageShape<D>): Any {
  return create(AnySchema, { typeUrl: `type.googleapis.com/${schema.typeName}`, value: toBinary(schema, message) });
}

/** Keys in lowerCamelCase with sanitised values, in a fixed order; whole entries are left out once the budget is spent. */
export function cappedMetadata(metadata: Readonly<Record<string, string>>): Record<string, string> {
  const keys = Object.keys(metadata).filter((key) => METADATA_KEY.test(key));
  const rest = keys.filter((key) => !FIRST_KEYS.includes(key)).toSorted();
  const entries: [string, string][] = [];
  let bytes = 0;
  for (const key of [...FIRST_KEYS.filter((key) => keys.includes(key)), ...rest]) {
    const value = sanitise(String(metadata[key]), VALUE_BYTES.get(key) ?? MAX_VALUE_BYTES);
    // A map entry costs up to eight bytes of tags and lengths.
    bytes += key.length + utf8Length(value) + 8;
    if (bytes > MAX_METADATA_BYTES) break;
    entries.push([key, value]);
  }
  return Object.fromEntries(entries);
}

/** Milliseconds, not below 0, not above what a timer or an int32 can take; undefined for what is no number. */
export function cappedDelayMs(delayMs: number | undefined): number | undefined {
  if (delayMs === undefined || Number.isNaN(delayMs)) return undefined;
  return Math.min(Math.max(0, Math.ceil(delayMs)), 2 ** 31 - 1);
}

/** At most 8, capped. */
export function cappedFieldViolations(violations: readonly FieldViolation[]): FieldViolation[] {
  return violations.slice(0, MAX_VIOLATIONS).map(({ field, description }) => ({
    field: sanitise(field, MAX_VALUE_BYTES),
    description: sanitise(description, MAX_VALUE_BYTES),
  }));
}

/** At most 4 links; one whose URL is not absolute http(s), or too long, is left out: a cut URL helps nobody. */
export function cappedHelp(links: readonly HelpLink[]): HelpLink[] {
  return links
    .filter(({ url }) => url.length <= MAX_URL_BYTES && /^https?:\/\/[\u0021-\u007e]+$/.test(url) && URL.canParse(url))
    .slice(0, MAX_LINKS)
    .map(({ description, url }) => ({ description: sanitise(description, MAX_VALUE_BYTES), url }));
}

/** At most 5 entitlements, the others counted; strings capped, durations that no protobuf Duration can mean left out. */
export function cappedOffer(offer: ElevationRequired): ElevationRequired {
  return create(ElevationRequiredSchema, {
    entitlements: offer.entitlements.slice(0, MAX_OFFERS).map(cappedEntitlement),
    more: Math.min(offer.more + Math.max(0, offer.entitlements.length - MAX_OFFERS), 2 ** 32 - 1),
    method: sanitise(offer.method, MAX_METHOD_BYTES),
    audience: sanitise(offer.audience, MAX_AUDIENCE_BYTES),
    evaluationId: sanitise(offer.evaluationId, MAX_ID_BYTES),
  });
}

function cappedEntitlement(offer: EntitlementOffer): EntitlementOffer {
  const capped = create(EntitlementOfferSchema, {
    entitlement: sanitise(offer.entitlement, MAX_ENTITLEMENT_BYTES),
    reasonRequired: offer.reasonRequired,
    // Half a pattern would be another pattern: all or nothing.
    reasonPattern: utf8Length(offer.reasonPattern) <= MAX_PATTERN_BYTES ? sanitise(offer.reasonPattern, MAX_PATTERN_BYTES) : "",
    approvals: offer.approvals,
    payloadBound: offer.payloadBound,
    breakGlass: offer.breakGlass,
  });
  if (offer.eligibleApprovers !== undefined) capped.eligibleApprovers = offer.eligibleApprovers;
  const [defaultDuration, maxDuration] = [cappedDuration(offer.defaultDuration), cappedDuration(offer.maxDuration)];
  if (defaultDuration) capped.defaultDuration = defaultDuration;
  if (maxDuration) capped.maxDuration = maxDuration;
  return capped;
}

function cappedDuration(duration: Duration | undefined): Duration | undefined {
  if (!duration || duration.seconds < 0n || duration.seconds > MAX_DURATION_SECONDS) return undefined;
  if (duration.nanos < 0 || duration.nanos > 999_999_999) return undefined;
  return create(DurationSchema, { seconds: duration.seconds, nanos: duration.nanos });
}
