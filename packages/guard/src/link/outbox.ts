// Messages on their way to the authority, in order. One reader.

/** A queue that is read as an async iterable and ends when told to. */
export class Outbox<T> implements AsyncIterable<T> {
  readonly #waiting: (() => T)[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  /** Adds a message; `make` is called when the transport takes it, so that times in it are those of sending. */
  push(make: () => T): void {
    if (this.#ended) return;
    this.#waiting.push(make);
    this.#wake?.();
  }

  /** No more messages; those that wait are still delivered. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      const make = this.#waiting.shift();
      if (make !== undefined) yield make();
      else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}
