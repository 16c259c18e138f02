// JSON from strangers: refuses what two parsers could read in two ways. Owns no meaning of what it reads.

/** A JSON value. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;
/** A JSON object. */
export type JsonObject = { readonly [name: string]: JsonValue };

/** An object, or why not; the problem never repeats the text. */
export type StrictJson = { readonly ok: true; readonly value: JsonObject } | { readonly ok: false; readonly problem: string };

const MAX_DEPTH = 8;

/**
 * Parses UTF-8 bytes as one JSON object (RFC 8259; I-JSON, RFC 7493, where it is stricter): no byte order mark, no member twice in one
 * object however it is escaped, no lone surrogate, no number beyond a double, at most 8 levels deep.
 */
export function parseStrictJson(bytes: Uint8Array): StrictJson {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { ok: false, problem: "is not UTF-8" };
  }
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch {
    return { ok: false, problem: "is not JSON" };
  }
  if (!isJsonObject(value)) return { ok: false, problem: "is not a JSON object" };
  const problem = ambiguity(text);
  return problem === undefined ? { ok: true, value } : { ok: false, problem };
}

/** Whether a value is an object and not an array. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const STRING_OR_STRUCTURE = /"(?:[^"\\]|\\.)*"|[{}[\],:]|-?[0-9][0-9.eE+-]*/g;

/** Walks text that is known to be JSON; says what is ambiguous in it. */
function ambiguity(text: string): string | undefined {
  // One set of member names for each open object, nothing for each open array.
  const open: (Set<string> | undefined)[] = [];
  let nameNext = false;
  for (const [token] of text.matchAll(STRING_OR_STRUCTURE)) {
    const first = token[0];
    if (first === "{" || first === "[") {
      open.push(first === "{" ? new Set() : undefined);
      nameNext = first === "{";
      if (open.length > MAX_DEPTH) return "is nested too deeply";
    } else if (first === "}" || first === "]") open.pop();
    else if (first === ",") nameNext = open.at(-1) !== undefined;
    else if (first === ":") nameNext = false;
    else if (first === '"') {
      const string = JSON.parse(token) as string;
      if (!string.isWellFormed()) return "has a lone surrogate";
      const names = open.at(-1);
      if (nameNext && names) {
        if (names.has(string)) return "has a member twice";
        names.add(string);
      }
    } else if (!Number.isFinite(Number(token))) return "has a number out of range";
  }
  return undefined;
}
