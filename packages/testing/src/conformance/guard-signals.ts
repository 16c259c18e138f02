// Waiting for what a test expects, without looking again and again: whoever changes something says so.
// Never keeps a process alive longer than its limit, and says what it waited for in vain.

const LIMIT_MS = 10_000;

/** Something that changes, and those who wait for it. */
export class Signals {
  readonly #waiting = new Set<() => void>();

  /** Something changed. */
  changed(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Resolves once `condition` holds. @throws Error after 10 s: `what` was waited for in vain. */
  async until(condition: () => boolean, what: string): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        settle();
      };
      const timer = setTimeout(() => finish(() => reject(new Error(`waited in vain for ${what}`))), LIMIT_MS);
      const look = (): void => {
        if (condition()) finish(resolve);
      };
      this.#waiting.add(look);
    });
  }
}
