// What @peculiar/x509's container asks of the `reflect-metadata` polyfill, no more: metadata kept by object and key. Does nothing where the
// whole polyfill is loaded already.
const kept = new WeakMap<object, Map<unknown, unknown>>();

function getOwnMetadata(key: unknown, target: object): unknown {
  return kept.get(target)?.get(key);
}

function getMetadata(key: unknown, target: object): unknown {
  for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    if (kept.get(at)?.has(key) === true) return getOwnMetadata(key, at);
  }
  return undefined;
}

function defineMetadata(key: unknown, value: unknown, target: object): void {
  const members = kept.get(target) ?? new Map<unknown, unknown>();
  kept.set(target, members.set(key, value));
}

if (!("getMetadata" in Reflect)) Object.assign(Reflect, { getMetadata, getOwnMetadata, defineMetadata });
