// What came in one direction of a call and could not be passed yet, in order.
// Never judges: each is tried again once that may help.

/** Tries to pass something: true if it did, or if it never will. */
export type Attempt = () => boolean;

/** See the head of this file. */
export class Lane {
  readonly #waiting: Attempt[] = [];
  #releasing = false;

  /** Passes something, now or behind what waits. */
  bring(attempt: Attempt): void {
    if (this.#waiting.length > 0 || !attempt()) this.#waiting.push(attempt);
  }

  /** Tries again what waits, one after the other, until one has to wait on. */
  release(): void {
    if (this.#releasing) return;
    this.#releasing = true;
    try {
      for (let [next] = this.#waiting; next?.() === true; [next] = this.#waiting) this.#waiting.shift();
    } finally {
      this.#releasing = false;
    }
  }
}
