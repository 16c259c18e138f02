// What a guard answered, taken apart and with ids and times masked, so that two answers can be compared whole.
// Owns what counts in a refusal; never talks to a guard.
import assert from "node:assert/strict";
import {
  catalogue,
  codeName,
  ERROR_DOMAIN,
  MAX_MESSAGE_BYTES,
  MAX_TRAILER_BYTES,
  RETRY_PUSHBACK_TRAILER,
  type ReasonName,
  STATUS_DETAILS_TRAILER,
  trailerBytes,
} from "@brevet/protocol";
import { ElevationRequiredSchema } from "@brevet/protocol/brevet/v1/error";
import { ErrorInfoSchema, HelpSchema, RetryInfoSchema } from "@brevet/protocol/google/rpc/error_details";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { fromBinary, toJson } from "@bufbuild/protobuf";
import { type Any, anyUnpack } from "@bufbuild/protobuf/wkt";
import type { WireAnswer } from "./guard-wire.ts";

/** A refusal with ids and times masked. */
export interface Refusal {
  readonly reason: string;
  /** Name of the gRPC code, outside and inside the details. */
  readonly code: string;
  readonly message: string;
  /** ErrorInfo's. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Types of the details, in their order. */
  readonly details: readonly string[];
  /** ElevationRequired, as JSON. */
  readonly offer?: unknown;
  /** Links of Help, as JSON. */
  readonly help?: unknown;
  /** RetryInfo asks for a delay. */
  readonly retries: boolean;
  /** Value of `grpc-retry-pushback-ms`. */
  readonly pushback: string | undefined;
  readonly trailersOnly: boolean;
}

/** The refusal that an answer is. @throws AssertionError where it is none, or one that breaks a promise of every refusal. */
export function refusalOf(answer: WireAnswer): Refusal {
  const { code, message, trailers } = answer;
  const encoded = trailers[STATUS_DETAILS_TRAILER];
  assert.ok(code !== undefined && typeof encoded === "string", `no refusal with details: ${shownAnswer(answer)}`);
  const bytes = Buffer.from(encoded, "base64");
  const status = fromBinary(StatusSchema, bytes);
  assert.deepEqual([status.code, status.message], [code, message], "code and message inside the details are those outside");
  const pushback = textOf(trailers[RETRY_PUSHBACK_TRAILER]);
  assert.ok(Buffer.byteLength(message) <= MAX_MESSAGE_BYTES, "the message fits");
  assert.ok(trailerBytes({ code, message, details: bytes, pushback }) <= MAX_TRAILER_BYTES, "the trailer block fits");
  const [first, ...rest] = status.details;
  const info = first && anyUnpack(first, ErrorInfoSchema);
  assert.ok(info !== undefined && info.domain === ERROR_DOMAIN, "ErrorInfo comes first");
  const types = status.details.map(({ typeUrl }) => typeUrl.slice(typeUrl.lastIndexOf("/") + 1));
  assert.equal(new Set(types).size, types.length, "each type of detail comes once");
  const mask = masker(info.metadata);
  const offer = unpacked(rest, ElevationRequiredSchema);
  const help = unpacked(rest, HelpSchema);
  return {
    reason: info.reason,
    code: codeName(code),
    message: mask(message),
    metadata: Object.fromEntries(
      Object.entries(info.metadata)
        .map(([key, value]): [string, string] => [key, key === "skewMs" ? "{ms}" : mask(value)])
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ),
    details: types,
    ...(offer && { offer: masked(toJson(ElevationRequiredSchema, offer), mask) }),
    ...(help && { help: masked(toJson(HelpSchema, help), mask) }),
    retries: unpacked(rest, RetryInfoSchema) !== undefined,
    pushback,
    trailersOnly: answer.trailersOnly,
  };
}

/** An answer for a person, when it is not what was expected. */
export function shownAnswer(answer: WireAnswer): string {
  const { code, message, reset, trailersOnly, headers, messages } = answer;
  const name = code === undefined ? "no status" : codeName(code);
  return `${name}: ${message} ${JSON.stringify({ reset, trailersOnly, headers, messages: messages.length })}`;
}

/** What a test expects of a refusal; what is absent is not there. */
export interface ExpectedRefusal {
  readonly reason: ReasonName;
  /** The message between `REASON: ` and ` (decision …)`, with `{method}`, `{principal}`, `{elevation}` and `{time}` in it. */
  readonly says: string;
  /** ErrorInfo metadata beyond what every refusal of the kind carries. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Ids of the entitlements offered. */
  readonly offers?: readonly string[];
  /** Paths of the links, in order. */
  readonly help?: readonly string[];
  /** RetryInfo is there. */
  readonly retries?: boolean;
  /** The caller has a valid identity. Default: unless the reason is about the identity. */
  readonly identified?: boolean;
  /** The guard knows the time. Default true. */
  readonly timeKnown?: boolean;
  /** Default true: refused before anything was sent. */
  readonly trailersOnly?: boolean;
}

/** Compares, and fails with the difference. `headersSeen`: names of the metadata that was sent. */
export function assertRefusal(answer: WireAnswer, expected: ExpectedRefusal, what: string, headersSeen: readonly string[] = []): void {
  const { reason, says, metadata = {}, offers = [], help = [], retries = false, trailersOnly = true } = expected;
  const { code, retry } = catalogue[reason];
  const identified = expected.identified ?? !reason.startsWith("IDENTITY_");
  const actual = refusalOf(answer);
  const { offer, help: links, ...rest } = actual;
  assert.deepEqual(
    { ...rest, offers: offersIn(offer), help: pathsIn(links) },
    {
      reason,
      code: codeName(code),
      message: `${reason}: ${says} (decision {decision})`,
      metadata: sorted({
        decisionId: "{decision}",
        method: "{method}",
        ...(expected.timeKnown !== false && { serverTime: "{time}" }),
        ...(reason.startsWith("IDENTITY_") && { headersSeen: headersSeen.join(",") }),
        ...(identified && {
          principal: "{principal}",
          audience: "conformance-test",
          policyVersion: actual.metadata.policyVersion ?? "absent",
        }),
        ...metadata,
      }),
      details: [
        "google.rpc.ErrorInfo",
        ...(retries ? ["google.rpc.RetryInfo"] : []),
        ...(offers.length > 0 ? ["brevet.v1.ElevationRequired"] : []),
        ...(help.length > 0 ? ["google.rpc.Help"] : []),
      ],
      offers,
      help,
      retries,
      pushback: retry === "backoff" ? undefined : "-1",
      trailersOnly,
    },
    what,
  );
}

function sorted(entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function offersIn(offer: unknown): readonly string[] {
  const entitlements: unknown = isRecord(offer) ? offer.entitlements : [];
  return Array.isArray(entitlements) ? entitlements.map((each: unknown) => (isRecord(each) ? String(each.entitlement) : "?")) : [];
}

function pathsIn(help: unknown): readonly string[] {
  const links: unknown = isRecord(help) ? help.links : [];
  return Array.isArray(links)
    ? links.map((each: unknown) => (isRecord(each) ? String(each.url).replace("https://brevet.test", "") : "?"))
    : [];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** Puts names in place of what differs from call to call. */
function masker({ decisionId, method, principal, elevation }: Readonly<Record<string, string>>): (text: string) => string {
  const names = [
    [decisionId, "{decision}"],
    [elevation, "{elevation}"],
    [method, "{method}"],
    [principal, "{principal}"],
  ] as const;
  return (text) => {
    let result = text.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "{time}");
    for (const [value, name] of names) if (value !== undefined && value !== "") result = result.replaceAll(value, name);
    return result;
  };
}

function masked(json: unknown, mask: (text: string) => string): unknown {
  if (typeof json === "string") return mask(json);
  if (Array.isArray(json)) return json.map((each: unknown) => masked(each, mask));
  if (isRecord(json)) return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, masked(value, mask)]));
  return json;
}

function unpacked<S extends typeof ElevationRequiredSchema | typeof HelpSchema | typeof RetryInfoSchema>(
  details: readonly Any[],
  schema: S,
) {
  for (const detail of details) {
    const message = anyUnpack(detail, schema);
    if (message !== undefined) return message;
  }
  return undefined;
}

function textOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : value?.join(",");
}
