// What every command is given by cli.ts.
import type { Output } from "../output/output.ts";

/** Where to print, when to stop, how to end. */
export interface CommandContext {
  readonly output: Output;
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** Sets the exit status of a command that ends without an error. */
  end(status: number): void;
}
