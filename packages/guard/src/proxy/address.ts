// Where a proxy listens and where its service is, as people write it, and whether plaintext may go there. Pure.

/** A TCP address, or a Unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/** Reads `host:port`, `[::1]:port`, `unix:/path` or `unix:///path`; undefined for anything else. */
export function addressOf(text: string): Address | undefined {
  const unix = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(text)?.[1];
  if (unix !== undefined) return { path: unix };
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/\s]+)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) return undefined;
  return { host: match[1] ?? match[2] ?? "", port };
}

/** As people write it. */
export function addressText(address: Address): string {
  if ("path" in address) return `unix:${address.path}`;
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

/** Whether nothing that goes there leaves the machine. */
export function isLocal(address: Address): boolean {
  return "path" in address || /^(localhost|127(\.\d{1,3}){3}|::1)$/i.test(address.host);
}

/** Whether who listens at `listen` would reach itself by calling `called`. */
export function reachesItself(listen: Address, called: Address): boolean {
  if ("path" in listen || "path" in called) return "path" in listen && "path" in called && listen.path === called.path;
  if (listen.port === 0 || listen.port !== called.port) return false;
  const [here, there] = [loopback(listen.host), loopback(called.host)];
  return here === there || (/^(0\.0\.0\.0|::)$/.test(here) && isLocal(called));
}

function loopback(host: string): string {
  return /^(localhost|::1)$/i.test(host) ? "127.0.0.1" : host.toLowerCase();
}
