// What the scripted authority says things with: keys, elevations, identity tokens and grants, right ones and wrong in every way.
// Never judges them.
import { createHash, type KeyObject, sign } from "node:crypto";
import { type Clock, GRANT_TYPE, type GrantClaims, generateSigningKey, type SigningKey } from "@brevet/protocol";
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
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { AUDIENCE, DRAIN_MS, GROUPS_OF_CALLERS, type Group, kindsOf, methodOf } from "./guard-world.ts";

export const ISSUER = "https://people.test/dev";
export const GRANT_ISSUER = "https://brevet.test";
export const EPOCH = "epo_1";
const PEOPLE_KID = "people-1";
const HOUR_MS = 3_600_000;

/** Fields of an elevation that tests name; times in milliseconds from now. */
export interface ElevationFields {
  readonly id: string;
  readonly principal: string;
  readonly group: Group;
  /** Default ACTIVE. */
  readonly state?: Exclude<keyof typeof ElevationState, "UNSPECIFIED">;
  /** Default: those of the group. */
  readonly methods?: readonly string[];
  readonly condition?: string;
  /** ACTIVE: default 0. */
  readonly startedAgoMs?: number;
  /** ACTIVE: default an hour. */
  readonly endsInMs?: number;
  /** PENDING: how long still; SCHEDULED: how long the start may still wait. Default a minute. */
  readonly waitsForMs?: number;
  /** SCHEDULED: starts at that time instead of with the first use. */
  readonly startsInMs?: number;
  /** Final states: default a second. */
  readonly endedAgoMs?: number;
  /** The one request that was approved. */
  readonly payload?: Uint8Array;
}

/** An elevation as the authority would tell it. */
export function elevationOf(fields: ElevationFields, nowMs: number, revision: bigint): Elevation {
  const { id, principal, group, condition, payload } = fields;
  const state = ElevationState[fields.state ?? "ACTIVE"];
  const at = (ms: number) => timestampFromMs(Math.round(nowMs + ms));
  const elevation = create(ElevationSchema, {
    id,
    audience: AUDIENCE,
    entitlement: group.toLowerCase(),
    state,
    requester: create(PrincipalSchema, { id: `prn_${principal}`, name: principal, kind: PrincipalKind.USER }),
    methods: [...(fields.methods ?? kindsOf(group).map((kind) => methodOf(group, kind)))],
    duration: durationFromMs(HOUR_MS),
    startMode: fields.startsInMs === undefined ? StartMode.ON_USE : StartMode.AT_TIME,
    createTime: at(0),
    revision,
  });
  if (condition !== undefined) elevation.condition = create(PersonalTextSchema, { text: condition });
  if (payload !== undefined) elevation.payloadDigest = create(PersonalBytesSchema, { value: sha256(payload) });
  if (group === "Drained") {
    elevation.streamExpiry = StreamExpiry.DRAIN;
    elevation.drain = durationFromMs(DRAIN_MS);
  }
  if (state === ElevationState.PENDING) elevation.pendingUntil = at(fields.waitsForMs ?? 60_000);
  else if (state === ElevationState.SCHEDULED) {
    elevation.startBy = at(fields.waitsForMs ?? 60_000);
    if (fields.startsInMs !== undefined) elevation.startTime = at(fields.startsInMs);
  } else if (state === ElevationState.ACTIVE) {
    elevation.windowStart = at(-(fields.startedAgoMs ?? 0));
    elevation.windowEnd = at(fields.endsInMs ?? HOUR_MS);
  } else elevation.endTime = at(-(fields.endedAgoMs ?? 1000));
  return elevation;
}

/** What may be wrong with a token; what is absent is right. */
export interface TokenFaults {
  /** Replaced, or left out where undefined. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly key?: KeyObject;
}

/** The keys of one authority and of the issuer that it trusts. */
export class Facts {
  readonly grantKey = generateSigningKey();
  readonly #people = generateSigningKey();
  /** Keys that nobody knows. */
  readonly stranger = generateSigningKey();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The authority's time in whole seconds since 1970. */
  get nowSeconds(): number {
    return Math.floor(this.#clock.wallMs() / 1000);
  }

  /** JWK set of the issuer of identities. */
  get peopleJwks(): string {
    const jwk = JSON.parse(this.#people.publicJwk) as object;
    return JSON.stringify({ keys: [{ ...jwk, kid: PEOPLE_KID }] });
  }

  /** An identity token for the service: good for ten minutes, unless it is to be wrong. */
  token(principal: string, faults: TokenFaults = {}): string {
    const now = this.nowSeconds;
    const claims = { iss: ISSUER, sub: principal, aud: AUDIENCE, iat: now, exp: now + 600, groups: GROUPS_OF_CALLERS, ...faults.claims };
    const header = { alg: "EdDSA", kid: PEOPLE_KID, typ: "JWT", ...faults.header };
    return signed(header, claims, faults.key ?? this.#people.privateKey);
  }

  /** A grant of an elevation, for ten minutes, unless it is to be wrong. */
  grant(elevation: Elevation, faults: TokenFaults = {}): string {
    const now = this.nowSeconds;
    const windowEnd = elevation.windowEnd === undefined ? 0 : Math.floor(timestampMs(elevation.windowEnd) / 1000);
    const claims: GrantClaims = {
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
      window_end: Math.max(now + 600, windowEnd),
      authorization_details: [
        {
          type: "grpc_method",
          actions: [...elevation.methods],
          entitlement: elevation.entitlement,
          ...(elevation.condition && { condition: elevation.condition.text }),
          ...(elevation.payloadDigest && { payload: Buffer.from(elevation.payloadDigest.value).toString("base64url") }),
        },
      ],
    };
    const header = { alg: "EdDSA", typ: GRANT_TYPE, kid: this.grantKey.kid, ...faults.header };
    return signed(header, { ...claims, ...faults.claims }, faults.key ?? this.grantKey.privateKey);
  }
}

/** JWK set of grant keys. */
export function jwksOf(keys: readonly SigningKey[]): string {
  return `{"keys":[${keys.map(({ publicJwk }) => publicJwk).join(",")}]}`;
}

/** A token whose last character is another: well-formed, and signed by nobody. */
export function tampered(token: string): string {
  const [header = "", claims = "", signature = ""] = token.split(".");
  const bytes = Buffer.from(signature, "base64url");
  bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
  return `${header}.${claims}.${bytes.toString("base64url")}`;
}

/** Whatever the header says, the signature is Ed25519. */
function signed(header: Readonly<Record<string, unknown>>, claims: object, key: KeyObject): string {
  const input = `${encode(header)}.${encode(claims)}`;
  return `${input}.${sign(null, Buffer.from(input), key).toString("base64url")}`;
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
