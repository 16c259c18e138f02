// What falls due when, the earliest first. Each thing in it knows its place, so that it can be moved and taken out as fast as put in.
// Never reads a clock.

/** Something that falls due. */
export interface Due {
  /** When, on the queue's clock. Changed only while it is not in the queue. */
  readonly dueMs: number;
  /** Its place in the queue; -1: not in it. The queue's own. */
  place: number;
}

/** A binary heap. */
export class DueQueue<T extends Due> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The one that falls due first. */
  get first(): T | undefined {
    return this.#heap[0];
  }

  /** All of them, in no order; a copy. */
  all(): readonly T[] {
    return [...this.#heap];
  }

  add(one: T): void {
    if (one.place !== -1) throw new Error("it is in the queue already");
    this.#heap.push(one);
    this.#up(one, this.#heap.length - 1);
  }

  /** Takes it out, if it is in. */
  remove(one: T): void {
    const { place } = one;
    if (place === -1) return;
    one.place = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === one) return;
    // Into the gap: it may belong further up or down.
    this.#up(last, place);
    this.#down(last, last.place);
  }

  #up(one: T, from: number): void {
    let place = from;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = this.#heap[parent];
      if (above === undefined || above.dueMs <= one.dueMs) break;
      this.#put(above, place);
      place = parent;
    }
    this.#put(one, place);
  }

  #down(one: T, from: number): void {
    let place = from;
    for (;;) {
      const [left, right] = [this.#heap[2 * place + 1], this.#heap[2 * place + 2]];
      const least = left !== undefined && right !== undefined && right.dueMs < left.dueMs ? right : left;
      if (least === undefined || least.dueMs >= one.dueMs) break;
      const below = least.place;
      this.#put(least, place);
      place = below;
    }
    this.#put(one, place);
  }

  #put(one: T, place: number): void {
    this.#heap[place] = one;
    one.place = place;
  }
}
