// What waits to be sent to one reader: a bounded queue that is read like a stream. A reader that does not keep up is cut, never waited for.

/** A queue with one reader. */
export class Mailbox<T extends object> implements AsyncIterable<T>, Disposable {
  readonly #limit: number;
  readonly #overflow: () => Error;
  readonly #urgent: T[] = [];
  #items: T[] = [];
  #taken = 0;
  #ended: { readonly error?: Error } | undefined;
  #wake: (() => void) | undefined;

  /** @param overflow What the reader is told when more than `limit` items wait for it. */
  constructor(limit: number, overflow: () => Error) {
    this.#limit = limit;
    this.#overflow = overflow;
  }

  /** Items that wait. */
  get length(): number {
    return this.#urgent.length + this.#items.length - this.#taken;
  }

  /** Adds an item behind all others, or with `urgent` before those that are not. */
  push(item: T, options: { readonly urgent?: boolean } = {}): void {
    if (this.#ended) return;
    if (this.length >= this.#limit) return this.fail(this.#overflow());
    (options.urgent === true ? this.#urgent : this.#items).push(item);
    this.#wake?.();
  }

  /** Ends the stream with an error, at once: what waits is dropped. */
  fail(error: Error): void {
    this.#end({ error });
  }

  /** Ends the stream behind what waits. */
  close(): void {
    this.#end({});
  }

  [Symbol.dispose](): void {
    this.#items = [];
    this.#end({});
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      if (this.#ended?.error) throw this.#ended.error;
      const item = this.#urgent.shift() ?? this.#take();
      if (item !== undefined) yield item;
      else if (this.#ended) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #take(): T | undefined {
    const item = this.#items[this.#taken];
    if (item === undefined) return undefined;
    this.#taken += 1;
    // Dropped in runs: taking one by one from the front costs with the length.
    if (this.#taken === this.#items.length) this.#items = [];
    else if (this.#taken >= 1024) this.#items = this.#items.slice(this.#taken);
    else return item;
    this.#taken = 0;
    return item;
  }

  #end(how: { readonly error?: Error }): void {
    this.#ended ??= how;
    this.#wake?.();
  }
}
