// A made-up shop with all kinds of methods and fields, as descriptors, and a policy that governs it.
import { create, createFileRegistry, fromBinary, fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import {
  FileDescriptorSetSchema,
  file_google_protobuf_any,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";

const field = (name: string, number: number, type: Type, more: { typeName?: string; label?: Label } = {}) => ({
  name,
  number,
  type,
  jsonName: name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
  label: more.label ?? Label.OPTIONAL,
  ...(more.typeName !== undefined && { typeName: more.typeName }),
});
const method = (name: string, inputType: string, clientStreaming = false, serverStreaming = false) => ({
  name,
  inputType,
  outputType: ".shop.v1.Order",
  clientStreaming,
  serverStreaming,
});

const set = create(FileDescriptorSetSchema, {
  file: [
    file_google_protobuf_timestamp.proto,
    file_google_protobuf_wrappers.proto,
    file_google_protobuf_any.proto,
    {
      name: "shop/v1/shop.proto",
      package: "shop.v1",
      syntax: "proto3",
      dependency: ["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto", "google/protobuf/any.proto"],
      enumType: [
        {
          name: "Speed",
          value: [
            { name: "SPEED_UNSPECIFIED", number: 0 },
            { name: "SPEED_SLOW", number: 1 },
            { name: "SPEED_FAST", number: 2 },
          ],
        },
        { name: "Colour", value: [{ name: "COLOUR_RED", number: 0 }] },
      ],
      messageType: [
        {
          name: "Order",
          field: [
            field("id", 1, Type.STRING),
            field("amount_cents", 2, Type.INT64),
            field("count", 3, Type.UINT32),
            field("weight", 4, Type.DOUBLE),
            field("paid", 5, Type.BOOL),
            field("speed", 6, Type.ENUM, { typeName: ".shop.v1.Speed" }),
            field("tags", 7, Type.STRING, { label: Label.REPEATED }),
            field("items", 8, Type.MESSAGE, { typeName: ".shop.v1.Item", label: Label.REPEATED }),
            field("labels", 9, Type.MESSAGE, { typeName: ".shop.v1.Order.LabelsEntry", label: Label.REPEATED }),
            field("time", 10, Type.MESSAGE, { typeName: ".google.protobuf.Timestamp" }),
            field("note", 11, Type.MESSAGE, { typeName: ".google.protobuf.StringValue" }),
            field("extra", 12, Type.MESSAGE, { typeName: ".google.protobuf.Any" }),
            field("main", 13, Type.MESSAGE, { typeName: ".shop.v1.Item" }),
            field("raw", 14, Type.BYTES),
            field("numbers", 15, Type.INT64, { label: Label.REPEATED }),
          ],
          nestedType: [
            { name: "LabelsEntry", field: [field("key", 1, Type.STRING), field("value", 2, Type.STRING)], options: { mapEntry: true } },
          ],
        },
        { name: "Item", field: [field("name", 1, Type.STRING), field("amount_cents", 2, Type.INT64)] },
        { name: "Query", field: [field("text", 1, Type.STRING)] },
      ],
      service: [
        {
          name: "Shop",
          method: [
            method("Buy", ".shop.v1.Order"),
            method("Refund", ".shop.v1.Order"),
            method("Find", ".shop.v1.Query", false, true),
            method("Load", ".shop.v1.Order", true),
            method("Chat", ".shop.v1.Order", true, true),
          ],
        },
      ],
    },
  ],
});

/** The shop's serialized FileDescriptorSet. */
export const shopDescriptors = toBinary(FileDescriptorSetSchema, set);

/** The same, for looking types up. */
export const shopTypes = createFileRegistry(fromBinary(FileDescriptorSetSchema, shopDescriptors));

/** A message type of the shop. */
export function shopType(name: string) {
  const type = shopTypes.getMessage(`shop.v1.${name}`);
  if (type === undefined) throw new Error(`the shop has no ${name}`);
  return type;
}

/** The wire form of a message of the shop, from protobuf JSON. */
export function shopBytes(name: string, json: JsonValue): Uint8Array {
  const type = shopType(name);
  return toBinary(type, fromJson(type, json));
}

/** A policy without a finding. */
export const SHOP_POLICY = `apiVersion: brevet.dev/v1
audience: shop-prod
descriptors: shop.binpb
identity:
  issuers:
    - issuer: https://login.acme.test
      audiences: [shop-prod]
      principal: "'user:' + claims.email"
      groups: claims.groups
      mayAssert: ["group:support", "group:sre"]
    - issuer: https://ci.acme.test
      audiences: [shop-prod]
      principal: "'ci:acme/' + claims.repository_id"
      initiator: "'user:' + claims.actor"
  clientCertificates: { spiffe: [acme.test] }
groups:
  "group:oncall": ["user:ana@acme.test", "user:bo@acme.test"]
  "group:security": ["user:cy@acme.test"]
guards: ["workload:spiffe://acme.test/shop"]
roles:
  admin: ["user:ana@acme.test", "user:bo@acme.test"]
  auditor: ["group:security"]
services:
  shop.v1.Shop:
    default: authenticated
    methods:
      Refund: { access: elevated, risk: high }
      Load: { access: elevated }
      Buy: { access: elevated, risk: critical, bind: payload }
      Chat: { access: forbidden }
entitlements:
  refund-operator:
    description: Refund an order
    methods: [shop.v1.Shop/Refund]
    requesters: ["group:support", "ci:acme/4711"]
    condition: request.amount_cents <= 50000 && request.tags.all(t, t != "vip")
    duration: { default: 15m, max: 1h }
    extend: { max: 2h, approval: same }
    reason: { required: true, pattern: '^[A-Z]+-[0-9]+' }
    schedule: { days: [mon, tue, wed, thu, fri], from: "08:00", to: "18:00", timezone: Europe/Berlin }
    approval:
      automatic: principal.kind == "ci" && principal.claims.ref_protected == "true"
      stages:
        - approvers: ["group:oncall"]
          quorum: 1
          escalate: { after: 10m, to: ["group:security"] }
    streams: { onExpiry: drain, for: 30s }
  loader:
    methods: [shop.v1.Shop/Load]
    requesters: ["group:support"]
    present: grant
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 2 }] }
  buyer:
    methods: [shop.v1.Shop/Buy]
    requesters: ["group:support"]
    approval: { stages: [{ approvers: ["group:oncall"] }] }
  break-glass:
    methods: ["shop.v1.Shop/*"]
    requesters: ["group:sre"]
    breakGlass: { notify: ["group:security"], reviewWithin: 24h }
    duration: { max: 30m }
tests:
  - name: support may refund up to 500
    call: { principal: "user:di@acme.test", groups: ["group:support"], method: shop.v1.Shop/Refund, request: { amount_cents: 50000 } }
    with: refund-operator
    expect: { decision: permit }
  - name: and no further
    call: { principal: "user:di@acme.test", groups: ["group:support"], method: shop.v1.Shop/Refund, request: { amount_cents: 50001 } }
    with: refund-operator
    expect: { decision: deny, reason: CONDITION_NOT_MET }
  - name: nobody refunds without asking
    call: { principal: "user:di@acme.test", groups: ["group:support"], method: shop.v1.Shop/Refund, request: { amount_cents: 1 } }
    expect: { decision: deny, reason: ELEVATION_REQUIRED }
`;
