// A map that forgets its oldest entries: what was seen before, by the exact token.

/** At most `max` entries; the one that was added first goes first. */
export class BoundedMap<K, V> {
  readonly #max: number;
  readonly #entries = new Map<K, V>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  set(key: K, value: V): void {
    if (this.#entries.size >= this.#max && !this.#entries.has(key)) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    this.#entries.set(key, value);
  }

  delete(key: K): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}

const SLOTS = 256;

/**
 * A few values of long texts that end at random, as tokens do with their signature: found by the last characters and one comparison. A
 * Map would hash the whole text, which arrives as a new string with each call and so costs more than the rest of the decision.
 */
export class TailCache<V> {
  readonly #keys: (string | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
  readonly #values: (V | undefined)[] = Array.from({ length: SLOTS }, () => undefined);

  get(key: string): V | undefined {
    const at = slotOf(key);
    return this.#keys[at] === key ? this.#values[at] : undefined;
  }

  set(key: string, value: V): void {
    const at = slotOf(key);
    this.#keys[at] = key;
    this.#values[at] = value;
  }

  clear(): void {
    this.#keys.fill(undefined);
    this.#values.fill(undefined);
  }
}

function slotOf(key: string): number {
  const { length } = key;
  return (key.charCodeAt(length - 3) * 37 + key.charCodeAt(length - 5)) & (SLOTS - 1);
}
