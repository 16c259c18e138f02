// The strict form of a compact JWS (RFC 7515), judged before any key is looked at. One token has one spelling here.
// Never follows a URL or uses a key that a token names, and never repeats a token's text in what it says.
import { type JsonObject, parseStrictJson } from "./json.ts";

export type { JsonObject, JsonValue } from "./json.ts";

/** A token in the accepted form, nothing in it verified; or what is wrong with it. */
export type JwsForm =
  | {
      readonly ok: true;
      readonly header: JsonObject;
      readonly claims: JsonObject;
      /** The first two parts, as signed (ASCII). */
      readonly signingInput: string;
      /** Empty for an unsigned token. */
      readonly signature: Uint8Array;
      readonly alg: string;
      readonly kid?: string;
      readonly typ?: string;
    }
  | { readonly ok: false; readonly problem: string };

/** Limits of a form. */
export interface JwsLimits {
  /** Of the whole token; 8 KiB unless told. */
  readonly maxBytes?: number;
}

const MAX_BYTES = 8 * 1024;
const MAX_NAME_LENGTH = 256;
// Headers that let a token choose its key, or change what is signed. None is ever needed here.
const REFUSED_HEADERS = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"];

/**
 * Takes a token apart: three parts, canonical unpadded base64url, strict JSON objects, `alg` a string, no header that names a key to use.
 * The signature may be empty: that is for the check of the algorithm to refuse.
 */
export function parseJws(token: string, limits: JwsLimits = {}): JwsForm {
  const problem = (text: string): JwsForm => ({ ok: false, problem: text });
  if (token === "") return problem("the token is empty");
  if (token.length > (limits.maxBytes ?? MAX_BYTES)) return problem(`the token is longer than ${limits.maxBytes ?? MAX_BYTES} bytes`);
  if (/\s/.test(token)) return problem("the token has white space in it");
  const parts = token.split(".");
  if (parts.length === 5) return problem("the token is encrypted (JWE), not signed");
  if (parts.length !== 3) return problem(`the token has ${parts.length} parts where a signed one has 3`);
  const [headerPart = "", claimsPart = "", signaturePart = ""] = parts;
  const decoded = [headerPart, claimsPart, signaturePart].map(decodeBase64url);
  const [headerBytes, claimsBytes, signature] = decoded;
  if (!headerBytes || headerPart === "") return problem("the header is not canonical base64url");
  if (!claimsBytes || claimsPart === "") return problem("the claims are not canonical base64url");
  if (!signature) return problem("the signature is not canonical base64url");
  const header = parseStrictJson(headerBytes);
  if (!header.ok) return problem(`the header ${header.problem}`);
  for (const name of REFUSED_HEADERS) if (Object.hasOwn(header.value, name)) return problem(`the header carries ${name}`);
  const { alg, kid, typ } = header.value;
  if (typeof alg !== "string" || alg === "") return problem("the header names no algorithm");
  if (kid !== undefined && !isName(kid)) return problem("the header's kid is not a short string");
  if (typ !== undefined && !isName(typ)) return problem("the header's typ is not a short string");
  const claims = parseStrictJson(claimsBytes);
  if (!claims.ok) return problem(`the claims part ${claims.problem}`);
  return {
    ok: true,
    header: header.value,
    claims: claims.value,
    signingInput: `${headerPart}.${claimsPart}`,
    signature,
    alg,
    ...(kid === undefined ? {} : { kid }),
    ...(typ === undefined ? {} : { typ }),
  };
}

/** Bytes of unpadded base64url; undefined unless it is the one spelling of them (no padding, no stray bits). */
export function decodeBase64url(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

function isName(value: JsonObject[string]): value is string {
  return typeof value === "string" && value !== "" && value.length <= MAX_NAME_LENGTH;
}
