// Details as they came off the wire, from whoever sent them: unpacked one by one, capped, and dropped where they do not parse.
import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { type ElevationRequired, ElevationRequiredSchema } from "../gen/brevet/v1/error_pb.ts";
import { BadRequestSchema, ErrorInfoSchema, HelpSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { ERROR_DOMAIN } from "../names.ts";
import { isReasonName, type ReasonName } from "../reason/catalogue.ts";
import type { FieldViolation, HelpLink } from "./denial.ts";
import { cappedDelayMs, cappedFieldViolations, cappedHelp, cappedMetadata, cappedOffer } from "./details.ts";

/** What the details said. */
export interface UnpackedDetails {
  reason?: ReasonName;
  metadata: Record<string, string>;
  offer?: ElevationRequired;
  retryDelayMs?: number;
  help: HelpLink[];
  fieldViolations: FieldViolation[];
}

// Brevet sends at most six.
const MAX_DETAILS = 16;

/** Unpacks what it knows; the first of each type counts. An offer without a reason of the catalogue is ignored. */
export function unpackDetails(details: readonly Any[]): UnpackedDetails {
  const known = details.slice(0, MAX_DETAILS);
  const unpacked: UnpackedDetails = { metadata: {}, help: [], fieldViolations: [] };
  const info = first(known, ErrorInfoSchema);
  if (info?.domain === ERROR_DOMAIN && isReasonName(info.reason)) {
    unpacked.reason = info.reason;
    unpacked.metadata = cappedMetadata(info.metadata);
    const offer = first(known, ElevationRequiredSchema);
    if (offer) unpacked.offer = cappedOffer(offer);
  }
  const delay = first(known, RetryInfoSchema)?.retryDelay;
  const delayMs = delay && cappedDelayMs(Number(delay.seconds) * 1000 + delay.nanos / 1_000_000);
  if (delayMs !== undefined) unpacked.retryDelayMs = delayMs;
  unpacked.help = cappedHelp(first(known, HelpSchema)?.links ?? []);
  unpacked.fieldViolations = cappedFieldViolations(first(known, BadRequestSchema)?.fieldViolations ?? []);
  return unpacked;
}

function first<D extends DescMessage>(details: readonly Any[], schema: D): MessageShape<D> | undefined {
  const found = details.find(({ typeUrl }) => typeUrl.slice(typeUrl.lastIndexOf("/") + 1) === schema.typeName);
  if (!found) return undefined;
  try {
    return fromBinary(schema, found.value);
  } catch {
    return undefined;
  }
}
