// Exit statuses, the same for every command, and the error that carries one.

/** What the process ends with. */
export const exitStatus = {
  /** Done, or "yes". */
  success: 0,
  /** The answer is "no": denied, a failed check, invalid. */
  no: 1,
  /** The command line is wrong. */
  misuse: 2,
  /** Something that it needs could not be reached. */
  unreachable: 3,
  /** A wait ended first; the id is printed. */
  open: 4,
} as const;

/** One of {@link exitStatus}. */
export type ExitStatus = (typeof exitStatus)[keyof typeof exitStatus];

/** Ends a command: `message` starts with the reason, if there is one. */
export class CommandError extends Error {
  readonly status: ExitStatus;
  readonly reason: string | undefined;
  /** Further lines: what would help, where to look. */
  readonly hints: readonly string[];
  /** Facts for `--output json`. */
  readonly facts: Readonly<Record<string, unknown>>;
  constructor(
    status: ExitStatus,
    message: string,
    more: { reason?: string; hints?: readonly string[]; facts?: Record<string, unknown> } = {},
  ) {
    super(message);
    this.name = "CommandError";
    this.status = status;
    this.reason = more.reason;
    this.hints = more.hints ?? [];
    this.facts = more.facts ?? {};
  }
}
