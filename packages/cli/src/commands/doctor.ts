// doctor: finds why calls fail, and names each fault with its fix.
import { readFile } from "node:fs/promises";
import { DEFAULT_AUTHORITY_AUDIENCE, isMethodName } from "@brevet/protocol";
import { Command } from "commander";
import { withConnection } from "../connection/options.ts";
import { diagnose } from "../doctor/doctor.ts";
import type { Finding } from "../doctor/finding.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { connectionOf } from "./ask.ts";
import type { CommandContext } from "./context.ts";
import { readText } from "./files.ts";

interface DoctorOptions {
  readonly target: readonly string[];
  readonly audience?: string;
  readonly method?: string;
  readonly targetCa?: string;
  readonly serviceTokenFile?: string;
  readonly authorityAudience?: string;
  readonly ca?: string;
}

const MARKS = { ok: "ok  ", problem: "FAIL", warning: "warn", unknown: "--  " } as const;

/** `brevet doctor`. */
export function doctorCommand(context: CommandContext): Command {
  const command = new Command("doctor")
    .description("find why calls fail: reachability, certificates, clocks, identity, metadata lost on the way, keys, policy, deadlines")
    .option("--target <address>", "a guarded service, host:port, through whatever stands in between; may be given again", collect, [])
    .option("--audience <name>", "the deployment that it is, such as payments-prod")
    .option("--method <name>", "a protected method: is it refused without an elevation? Only its headers are sent, so it does not run")
    .option("--target-ca <file>", "certificates to trust for the services (PEM)")
    .option("--service-token-file <file>", "identity token made for the service; default: as for the authority")
    .addHelpText(
      "after",
      `
Run it where the calls come from. Examples:
  brevet doctor --audience payments-prod --target ledger:7443
  brevet doctor --audience payments-prod --target ledger:7443 --method payments.v1.Ledger/Refund

A role (admin, auditor) in the audience lets it look at all guards and all decisions of the last day.
Exit status: 0 nothing wrong; 1 a fault was found; 2 misuse; 3 the authority or a service could not be reached.`,
    );
  return withConnection(command).action(async (options: DoctorOptions) => {
    const { method, audience = "" } = options;
    if (method !== undefined && !isMethodName(method))
      throw new CommandError(exitStatus.misuse, `"${method}" is not a method.`, { hints: ["Write package.Service/Method."] });
    if (method !== undefined && options.target.length === 0)
      throw new CommandError(exitStatus.misuse, "--method goes with --target: say where it is called.");
    const { output } = context;
    const tokenFile = options.serviceTokenFile;
    const diagnosis = await diagnose({
      connection: await connectionOf(command),
      audience,
      authorityAudience: options.authorityAudience ?? DEFAULT_AUTHORITY_AUDIENCE,
      targets: options.target,
      method,
      ca: options.ca === undefined ? undefined : await readText(options.ca),
      targetCa: options.targetCa === undefined ? undefined : await readText(options.targetCa),
      serviceToken: tokenFile === undefined ? undefined : async () => (await readFile(tokenFile, "utf8")).trim(),
      onStep: (what) => output.progress(`looking at ${what}`),
    });
    const { findings, unreachable } = diagnosis;
    const problems = findings.filter(({ outcome }) => outcome === "problem").length;
    output.answer([...findings.map(lineOf), summary(problems)].join("\n"), { ok: problems === 0, findings });
    if (unreachable) context.end(exitStatus.unreachable);
    else if (problems > 0) context.end(exitStatus.no);
  });
}

function lineOf({ check, outcome, says, fix }: Finding): string {
  return `${MARKS[outcome]} ${check}: ${says}${fix === undefined ? "" : `\n       fix: ${fix}`}`;
}

function summary(problems: number): string {
  return problems === 0 ? "Nothing wrong was found." : `${problems} fault${problems === 1 ? "" : "s"} found.`;
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}
