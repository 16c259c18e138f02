// What the tests' world is made of: one policy, its descriptors, keys, elevations, tokens, grants.
import { type GrantClaims, generateSigningKey, type SigningKey, signGrant } from "@brevet/protocol";
import {
  type Elevation,
  ElevationSchema,
  ElevationState,
  PersonalBytesSchema,
  PersonalTextSchema,
  PrincipalKind,
  PrincipalSchema,
  StartMode,
  StreamExpiry,
} from "@brevet/protocol/brevet/v1/elevation";
import { create, toBinary } from "@bufbuild/protobuf";
import {
  durationFromMs,
  FileDescriptorSetSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  timestampFromMs,
  timestampMs,
} from "@bufbuild/protobuf/wkt";
import { type CryptoKey, exportJWK, generateKeyPair, type JWTHeaderParameters, type JWTPayload, SignJWT } from "jose";

export const AUDIENCE = "payments-test";
export const ISSUER = "https://people.test/dev";
export const GRANT_ISSUER = "https://brevet.test";
/** The log's, unless a test says otherwise. */
export const EPOCH = "epo_1";
export const SAM = "user:sam@acme.test";

/** The policy of the tests. */
export const POLICY = `
apiVersion: brevet.dev/v1
audience: ${AUDIENCE}
descriptors: ledger.binpb
identity: { clientCertificates: { spiffe: [acme.test] } }
groups: { "group:oncall": ["user:ana@acme.test", "user:bo@acme.test"], "group:support": ["user:rae@acme.test"] }
guards: ["workload:guard"]
roles: { admin: ["group:platform"] }
services:
  test.v1.Ledger:
    default: authenticated
    methods:
      Refund: { access: elevated }
      Limited: { access: elevated }
      Bound: { access: elevated, bind: payload }
      Shown: { access: elevated }
      Watch: { access: elevated }
      Import: { access: elevated }
      Chat: { access: elevated }
      Ping: { access: open }
      Hidden: { access: forbidden }
entitlements:
  refunds:
    methods: [test.v1.Ledger/Refund]
    requesters: ["group:support"]
    duration: { default: 15m, max: 1h }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
  limited:
    methods: [test.v1.Ledger/Limited]
    requesters: ["group:support"]
    condition: request.amount_cents <= 500
    duration: { default: 15m, max: 1h }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
  bound:
    methods: [test.v1.Ledger/Bound]
    requesters: ["group:support"]
    duration: { default: 15m, max: 1h }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
  shown:
    methods: [test.v1.Ledger/Shown]
    requesters: ["group:support"]
    present: grant
    duration: { default: 15m, max: 1h }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
  streams:
    methods: [test.v1.Ledger/Watch, test.v1.Ledger/Import, test.v1.Ledger/Chat]
    requesters: ["group:support"]
    duration: { default: 15m, max: 1h }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
`;

/** Methods of the service: name, whether the request and the response are streams. */
export const METHODS = {
  Refund: [false, false],
  GetEntry: [false, false],
  Ping: [false, false],
  Hidden: [false, false],
  Limited: [false, false],
  Bound: [false, false],
  Shown: [false, false],
  Watch: [false, true],
  Import: [true, false],
  Chat: [true, true],
} as const;

/** The service's descriptors: every message is `Request { int64 amount_cents = 1; }`. */
export const DESCRIPTORS: Uint8Array = toBinary(
  FileDescriptorSetSchema,
  create(FileDescriptorSetSchema, {
    file: [
      {
        name: "test.proto",
        package: "test.v1",
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
            method: Object.entries(METHODS).map(([name, [clientStreaming, serverStreaming]]) => ({
              name,
              inputType: ".test.v1.Request",
              outputType: ".test.v1.Request",
              clientStreaming,
              serverStreaming,
            })),
          },
        ],
      },
    ],
  }),
);

/** Wire bytes of a request; an amount below 128. */
export function requestOf(amount: number): Uint8Array {
  const bytes = [0x08];
  for (let rest = amount; ; rest = Math.floor(rest / 128)) {
    bytes.push(rest < 128 ? rest : (rest % 128) + 128);
    if (rest < 128) return Uint8Array.from(bytes);
  }
}

/** Keys of an issuer of identities and of an authority. */
export interface TestKeys {
  readonly grants: SigningKey;
  readonly people: CryptoKey;
  readonly peopleJwks: string;
}

export async function makeKeys(): Promise<TestKeys> {
  const { privateKey, publicKey } = await generateKeyPair("EdDSA", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: "people-1", alg: "EdDSA", use: "sig" };
  return { grants: generateSigningKey(), people: privateKey, peopleJwks: JSON.stringify({ keys: [jwk] }) };
}

/** JWK set of grant keys. */
export function jwksOf(keys: readonly SigningKey[]): string {
  return `{"keys":[${keys.map(({ publicJwk }) => publicJwk).join(",")}]}`;
}

/** Fields of an elevation that tests name; times in milliseconds from the authority's now. */
export interface ElevationFields {
  readonly id?: string;
  readonly principal?: string;
  readonly entitlement?: string;
  readonly state?: ElevationState;
  readonly methods?: readonly string[];
  readonly condition?: string;
  readonly startedAgoMs?: number;
  readonly endsInMs?: number;
  readonly endedAgoMs?: number;
  readonly payloadDigest?: Uint8Array;
  /** Its streams drain for so long. */
  readonly drainMs?: number;
}

/** Sam's ACTIVE elevation for refunds, or what the fields say. */
export function elevationOf(fields: ElevationFields, nowMs: number, revision: bigint): Elevation {
  const { id = `elv_${revision}`, principal = SAM, state = ElevationState.ACTIVE } = fields;
  const now = Math.round(nowMs);
  const elevation = create(ElevationSchema, {
    id,
    audience: AUDIENCE,
    entitlement: fields.entitlement ?? "refunds",
    state,
    requester: create(PrincipalSchema, { id: `prn_${principal}`, name: principal, kind: PrincipalKind.USER }),
    methods: [...(fields.methods ?? ["test.v1.Ledger/Refund"])],
    duration: { seconds: 3600n },
    startMode: StartMode.ON_USE,
    createTime: timestampFromMs(now),
    revision,
  });
  if (fields.condition !== undefined) elevation.condition = create(PersonalTextSchema, { text: fields.condition });
  if (fields.payloadDigest !== undefined) elevation.payloadDigest = create(PersonalBytesSchema, { value: fields.payloadDigest });
  if (fields.drainMs !== undefined) {
    elevation.streamExpiry = StreamExpiry.DRAIN;
    elevation.drain = durationFromMs(fields.drainMs);
  }
  if (state === ElevationState.PENDING) elevation.pendingUntil = timestampFromMs(now + 60_000);
  if (state === ElevationState.SCHEDULED) elevation.startBy = timestampFromMs(now + 60_000);
  if (state === ElevationState.ACTIVE) {
    elevation.windowStart = timestampFromMs(now - (fields.startedAgoMs ?? 0));
    elevation.windowEnd = timestampFromMs(now + (fields.endsInMs ?? 3_600_000));
  }
  if (state > ElevationState.ACTIVE) elevation.endTime = timestampFromMs(now - (fields.endedAgoMs ?? 1000));
  return elevation;
}

/** A token of a person for the service. */
export function tokenOf(
  keys: TestKeys,
  nowMs: number,
  principal = SAM,
  claims: JWTPayload = {},
  header: Partial<JWTHeaderParameters> = {},
  key: CryptoKey = keys.people,
): Promise<string> {
  const now = Math.floor(nowMs / 1000);
  const payload = { iss: ISSUER, sub: principal, aud: AUDIENCE, iat: now, exp: now + 600, groups: ["group:support"], ...claims };
  return new SignJWT(payload).setProtectedHeader({ alg: "EdDSA", kid: "people-1", typ: "JWT", ...header }).sign(key);
}

/** A grant of an elevation. */
export function grantOf(keys: TestKeys, nowMs: number, elevation: Elevation, claims: Partial<GrantClaims> = {}, key = keys.grants): string {
  const now = Math.floor(nowMs / 1000);
  return signGrant(
    {
      iss: GRANT_ISSUER,
      sub: elevation.requester?.name ?? "",
      aud: AUDIENCE,
      iat: now,
      nbf: now,
      exp: now + 600,
      jti: "gnt_1",
      elevation: elevation.id,
      epoch: EPOCH,
      rev: String(elevation.revision),
      window_end: Math.max(now + 600, Math.floor((elevation.windowEnd ? timestampMs(elevation.windowEnd) : 0) / 1000)),
      authorization_details: [
        {
          type: "grpc_method",
          actions: [...elevation.methods],
          entitlement: elevation.entitlement,
          ...(elevation.condition && { condition: elevation.condition.text }),
          ...(elevation.payloadDigest && { payload: Buffer.from(elevation.payloadDigest.value).toString("base64url") }),
        },
      ],
      ...claims,
    },
    key,
  );
}
