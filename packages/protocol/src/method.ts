// Names of gRPC methods: `package.Service/Method` everywhere in Brevet, `/package.Service/Method` on the wire.
import { MAX_METHOD_BYTES } from "./names.ts";

const METHOD = /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\/[A-Za-z_][A-Za-z0-9_]*$/;

/** A method name split at its slash. */
export interface MethodName {
  readonly service: string;
  readonly method: string;
}

/** Whether `text` is `package.Service/Method` in literal characters, at most 200 bytes: no wildcard, no escape, no leading slash. */
export function isMethodName(text: string): boolean {
  return text.length <= MAX_METHOD_BYTES && METHOD.test(text);
}

/** Splits `package.Service/Method`; undefined if it is not one. */
export function parseMethodName(text: string): MethodName | undefined {
  if (!isMethodName(text)) return undefined;
  const slash = text.indexOf("/");
  return { service: text.slice(0, slash), method: text.slice(slash + 1) };
}

/** The method of an HTTP/2 `:path`; undefined unless it is a slash and a literal method name. */
export function methodOfPath(path: string): string | undefined {
  if (!path.startsWith("/")) return undefined;
  const name = path.slice(1);
  return isMethodName(name) ? name : undefined;
}

/** Whether a policy's pattern, a method name or `package.Service/*`, covers a method. */
export function methodMatches(pattern: string, method: string): boolean {
  return pattern.endsWith("/*") ? method.startsWith(pattern.slice(0, -1)) : pattern === method;
}
