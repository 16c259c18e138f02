// explain: what a refusal means, from a reason, a decision's id, a pasted error, or a call that was not made.
import { nearest } from "@brevet/policy";
import { catalogue, codeName, isMethodName, isReasonName, type ReasonName } from "@brevet/protocol";
import { type PolicyServiceExplainResponse, PolicyServiceExplainResponseSchema } from "@brevet/protocol/brevet/v1/policy";
import { toJson } from "@bufbuild/protobuf";
import { Command } from "commander";
import { authorityUrl } from "../connection/connection.ts";
import { withConnection } from "../connection/options.ts";
import { commandError } from "../connection/refusal.ts";
import { foreignStatus } from "../explain/foreign.ts";
import { type Pasted, printedAs, readPasted } from "../explain/pasted.ts";
import { explanationLines, foreignLines, namedLines, reasonLines, reasonName } from "../explain/words.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { connectionOf } from "./ask.ts";
import type { CommandContext } from "./context.ts";
import { readText } from "./files.ts";

interface ExplainOptions {
  readonly audience?: string;
  readonly principal?: string;
  readonly request?: string;
}

/** The authority is one source among others here: a text is explained without it. */
const ASK_TIMEOUT_MS = 5000;

/** `brevet explain REASON|DECISION|METHOD|TEXT|-`. */
export function explainCommand(context: CommandContext): Command {
  const command = new Command("explain")
    .description("what a refusal means, why it comes and what helps: from a reason, a decision's id, a pasted error, or a method")
    .argument("<words...>", "ELEVATION_REQUIRED, dec_…, an error's text, package.Service/Method; - reads the text from standard input")
    .option("--audience <name>", "with a method: the deployment that would be called")
    .option("--principal <name>", "with a method: who would call; default: you. For others it takes a role in the audience")
    .option("--request <json>", "with a method: the request as JSON, or @FILE; without it conditions on it are unknown")
    .addHelpText(
      "after",
      `
Examples:
  brevet explain GRANT_EXPIRED
  brevet explain dec_01J0000000000000000000000Z      what guard and caller recorded of it
  grpcurl … 2>&1 | brevet explain -                  whatever grpcurl, grpc-js, grpcio or grpc-go printed
  brevet explain payments.v1.Ledger/Refund --audience payments-prod   would I be permitted now, and what is missing?`,
    );
  return withConnection(command).action(async (words: string[], options: ExplainOptions) => {
    const given = words.join(" ");
    const text = given === "-" ? await standardInput(context) : given;
    if (isMethodName(text)) return explainCall(context, command, text, options);
    for (const name of ["audience", "principal", "request"] as const) {
      if (options[name] !== undefined)
        throw new CommandError(exitStatus.misuse, `--${name} goes with a method.`, { hints: ["brevet explain package.Service/Method …"] });
    }
    return explainText(context, command, text);
  });
}

/** A call that was not made. */
async function explainCall({ output }: CommandContext, command: Command, method: string, options: ExplainOptions): Promise<void> {
  const { audience, principal = "", request } = options;
  if (audience === undefined)
    throw new CommandError(exitStatus.misuse, "Say which deployment would be called: --audience NAME", {
      hints: [`For example: brevet explain ${method} --audience payments-prod`],
    });
  const requestJson = request === undefined ? "" : request.startsWith("@") ? await readText(request.slice(1)) : request;
  const { policies } = await connectionOf(command);
  const answer = await policies.explain({ subject: { case: "call", value: { audience, method, principal, requestJson } } });
  output.answer(explanationLines(answer).join("\n"), documentOf(answer));
}

async function explainText({ output }: CommandContext, command: Command, text: string): Promise<void> {
  const pasted = readPasted(text);
  const { decisionId, code, message = "" } = pasted;
  const recorded = decisionId === undefined ? undefined : await recordOf(decisionId, command);
  const found = recorded?.answer;
  if (recorded?.failure !== undefined && pasted.reason === undefined) throw recorded.failure;
  const reason = pasted.reason ?? reasonOf(found);
  const foreign = reason === undefined && code !== undefined ? foreignStatus(code, message) : undefined;
  if (reason === undefined && foreign === undefined && found === undefined) throw nothingIn(text);
  const named = withDecision(pasted, found);
  const lines = [
    ...(reason === undefined ? [] : reasonLines(reason, named)),
    ...(foreign === undefined ? [] : foreignLines(foreign, printedAs(pasted))),
    ...namedLines(pasted.metadata),
    ...(found === undefined ? [] : [`Recorded as ${decisionId}:`, ...explanationLines(found).map((line) => `  ${line}`)]),
    ...(recorded?.failure === undefined
      ? []
      : [`Recorded as ${decisionId}, and not to be had: ${recorded.failure.message}`, "  The guard's log has it under this id as well."]),
  ];
  output.answer(lines.join("\n"), {
    ...(reason === undefined ? {} : { ...catalogue[reason], codeName: codeName(catalogue[reason].code) }),
    pasted,
    ...(foreign === undefined ? {} : { foreign }),
    ...(decisionId === undefined ? {} : { decisionId }),
    ...(found === undefined ? {} : { decision: documentOf(found) }),
  });
}

/** What the authority has on a decision, or why it cannot be had. */
async function recordOf(
  decisionId: string,
  command: Command,
): Promise<{ readonly answer?: PolicyServiceExplainResponse; readonly failure?: CommandError }> {
  try {
    const { policies } = await connectionOf(command);
    return { answer: await policies.explain({ subject: { case: "decisionId", value: decisionId } }, { timeoutMs: ASK_TIMEOUT_MS }) };
  } catch (error) {
    return { failure: commandError(error, authorityUrl(command.opts())) };
  }
}

function reasonOf(answer: PolicyServiceExplainResponse | undefined): ReasonName | undefined {
  const name = answer === undefined || answer.permitted ? "" : reasonName(answer.reason);
  return isReasonName(name) ? name : undefined;
}

/** What fills the placeholders of the remedies. */
function withDecision({ metadata, elevation, message }: Pasted, answer: PolicyServiceExplainResponse | undefined): Record<string, string> {
  const method = metadata.method ?? answer?.decision?.method ?? message?.split(/[\s:,]+/).find(isMethodName);
  const known = elevation ?? answer?.decision?.elevation;
  return { ...metadata, ...(method !== undefined && { method }), ...(known !== undefined && { elevation: known }) };
}

function documentOf(answer: PolicyServiceExplainResponse): unknown {
  return toJson(PolicyServiceExplainResponseSchema, answer);
}

function nothingIn(text: string): CommandError {
  const near = nearest(text.trim().toUpperCase(), Object.keys(catalogue));
  return new CommandError(exitStatus.no, "No reason of the catalogue, decision or gRPC status stands in that text.", {
    hints: [
      near === undefined ? `Reasons are words like ELEVATION_REQUIRED. All: ${Object.keys(catalogue).join(", ")}` : `Did you mean ${near}?`,
    ],
  });
}

async function standardInput({ output, signal }: CommandContext): Promise<string> {
  if (process.stdin.isTTY) output.note("Paste the error, then Ctrl-D.");
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) {
    signal.throwIfAborted();
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString("utf8");
}
