// The claims of a grant: their names, their types, their limits. Judges shape only; times against a clock are grant.ts's.
import { isMethodName } from "../method.ts";
import { GRANT_DETAIL_TYPE, MAX_GRANT_LIFETIME_MS, MAX_PRINCIPAL_BYTES } from "../names.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "./json.ts";

/** Claims of a grant (RFC 7519; RFC 9396 `authorization_details`; RFC 7800 `cnf`; RFC 8693 `act`). */
export interface GrantClaims {
  /** The authority. */
  readonly iss: string;
  /** The principal's name. */
  readonly sub: string;
  /** Exactly one audience. */
  readonly aud: string;
  /** Seconds since 1970, whole. `exp` is the first instant after. */
  readonly iat: number;
  readonly nbf: number;
  readonly exp: number;
  readonly jti: string;
  /** `elv_…`. */
  readonly elevation: string;
  /** The log's epoch: revisions of another one compare to nothing. */
  readonly epoch: string;
  /** The elevation's last revision: a decimal uint64. */
  readonly rev: string;
  /** The first instant after the elevation's window, in whole seconds; no grant lasts longer. */
  readonly window_end: number;
  readonly authorization_details: readonly [GrantDetail];
  /** The key that the grant is bound to. */
  readonly cnf?: { readonly jkt?: string; readonly "x5t#S256"?: string };
  readonly act?: JsonObject;
}

/** What a grant authorizes. */
export interface GrantDetail {
  readonly type: typeof GRANT_DETAIL_TYPE;
  /** Methods, no wildcards. */
  readonly actions: readonly string[];
  /** The entitlement that was approved, at most 64 bytes. */
  readonly entitlement: string;
  /** CEL that every call has to meet, as it was approved; absent for none. */
  readonly condition?: string;
  /** SHA-256, base64url, of the one request that was approved; absent where any is. */
  readonly payload?: string;
  readonly locations?: readonly string[];
}

type Read<T> = { readonly ok: true; readonly claims: T } | { readonly ok: false; readonly problem: string };

const MAX_TEXT_BYTES = 512;
const TEXTS = ["iss", "sub", "aud", "jti", "elevation", "epoch", "rev"] as const;
const MAX_ENTITLEMENT_BYTES = 64;
const MAX_CONDITION_CHARS = 2000;
const TIMES = ["iat", "nbf", "exp", "window_end"] as const;
const DETAIL_MEMBERS = ["type", "actions", "entitlement", "condition", "payload", "locations"];
/** Claims of this prefix restrict the grant: one that is not known is not ignored. */
const RESERVED = "brevet_";
const MAX_UINT64 = 2n ** 64n - 1n;

/** The claims if they have the shape of a grant's, else what is wrong, by the claim's name only. */
export function readClaims(claims: JsonObject): Read<GrantClaims> {
  const wrong = (problem: string): Read<GrantClaims> => ({ ok: false, problem });
  const texts = { iss: "", sub: "", aud: "", jti: "", elevation: "", epoch: "", rev: "" };
  for (const name of TEXTS) {
    const value = claims[name];
    if (!isText(value)) return wrong(`the claim ${name} is not a text`);
    texts[name] = value;
  }
  const times = { iat: 0, nbf: 0, exp: 0, window_end: 0 };
  for (const name of TIMES) {
    const value = claims[name];
    if (!isTime(value)) return wrong(`the claim ${name} is not a time in whole seconds`);
    times[name] = value;
  }
  const { sub, rev } = texts;
  const { iat, nbf, exp, window_end: windowEnd } = times;
  if (Object.keys(claims).some((name) => name.startsWith(RESERVED))) return wrong(`a claim that starts with ${RESERVED} is not known here`);
  if (Buffer.byteLength(sub) > MAX_PRINCIPAL_BYTES) return wrong("the claim sub is too long");
  if (!/^(0|[1-9][0-9]{0,19})$/.test(rev) || BigInt(rev) > MAX_UINT64) return wrong("the claim rev is not a revision");
  if (exp <= iat || exp <= nbf) return wrong("the grant ends before it begins");
  if ((exp - iat) * 1000 > MAX_GRANT_LIFETIME_MS) return wrong("the grant would last longer than 15 minutes");
  if (exp > windowEnd) return wrong("the grant would last longer than its window");
  const detail = readDetail(claims.authorization_details);
  if (typeof detail === "string") return wrong(detail);
  const { cnf, act } = claims;
  if (cnf !== undefined && !isConfirmation(cnf)) return wrong("the claim cnf binds to no key that is known here");
  if (act !== undefined && !isJsonObject(act)) return wrong("the claim act is not an object");
  return {
    ok: true,
    claims: {
      ...texts,
      ...times,
      authorization_details: [detail],
      ...(cnf === undefined ? {} : { cnf }),
      ...(act === undefined ? {} : { act }),
    },
  };
}

/** Anything in a detail that is not known could be a restriction: refused, not ignored (RFC 9396, 5). */
function readDetail(value: JsonValue | undefined): GrantDetail | string {
  const only: JsonValue | undefined = Array.isArray(value) && value.length === 1 ? (value[0] as JsonValue) : undefined;
  if (!isJsonObject(only)) return "authorization_details is not a list of one";
  if (only.type !== GRANT_DETAIL_TYPE) return `authorization_details is not of type ${GRANT_DETAIL_TYPE}`;
  if (Object.keys(only).some((name) => !DETAIL_MEMBERS.includes(name))) return "authorization_details has an unknown member";
  const { actions, entitlement, condition, payload, locations } = only;
  if (!isTexts(actions) || actions.length === 0 || !actions.every(isMethodName)) return "authorization_details names no methods";
  if (!isText(entitlement) || Buffer.byteLength(entitlement) > MAX_ENTITLEMENT_BYTES) return "authorization_details names no entitlement";
  if (condition !== undefined && !isCondition(condition)) return "authorization_details has a condition that is none";
  if (payload !== undefined && !isDigest(payload)) return "authorization_details has a payload that is no SHA-256";
  if (locations !== undefined && !isTexts(locations)) return "authorization_details has locations that are not texts";
  return {
    type: GRANT_DETAIL_TYPE,
    actions,
    entitlement,
    ...(condition === undefined ? {} : { condition }),
    ...(payload === undefined ? {} : { payload }),
    ...(locations === undefined ? {} : { locations }),
  };
}

function isCondition(value: JsonValue): value is string {
  return typeof value === "string" && value !== "" && value.length <= MAX_CONDITION_CHARS;
}

function isDigest(value: JsonValue): value is string {
  return typeof value === "string" && /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/.test(value);
}

function isConfirmation(value: JsonValue): value is { readonly jkt?: string; readonly "x5t#S256"?: string } {
  if (!isJsonObject(value)) return false;
  const entries = Object.entries(value);
  return entries.length > 0 && entries.every(([name, hash]) => (name === "jkt" || name === "x5t#S256") && isText(hash));
}

function isText(value: JsonValue | undefined): value is string {
  return typeof value === "string" && value !== "" && Buffer.byteLength(value) <= MAX_TEXT_BYTES;
}

function isTexts(value: JsonValue | undefined): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => isText(one as JsonValue));
}

function isTime(value: JsonValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= 253_402_300_799;
}
