// The command line as a whole: which commands there are, and what becomes of their errors. Each command lives in commands/.
import { Command, CommanderError, Option } from "commander";
import { auditCommand } from "./commands/audit.ts";
import type { CommandContext } from "./commands/context.ts";
import { decisionCommands } from "./commands/decide.ts";
import { demoCommand } from "./commands/demo.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { explainCommand } from "./commands/explain.ts";
import { grantCommand } from "./commands/grant.ts";
import { guardCommand } from "./commands/guard.ts";
import { guardsCommand } from "./commands/guards.ts";
import { policyCommand } from "./commands/policy.ts";
import { readCommands } from "./commands/read.ts";
import { requestCommand } from "./commands/request.ts";
import { serveCommand } from "./commands/serve.ts";
import { tokenCommand } from "./commands/token.ts";
import { authorityUrl } from "./connection/connection.ts";
import { commandError } from "./connection/refusal.ts";
import { type OutputForm, processOutput } from "./output/output.ts";
import { CommandError, exitStatus } from "./output/status.ts";
import { version } from "./version.ts";

/** Runs one command line. Resolves with the process's exit status; never throws. `signal` is aborted by Ctrl-C and SIGTERM. */
export async function run(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const asked = outputForm(argv);
  let status: number = exitStatus.success;
  const output = processOutput(asked);
  const program = new Command("brevet")
    .description("Just-in-time privilege elevation for gRPC: asked for, approved, bounded in time, recorded.")
    .version(version)
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .addHelpText(
      "after",
      `
Most commands talk to an authority and need to know who you are:
  --authority URL    or BREVET_AUTHORITY; default http://127.0.0.1:7400
  --token-file FILE  or BREVET_TOKEN_FILE, BREVET_TOKEN: an identity token made for the authority
  --as NAME          or BREVET_AS: a made-up person, where the authority runs with --dev
  --output json      for programs: one document, or one line an event

Exit status: 0 done; 1 the answer is no; 2 misuse; 3 something could not be reached; 4 still open when the wait ended.`,
    );
  const context: CommandContext = { output, signal, end: (code: number) => (status = code) };
  for (const command of allCommands(context)) program.addCommand(prepare(command));
  try {
    await program.parseAsync([...argv], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitStatus.success : exitStatus.misuse;
    if (signal.aborted && !(error instanceof CommandError)) return 130;
    const failure = commandError(error, safeUrl(program));
    output.error(failure);
    return failure.status;
  }
}

/** Every command, in the order of the help. */
export function allCommands(context: CommandContext): Command[] {
  return [
    serveCommand(context),
    guardCommand(context),
    demoCommand(context),
    requestCommand(context),
    ...readCommands(context),
    ...decisionCommands(context),
    grantCommand(context),
    tokenCommand(context),
    explainCommand(context),
    doctorCommand(context),
    policyCommand(context),
    guardsCommand(context),
    auditCommand(context),
  ];
}

/** Gives a command and its subcommands the option that all share, and commander's errors back to us. */
function prepare(command: Command): Command {
  command.exitOverride();
  if (command.commands.length === 0)
    command.addOption(new Option("--output <form>", "how to print").choices(["text", "json"]).default("text"));
  for (const child of command.commands) prepare(child);
  return command;
}

/** The form is needed before the arguments are parsed, for their errors. */
function outputForm(argv: readonly string[]): OutputForm {
  const end = argv.indexOf("--");
  const ours = end === -1 ? argv : argv.slice(0, end);
  return ours.includes("--output=json") || ours.some((word, i) => word === "--output" && ours[i + 1] === "json") ? "json" : "text";
}

function safeUrl(program: Command): string {
  try {
    return authorityUrl(
      program.commands.map((command) => command.opts<{ authority?: string }>()).find((options) => options.authority !== undefined) ?? {},
    );
  } catch {
    return "the authority";
  }
}
