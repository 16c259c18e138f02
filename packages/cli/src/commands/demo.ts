// demo: the whole story on one machine, with a real authority, service and callers.
import { isReasonName } from "@brevet/protocol";
import { Command } from "commander";
import { playDemo } from "../demo/demo.ts";
import { tellRefusal } from "../demo/refusals/refusals.ts";
import { Stage } from "../demo/stage.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import type { CommandContext } from "./context.ts";

/** `brevet demo`. */
export function demoCommand(context: CommandContext): Command {
  return new Command("demo")
    .description(
      "a call that is refused, asked for, approved, run, and refused again when the window is over: on this machine, in under a minute",
    )
    .option("--auto", "play the approver too; runs without a person")
    .option("--keep", "keep the data directory, to look at it afterwards")
    .option("--refusal <reason>", "instead of the story, one refusal of the catalogue: how it comes, and what is seen, like GRANT_EXPIRED")
    .action(async (options: { auto?: boolean; keep?: boolean; refusal?: string }) => {
      if (!Stage.available()) {
        throw new CommandError(exitStatus.unreachable, "The demo plays with the example service of the repository, which is not here.", {
          hints: ["Run it from a checkout: npm ci && npm run demo"],
        });
      }
      if (options.refusal !== undefined) {
        const reason = options.refusal.toUpperCase();
        if (!isReasonName(reason))
          throw new CommandError(exitStatus.misuse, `${options.refusal} is not a reason: brevet explain lists them.`);
        await tellRefusal(reason, (text) => process.stdout.write(text), context.signal);
        return;
      }
      const told = await playDemo({
        auto: options.auto ?? false,
        keep: options.keep ?? false,
        signal: context.signal,
        output: context.output,
      });
      context.end(told ? exitStatus.success : exitStatus.no);
    });
}
