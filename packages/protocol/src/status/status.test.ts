import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { ElevationRequiredSchema } from "../gen/brevet/v1/error_pb.ts";
import { ErrorInfoSchema, HelpSchema } from "../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { MAX_MESSAGE_BYTES, MAX_TRAILER_BYTES } from "../names.ts";
import { catalogue, type ReasonName } from "../reason/catalogue.ts";
import type { Denial } from "./denial.ts";
import { type EncodedStatus, encodeDenial, readStatus, trailerBytes } from "./status.ts";

const reason = fc.constantFrom(...(Object.keys(catalogue) as ReasonName[]));
// Code units, not characters: lone surrogates and controls included.
const rawUnits = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 700 }).map((units) => String.fromCharCode(...units));
const text = fc.oneof(fc.string(), rawUnits, fc.string({ unit: "binary", maxLength: 700 }), fc.constant("ש".repeat(700)));
const duration = fc.record({ seconds: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), nanos: fc.integer() });
const offer = fc
  .record({
    entitlements: fc.array(
      fc.record({ entitlement: text, reasonPattern: text, reasonRequired: fc.boolean(), defaultDuration: duration, maxDuration: duration }),
      { maxLength: 12 },
    ),
    more: fc.nat(),
    method: text,
    audience: text,
    evaluationId: text,
  })
  .map((init) => create(ElevationRequiredSchema, init));
const denial: fc.Arbitrary<Denial> = fc.record(
  {
    reason,
    code: fc.integer({ min: -2, max: 20 }),
    message: text,
    metadata: fc.dictionary(fc.oneof(fc.constantFrom("decisionId", "method", "principal", "headersSeen"), fc.string()), text),
    retryDelayMs: fc.double(),
    help: fc.array(fc.record({ description: text, url: fc.oneof(fc.webUrl({ withQueryParameters: true }), text) })),
    preconditions: fc.array(fc.record({ type: text, subject: text, description: text })),
    fieldViolations: fc.array(fc.record({ field: text, description: text })),
    offer,
  },
  { requiredKeys: ["reason", "message", "metadata"] },
);

const HOSTILE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

function stringsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) => (key === "$typeName" ? [] : stringsIn(one)));
}

function inside(status: EncodedStatus) {
  return fromBinary(StatusSchema, status.details);
}

test("whatever the denial, its status fits, is clean, and says inside what it says outside", () => {
  fc.assert(
    fc.property(denial, (one) => {
      const status = encodeDenial(one);
      assert.ok(trailerBytes(status) <= MAX_TRAILER_BYTES);
      assert.ok(Buffer.byteLength(status.message) <= MAX_MESSAGE_BYTES);
      assert.ok(status.message.startsWith(`${one.reason}: `));
      const { code, message, details } = inside(status);
      assert.deepEqual([code, message], [status.code, status.message]);
      assert.ok(code >= 1 && code <= 16);
      const types = details.map(({ typeUrl }) => typeUrl);
      assert.equal(new Set(types).size, types.length);
      assert.equal(types[0], "type.googleapis.com/google.rpc.ErrorInfo");
      const waits = one.retryDelayMs !== undefined && !Number.isNaN(one.retryDelayMs);
      assert.equal(types.includes("type.googleapis.com/google.rpc.RetryInfo"), waits);
      assert.equal(status.pushback, catalogue[one.reason].retry === "backoff" ? undefined : "-1");
      for (const string of [message, ...stringsIn(readStatus(code, message, status.details))]) {
        assert.equal(HOSTILE.test(string), false, JSON.stringify(string));
        assert.equal(string.isWellFormed(), true);
      }
    }),
    { numRuns: 400 },
  );
});

test("what is read is what was encoded", () => {
  fc.assert(
    fc.property(denial, (one) => {
      const status = encodeDenial(one);
      const read = readStatus(status.code, status.message, status.details);
      assert.equal(read.reason, one.reason);
      assert.equal(read.message, status.message);
      const again = encodeDenial({ ...one, ...read, reason: one.reason, preconditions: one.preconditions ?? [] });
      assert.deepEqual(readStatus(again.code, again.message, again.details), read);
    }),
    { numRuns: 200 },
  );
});

test("an ordinary denial keeps all that it says", () => {
  const status = encodeDenial({
    reason: "ELEVATION_REQUIRED",
    message:
      "payments.v1.Ledger/Refund needs an approved elevation (refund-operator, 1 approval). Run: brevet request payments.v1.Ledger/Refund",
    metadata: { decisionId: "dec_1", method: "payments.v1.Ledger/Refund", principal: "user:ana@acme.test", policyVersion: "3" },
    retryDelayMs: 1500,
    help: [{ description: "Ask for it", url: "https://brevet.acme.test/r/refund-operator" }],
    preconditions: [{ type: "ELEVATION", subject: "payments.v1.Ledger/Refund", description: "an ACTIVE elevation" }],
    offer: create(ElevationRequiredSchema, {
      entitlements: [{ entitlement: "refund-operator", approvals: 1, maxDuration: { seconds: 3600n } }],
      method: "payments.v1.Ledger/Refund",
      audience: "payments-prod",
      evaluationId: "dec_1",
    }),
  });
  assert.equal(status.code, 7);
  assert.equal(status.pushback, "-1");
  assert.deepEqual(
    inside(status).details.map(({ typeUrl }) => typeUrl.slice("type.googleapis.com/".length)),
    ["google.rpc.ErrorInfo", "google.rpc.RetryInfo", "brevet.v1.ElevationRequired", "google.rpc.Help", "google.rpc.PreconditionFailure"],
  );
  const read = readStatus(status.code, status.message, status.details);
  assert.equal(read.metadata.principal, "user:ana@acme.test");
  assert.equal(read.retryDelayMs, 1500);
  assert.equal(read.offer?.entitlements[0]?.maxDuration?.seconds, 3600n);
  assert.deepEqual(read.help, [{ description: "Ask for it", url: "https://brevet.acme.test/r/refund-operator" }]);
});

test("over budget, further links go first, then preconditions, then offers are counted instead of listed", () => {
  const long = "x".repeat(250);
  const link = (n: number) => ({ description: long, url: `https://brevet.acme.test/${"u".repeat(240)}${n}` });
  const entitlement = (n: number) => ({ entitlement: `entitlement-${n}`, reasonPattern: "p".repeat(200) });
  const base: Denial = {
    reason: "ELEVATION_REQUIRED",
    message: "m".repeat(400),
    metadata: Object.fromEntries(["decisionId", "method", "principal", "serverTime", "headersSeen"].map((key) => [key, long])),
    retryDelayMs: 1,
  };
  const names = (status: EncodedStatus) => inside(status).details.map(({ typeUrl }) => typeUrl.slice(typeUrl.lastIndexOf(".") + 1));
  const links = (status: EncodedStatus) => {
    const help = inside(status).details.find(({ typeUrl }) => typeUrl.endsWith(".Help"));
    return help ? fromBinary(HelpSchema, help.value).links.length : 0;
  };
  const preconditions = [{ type: "T", subject: "s", description: "d" }];

  const first = encodeDenial({ ...base, help: [link(1), link(2), link(3), link(4)], preconditions });
  assert.equal(links(first), 1);
  assert.ok(names(first).includes("PreconditionFailure"));

  const second = encodeDenial({
    ...base,
    help: [link(1)],
    preconditions: Array.from({ length: 8 }, () => ({ type: "T", subject: long, description: long })),
  });
  assert.deepEqual(names(second), ["ErrorInfo", "RetryInfo", "Help"]);

  const offered = create(ElevationRequiredSchema, { entitlements: [1, 2, 3, 4, 5, 6, 7].map(entitlement), more: 2 });
  const third = encodeDenial({ ...base, offer: offered, help: [link(1)], preconditions });
  assert.deepEqual(names(third), ["ErrorInfo", "RetryInfo", "ElevationRequired", "Help"]);
  const read = readStatus(third.code, third.message, third.details).offer;
  const listed = read?.entitlements.map((one) => one.entitlement) ?? [];
  assert.ok(listed.length >= 1 && listed.length < 5);
  assert.deepEqual(listed, ["entitlement-1", "entitlement-2", "entitlement-3", "entitlement-4"].slice(0, listed.length));
  assert.equal(listed.length + (read?.more ?? 0), 9);
  assert.equal(offered.entitlements.length, 7, "the denial itself is not changed");
});

test("at most five entitlements are named, and the rest is counted", () => {
  const entitlements = Array.from({ length: 9 }, (_, n) => ({ entitlement: `e${n}` }));
  const status = encodeDenial({
    reason: "ELEVATION_REQUIRED",
    message: "",
    metadata: {},
    offer: create(ElevationRequiredSchema, { entitlements }),
  });
  const read = readStatus(status.code, status.message, status.details);
  assert.equal(read.offer?.entitlements.length, 5);
  assert.equal(read.offer?.more, 4);
});

test("the authority's own API may answer another code than a guard", () => {
  const status = encodeDenial({ reason: "ELEVATION_PENDING", code: 9, message: "not decided yet", metadata: {} });
  assert.equal(status.code, 9);
  assert.equal(inside(status).code, 9);
});

test("metadata that a service was not meant to send, or that harms, is left out or made harmless", () => {
  const metadata = {
    decisionId: "dec_1\r\ninjected: yes",
    "Not-Camel": "x",
    principal: "user:\u202egnp.exe",
    __proto__x: "y",
    method: "\ud800",
  };
  const status = encodeDenial({ reason: "GUARD_FAULT", message: "broke\u0000\u001b[31m", metadata });
  assert.equal(status.message, "GUARD_FAULT: broke [31m");
  assert.deepEqual(readStatus(13, status.message, status.details).metadata, {
    decisionId: "dec_1 injected: yes",
    method: "\ufffd",
    principal: "user:gnp.exe",
  });
});

function statusOf(code: number, ...details: { typeUrl: string; value: Uint8Array }[]): Uint8Array {
  return toBinary(StatusSchema, create(StatusSchema, { code, message: "m", details: details.map((one) => create(AnySchema, one)) }));
}

function info(domain: string, name: string, metadata: Record<string, string> = {}) {
  const value = toBinary(ErrorInfoSchema, create(ErrorInfoSchema, { domain, reason: name, metadata }));
  return { typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value };
}

test("a status of another domain, of an unknown reason, or at odds with itself has no reason", () => {
  const offerBytes = toBinary(ElevationRequiredSchema, create(ElevationRequiredSchema, { method: "a.B/C" }));
  const anOffer = { typeUrl: "type.googleapis.com/brevet.v1.ElevationRequired", value: offerBytes };
  for (const details of [
    statusOf(7, info("example.com", "ELEVATION_REQUIRED"), anOffer),
    statusOf(7, info("brevet.dev", "constructor"), anOffer),
    statusOf(7, anOffer),
    statusOf(16, info("brevet.dev", "ELEVATION_REQUIRED"), anOffer),
    Uint8Array.of(255, 255, 255),
  ]) {
    const read = readStatus(7, "m", details);
    assert.equal(read.reason, undefined);
    assert.equal(read.offer, undefined);
    assert.deepEqual(read.metadata, {});
  }
  assert.equal(readStatus(7, "m", statusOf(7, info("brevet.dev", "ELEVATION_REQUIRED"), anOffer)).offer?.method, "a.B/C");
});

test("a detail that does not parse costs only itself", () => {
  const broken = { typeUrl: "type.googleapis.com/google.rpc.Help", value: Uint8Array.of(10, 200) };
  const read = readStatus(7, "m", statusOf(7, broken, info("brevet.dev", "ELEVATION_ENDED")));
  assert.equal(read.reason, "ELEVATION_ENDED");
  assert.deepEqual(read.help, []);
});

test("hostile sizes are capped, hostile links are not offered", () => {
  const metadata = Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`key${n}`, "v".repeat(20)]));
  const links = ["javascript:alert(1)", "file:///etc/passwd", "https://ok.test/", `https://long.test/${"a".repeat(1000)}`, "https://a b/"];
  const help = create(HelpSchema, { links: links.map((url) => ({ url, description: "d".repeat(5000) })) });
  const details = statusOf(7, info("brevet.dev", "NOT_ELIGIBLE", metadata), {
    typeUrl: "x/google.rpc.Help",
    value: toBinary(HelpSchema, help),
  });
  const read = readStatus(7, "m".repeat(1_000_000), details);
  assert.ok(Buffer.byteLength(JSON.stringify(read)) < 10_000);
  assert.deepEqual(
    read.help.map(({ url }) => url),
    ["https://ok.test/"],
  );
  assert.equal(readStatus(7, "m", new Uint8Array(1_000_000)).reason, undefined);
});

test("no bytes make the reader throw", () => {
  const good = encodeDenial({
    reason: "ELEVATION_REQUIRED",
    message: "m",
    metadata: { method: "a.B/C" },
    retryDelayMs: 10,
    help: [{ description: "d", url: "https://a.test/" }],
  });
  const mutated = fc
    .tuple(fc.nat(good.details.length - 1), fc.integer({ min: 0, max: 255 }))
    .map(([at, byte]) => good.details.with(at, byte));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated), fc.integer(), fc.string(), (details, code, message) => {
      readStatus(code, message, details);
      readStatus(good.code, message, details);
    }),
    { numRuns: 2000 },
  );
});
