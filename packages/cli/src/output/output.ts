// What a command prints: text for people, or JSON for programs (one document, or one line per event). Answers go to stdout, all else to stderr.
import type { CommandError } from "./status.ts";

/** How to print. */
export type OutputForm = "text" | "json";

/** Where a command's words go. */
export interface Output {
  readonly form: OutputForm;
  /** The command's answer: the text, or the document. */
  answer(text: string, document: unknown): void;
  /** One of several answers as they come. */
  event(text: string, document: unknown): void;
  /** Something for a person to know while waiting; silent with json. */
  note(text: string): void;
  /** Replaces the line of a long wait; only on a terminal. */
  progress(text: string): void;
  error(error: CommandError): void;
}

const json = (document: unknown, space?: number) =>
  JSON.stringify(document, (_key, value: unknown) => (typeof value === "bigint" ? value.toString() : value), space);

/** Output to the process's streams. */
export function processOutput(form: OutputForm): Output {
  let progressing = false;
  const clear = () => {
    if (progressing) process.stderr.write("\r\u001b[K");
    progressing = false;
  };
  return {
    form,
    answer(text, document) {
      clear();
      process.stdout.write(`${form === "json" ? json(document, 2) : printable(text)}\n`);
    },
    event(text, document) {
      clear();
      process.stdout.write(`${form === "json" ? json(document) : printable(text)}\n`);
    },
    note(text) {
      if (form === "json") return;
      clear();
      process.stderr.write(`${printable(text)}\n`);
    },
    progress(text) {
      if (form === "json" || !process.stderr.isTTY) return;
      process.stderr.write(`\r\u001b[K${printable(text).slice(0, (process.stderr.columns ?? 80) - 1)}`);
      progressing = true;
    },
    error(error) {
      clear();
      if (form === "json") {
        process.stderr.write(
          `${json({ error: { reason: error.reason, message: error.message, hints: error.hints, ...error.facts }, status: error.status })}\n`,
        );
        return;
      }
      process.stderr.write(`${printable([error.message, ...error.hints.map((hint) => `  ${hint}`)].join("\n"))}\n`);
    },
  };
}

/** Words of other people reach a terminal without control characters, escape sequences and marks that turn the direction of text. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** Columns, as wide as their longest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
