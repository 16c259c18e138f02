// JSON from an issuer, with bounds on time and size. Only https; http where the issuer itself is on loopback.
// Never follows a redirect, and never fetches what a token names: URLs come from policies and from what their issuers publish.

/** Gets the text behind a URL. Rejects with an Error whose message says why; it names no secret. */
export type FetchText = (url: string, limits: FetchLimits) => Promise<string>;

/** Bounds of one fetch. */
export interface FetchLimits {
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Whether a host, as it stands in a URL, is this machine. */
export function isLoopbackHost(host: string): boolean {
  return LOOPBACK.test(host.toLowerCase());
}

/** Whether keys may be fetched from there: https, or http on loopback where `loopback` allows it; no user name, no fragment. */
export function isFetchable(text: string, options: { readonly loopback: boolean }): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  if (url.username !== "" || url.password !== "" || url.hash !== "") return false;
  return url.protocol === "https:" || (options.loopback && url.protocol === "http:" && isLoopbackHost(url.hostname));
}

/** With the platform's fetch. */
export const fetchText: FetchText = async (url, { timeoutMs, maxBytes, signal }) => {
  const timeout = AbortSignal.timeout(timeoutMs);
  const response = await fetch(url, {
    redirect: "error",
    credentials: "omit",
    headers: { accept: "application/json" },
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`answered with status ${response.status}`);
  }
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.byteLength;
    if (bytes > maxBytes) throw new Error(`answered with more than ${maxBytes} bytes`);
    parts.push(part);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(parts));
};
