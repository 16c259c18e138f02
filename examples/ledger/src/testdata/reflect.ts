// tsyringe, which @peculiar/x509 uses, refuses to load without these two functions of the metadata proposal, and uses them for its decorators.

const metadata = new WeakMap<object, Map<unknown, unknown>>();

/** Adds them to Reflect; to be called before @peculiar/x509 is imported. */
export function provideMetadata(): void {
  Object.assign(Reflect, functions);
}

const functions = {
  defineMetadata(key: unknown, value: unknown, target: object): void {
    metadata.set(target, (metadata.get(target) ?? new Map<unknown, unknown>()).set(key, value));
  },
  getOwnMetadata: (key: unknown, target: object): unknown => metadata.get(target)?.get(key),
  getMetadata(key: unknown, target: object): unknown {
    for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at) as object | null) {
      if (metadata.get(at)?.has(key)) return metadata.get(at)?.get(key);
    }
    return undefined;
  },
};
