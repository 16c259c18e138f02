// explain: what a reason means, why it comes, what helps. A decision's id is explained by the authority that has its record.
import { catalogue, codeName, isReasonName, type ReasonName } from "@brevet/protocol";
import { Command } from "commander";
import { CommandError, exitStatus } from "../output/status.ts";
import type { CommandContext } from "./context.ts";

/** `brevet explain REASON|TEXT`. */
export function explainCommand({ output }: CommandContext): Command {
  return new Command("explain")
    .description("what a reason means, why it comes, and what helps; also from a pasted error")
    .argument("<words...>", "a reason like ELEVATION_REQUIRED, or an error's text")
    .action((words: string[]) => {
      const text = words.join(" ");
      const reason = reasonIn(text);
      const decision = /\bdec_[0-9A-Z]{26}\b/.exec(text)?.[0];
      if (reason === undefined && decision !== undefined) {
        throw new CommandError(
          exitStatus.no,
          `The record of ${decision} cannot be asked for yet: it stands in the log of the guard that decided.`,
          {
            hints: [
              `Look for "decisionId":"${decision}" there, or paste the whole error: brevet explain "ELEVATION_… (decision ${decision})"`,
            ],
          },
        );
      }
      if (reason === undefined) {
        throw new CommandError(exitStatus.no, "No reason of the catalogue stands in that text.", {
          hints: [`Reasons are words like ELEVATION_REQUIRED. All: ${Object.keys(catalogue).join(", ")}`],
        });
      }
      const entry = catalogue[reason];
      const lines = [
        `${reason} (${codeName(entry.code)})`,
        `  ${entry.what}`,
        "Why it comes:",
        ...entry.causes.map((cause) => `  - ${cause}`),
        "What helps:",
        `  caller:   ${entry.callerRemedy}`,
        `  operator: ${entry.operatorRemedy}`,
        `Retry: ${entry.retry}`,
        ...(decision === undefined ? [] : [`Recorded as ${decision} in the guard's log.`]),
      ];
      output.answer(lines.join("\n"), {
        ...entry,
        codeName: codeName(entry.code),
        ...(decision === undefined ? {} : { decisionId: decision }),
      });
    });
}

/** The first word that is a reason, in any case. */
export function reasonIn(text: string): ReasonName | undefined {
  for (const word of text.toUpperCase().match(/[A-Z][A-Z_]{4,}/g) ?? []) {
    const name = word.replace(/^REASON_(?=.*_)/, "");
    if (isReasonName(word)) return word;
    if (isReasonName(name)) return name;
  }
  return undefined;
}
