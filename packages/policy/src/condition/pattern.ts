// RE2 patterns, matched in linear time by the CEL library's own engine. A match may lie anywhere in the text, as in RE2 and CEL:
// anchor with ^ and $.
import { celEnv, parse, plan } from "@bufbuild/cel";

/** Longest pattern, in characters. */
export const MAX_PATTERN_CHARS = 500;

const match = plan(celEnv(), parse("text.matches(pattern)"));

/** Whether a text is a pattern that can be used. */
export function patternCompiles(pattern: string): boolean {
  return pattern.length <= MAX_PATTERN_CHARS && typeof match({ text: "", pattern }) === "boolean";
}

/** Whether a text has the pattern; false for a pattern that cannot be used. */
export function patternMatches(pattern: string, text: string): boolean {
  return pattern.length <= MAX_PATTERN_CHARS && match({ text, pattern }) === true;
}
