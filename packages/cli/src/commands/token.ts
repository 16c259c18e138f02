// token inspect: header, claims and every check of a grant or an identity token. The token itself is never printed.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { systemClock } from "@brevet/protocol";
import { Command } from "commander";
import { authorityUrl } from "../connection/connection.ts";
import { causeOf } from "../connection/identity.ts";
import { withConnection } from "../connection/options.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { type Expected, inspectToken, type TokenReport } from "../token/inspect.ts";
import { connectionOf, instantOption } from "./ask.ts";
import type { CommandContext } from "./context.ts";

interface InspectOptions {
  readonly jwks?: string;
  readonly audience?: string;
  readonly issuer?: string;
  readonly at?: string;
  readonly authority?: string;
}

/** `brevet token inspect TOKEN|-`. */
export function tokenCommand(context: CommandContext): Command {
  const inspect = new Command("inspect")
    .description("header, claims, and every check with its outcome, of a grant or an identity token")
    .argument("[token]", "the token; - reads one a line from standard input and answers one line each", "-")
    .option("--jwks <file-or-url>", "keys to check the signature with; default: those of --authority, if given")
    .option("--authority <url>", "take the grant keys from this authority")
    .option("--audience <name>", "the audience that it should be for")
    .option("--issuer <name>", "the issuer that it should be from")
    .option("--at <time>", "judge the times as of then (RFC 3339); default: now")
    .action(async (token: string, options: InspectOptions) => {
      const expected = {
        jwks: await keySet(options),
        audience: options.audience,
        issuer: options.issuer,
        nowMs: options.at === undefined ? systemClock.wallMs() : instantOption("--at", options.at),
      };
      if (token === "-") {
        if (!(await inspectLines(context, expected))) context.end(exitStatus.no);
        return;
      }
      const report = await inspectToken(token, expected);
      context.output.answer(reportText(report), report);
      if (!report.ok) context.end(exitStatus.no);
    });
  return new Command("token").description("look into tokens").addCommand(inspect).addCommand(developmentCommand(context));
}

/** One line of JSON for each token, whatever the form of output: true if all are good. */
async function inspectLines({ signal, output }: CommandContext, expected: Expected): Promise<boolean> {
  if (process.stdin.isTTY) output.note("Paste a token and press Enter; Ctrl-D ends.");
  let [count, good] = [0, true];
  for await (const line of createInterface({ input: process.stdin, signal })) {
    count += 1;
    const { ok, reason = null, header = null, claims = null, checks } = await inspectToken(line.trim(), expected);
    const failed = checks.find(({ outcome }) => outcome === "failed");
    const problem = failed === undefined ? null : `${failed.name}: ${failed.detail}`;
    process.stdout.write(`${JSON.stringify({ ok, reason, problem, header, claims })}\n`);
    good &&= ok;
  }
  if (count > 0 || signal.aborted) return good;
  throw new CommandError(exitStatus.misuse, "There is no token on standard input.", {
    hints: ["Give it as an argument, or one a line: brevet token inspect - <FILE"],
  });
}

/** `brevet token dev`: what a caller, a guard or a test presents, where the authority runs with --dev. */
function developmentCommand({ output }: CommandContext): Command {
  return withConnection(
    new Command("dev").description("print an identity token of a made-up person, from an authority that runs with --dev"),
  )
    .requiredOption("--for-audience <name>", "whom the token is for: a deployment like payments-prod, or the authority's own (brevet)")
    .action(async (options: { forAudience: string; as?: string }, command: Command) => {
      if (options.as === undefined) throw new CommandError(exitStatus.misuse, "Say who: --as user:ana@example.com");
      const { token } = await connectionOf(command);
      output.answer((await token?.(options.forAudience)) ?? "", {
        token: await token?.(options.forAudience),
        audience: options.forAudience,
      });
    });
}

function reportText(report: TokenReport): string {
  const marks = { passed: "ok  ", failed: "FAIL", skipped: "--  " } as const;
  return [
    `${report.kind} token: ${report.ok ? "good" : (report.reason ?? "not good")}`,
    ...report.checks.map((check) => `  ${marks[check.outcome]} ${check.name}${check.detail === "" ? "" : `: ${check.detail}`}`),
    ...(report.header === undefined ? [] : ["header:", JSON.stringify(report.header, null, 2)]),
    ...(report.claims === undefined ? [] : ["claims:", JSON.stringify(report.claims, null, 2)]),
  ].join("\n");
}

async function keySet(options: InspectOptions): Promise<string | undefined> {
  const source = options.jwks ?? (options.authority === undefined ? undefined : `${authorityUrl(options)}/.well-known/jwks.json`);
  if (source === undefined) return undefined;
  if (!/^https?:\/\//.test(source)) {
    try {
      return await readFile(source, "utf8");
    } catch (error) {
      throw new CommandError(exitStatus.misuse, `${source} cannot be read: ${(error as NodeJS.ErrnoException).code ?? "error"}.`);
    }
  }
  try {
    const response = await fetch(source, { signal: AbortSignal.timeout(10_000), redirect: "error" });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return await response.text();
  } catch (error) {
    throw new CommandError(exitStatus.unreachable, `KEYS_UNAVAILABLE: ${source} did not answer (${causeOf(error)}).`, {
      reason: "KEYS_UNAVAILABLE",
    });
  }
}
