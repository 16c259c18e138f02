// What the doctor found out, one thing at a time. Shapes only.

/** One check and what came of it. */
export interface Finding {
  /** Its name, a word or two. */
  readonly check: string;
  /** `unknown`: it could not be looked at, and `says` tells what it would take. */
  readonly outcome: "ok" | "problem" | "warning" | "unknown";
  /** What was seen, and for a problem why calls fail for it. */
  readonly says: string;
  /** What to do; absent where there is nothing to do. */
  readonly fix?: string;
}

export const ok = (check: string, says: string): Finding => ({ check, outcome: "ok", says });
export const problem = (check: string, says: string, fix: string): Finding => ({ check, outcome: "problem", says, fix });
export const warning = (check: string, says: string, fix: string): Finding => ({ check, outcome: "warning", says, fix });
export const unknown = (check: string, says: string): Finding => ({ check, outcome: "unknown", says });
