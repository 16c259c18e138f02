// The world of the guard suite: a service with methods of every kind and rule, its descriptors, and the policy that governs it.
// Owns names and texts only; never runs anything.
import { create, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, FieldDescriptorProto_Label as Label, FieldDescriptorProto_Type as Type } from "@bufbuild/protobuf/wkt";

export const AUDIENCE = "conformance-test";
export const SERVICE = "conformance.v1.Ledger";
/** A service that the server has and the policy does not list. */
export const UNLISTED_SERVICE = "conformance.v1.Unlisted";
export const HEALTH_CHECK = "grpc.health.v1.Health/Check";
export const REFLECTION = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/** The kinds of calls: whether the request and the response are streams. */
export const KINDS = {
  Unary: [false, false],
  Watch: [false, true],
  Import: [true, false],
  Chat: [true, true],
} as const;
export type Kind = keyof typeof KINDS;
export const ALL_KINDS: readonly Kind[] = ["Unary", "Watch", "Import", "Chat"];

/**
 * What a method's rule is. `Plain`: elevated. `Drained`: elevated, streams drain. `Limited`: elevated, with a condition on the request.
 * `Shown`: elevated, by grant. `Keyed`: elevated, by a grant bound to a key. `Paid`: elevated, bound to the payload. `Others`: elevated,
 * for others to request. `Known`: any identity. `Open`, `Hidden` (forbidden): as they say.
 */
export type Group = "Plain" | "Drained" | "Limited" | "Shown" | "Keyed" | "Paid" | "Others" | "Known" | "Open" | "Hidden";

const GROUPS: readonly Group[] = ["Plain", "Drained", "Limited", "Shown", "Keyed", "Paid", "Others", "Known", "Open", "Hidden"];

/** `package.Service/Method` of a group and kind. */
export function methodOf(group: Group, kind: Kind): string {
  return `${SERVICE}/${group}${kind}`;
}

/** The kinds that a group has: nothing binds a stream of requests to one payload. */
export function kindsOf(group: Group): readonly Kind[] {
  return group === "Paid" ? ["Unary", "Watch"] : ALL_KINDS;
}

/** A method of the suite's service. */
export interface WorldMethod {
  readonly name: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

/** All methods that the server has, by `package.Service`. */
export const METHODS: Readonly<Record<string, readonly WorldMethod[]>> = {
  [SERVICE]: GROUPS.flatMap((group) => kindsOf(group).map((kind) => worldMethod(`${group}${kind}`, kind))),
  [UNLISTED_SERVICE]: ALL_KINDS.map((kind) => worldMethod(kind, kind)),
  "grpc.health.v1.Health": [worldMethod("Check", "Unary")],
  "grpc.reflection.v1.ServerReflection": [worldMethod("ServerReflectionInfo", "Chat")],
};

function worldMethod(name: string, kind: Kind): WorldMethod {
  const [requestStream, responseStream] = KINDS[kind];
  return { name, requestStream, responseStream };
}

/** Descriptors of the service: every message is `Request { int64 amount_cents = 1; }`. */
export const DESCRIPTORS: Uint8Array = toBinary(
  FileDescriptorSetSchema,
  create(FileDescriptorSetSchema, {
    file: [
      {
        name: "conformance.proto",
        package: "conformance.v1",
        syntax: "proto3",
        messageType: [
          {
            name: "Request",
            field: [{ name: "amount_cents", jsonName: "amountCents", number: 1, type: Type.INT64, label: Label.OPTIONAL }],
          },
        ],
        service: [
          {
            name: "Ledger",
            method: (METHODS[SERVICE] ?? []).map(({ name, requestStream, responseStream }) => ({
              name,
              inputType: ".conformance.v1.Request",
              outputType: ".conformance.v1.Request",
              clientStreaming: requestStream,
              serverStreaming: responseStream,
            })),
          },
        ],
      },
    ],
  }),
);

/** Wire bytes of a request with this amount. */
export function requestOf(amount: number): Buffer {
  const bytes = [0x08];
  for (let rest = amount; ; rest = Math.floor(rest / 128)) {
    bytes.push(rest < 128 ? rest : (rest % 128) + 128);
    if (rest < 128) return Buffer.from(bytes);
  }
}

const access = (group: Group, rule: string): string =>
  kindsOf(group)
    .map((kind) => `      ${group}${kind}: { ${rule} }`)
    .join("\n");

const entitlement = (group: Group, more: string, requesters = "group:support"): string => `  ${group.toLowerCase()}:
    methods: [${kindsOf(group)
      .map((kind) => methodOf(group, kind))
      .join(", ")}]
    requesters: ["${requesters}"]
    duration: { default: 15m, max: 1h }
    extend: { max: 2h, approval: none }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
${more}`;

/** How long streams of the group `Drained` may go on. */
export const DRAIN_MS = 30_000;

/** Names of the people, and of the guard. */
export const ANA = "user:ana@acme.test";
export const GUARD = "workload:guard";
export const GROUPS_OF_CALLERS: readonly string[] = ["group:support"];

/** The suite's policy. `more` is put at its end. */
export function policyText(more = ""): string {
  return `apiVersion: brevet.dev/v1
audience: ${AUDIENCE}
descriptors: conformance.binpb
identity: { clientCertificates: { spiffe: [acme.test] } }
groups:
  "group:oncall": ["${ANA}", "user:bo@acme.test"]
  "group:support": ["user:rae@acme.test"]
  "group:dba": ["user:dee@acme.test"]
guards: ["${GUARD}"]
roles: { admin: ["group:platform"] }
services:
  ${SERVICE}:
    default: forbidden
    methods:
${access("Plain", "access: elevated")}
${access("Drained", "access: elevated")}
${access("Limited", "access: elevated")}
${access("Shown", "access: elevated")}
${access("Keyed", "access: elevated")}
${access("Paid", "access: elevated, bind: payload")}
${access("Others", "access: elevated")}
${access("Known", "access: authenticated")}
${access("Open", "access: open")}
entitlements:
${entitlement("Plain", "")}
${entitlement("Drained", `    streams: { onExpiry: drain, for: ${DRAIN_MS / 1000}s }`)}
${entitlement("Limited", "    condition: request.amount_cents <= 500")}
${entitlement("Shown", "    present: grant")}
${entitlement("Keyed", "    present: bound")}
${entitlement("Paid", "")}
${entitlement("Others", "", "group:dba")}
${more}`;
}
