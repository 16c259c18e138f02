// How much work a benchmark does.

/** Given to each benchmark. */
export interface Effort {
  /** A moment only: the figures mean nothing. */
  readonly smoke: boolean;
}
