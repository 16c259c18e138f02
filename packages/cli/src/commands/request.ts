// request: asks for an elevation, and waits for it if told to.
import { createHash } from "node:crypto";
import { formatDuration, isMethodName, systemClock } from "@brevet/protocol";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Command } from "commander";
import type { Connection } from "../connection/connection.ts";
import { withConnection } from "../connection/options.ts";
import { commandError } from "../connection/refusal.ts";
import { clock, elevationDocument, elevationText, names, situation, stateName, waitsFor } from "../output/elevation.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { connectionOf, durationOption, instantOption, nowMs, requestId } from "./ask.ts";
import type { CommandContext } from "./context.ts";
import { readInput } from "./files.ts";
import { follow } from "./follow.ts";

/** The authority's own limit. */
const MAX_PAYLOAD_BYTES = 64 * 1024;

interface RequestOptions {
  readonly audience?: string;
  readonly entitlement?: string;
  readonly for?: string;
  readonly reason?: string;
  readonly at?: string;
  readonly run?: string;
  readonly data?: string;
  readonly payload?: string;
  readonly breakGlass?: boolean;
  readonly dryRun?: boolean;
  readonly wait?: boolean;
  readonly timeout?: string;
}

/** `brevet request METHOD`. */
export function requestCommand(context: CommandContext): Command {
  return withConnection(
    new Command("request").description("ask for an elevation to call a method").argument("<method>", "package.Service/Method"),
  )
    .option("--audience <name>", "which deployment (BREVET_AUDIENCE); needed only if several have the method")
    .option("--entitlement <id>", "which entitlement; default: fewest approvals, then narrowest")
    .option("--for <duration>", "how long, like 15m; default: the entitlement's")
    .option("--reason <words>", "why")
    .option("--at <time>", "start then (RFC 3339), not with the first call")
    .option("--run <id>", "the pipeline run that asks")
    .option("--payload <file>", "the request that it is for, in protobuf's wire form, where each request is approved by itself")
    .option("--break-glass", "active at once, loud, reviewed afterwards")
    .option("--dry-run", "check everything, ask for nothing")
    .option("--wait", "wait until it is decided; the window then starts with the approval")
    .option("--timeout <duration>", "with --wait: at most this long; the request stays open")
    .action(async (method: string, options: RequestOptions, command: Command) => {
      if (!isMethodName(method)) {
        throw new CommandError(exitStatus.misuse, `"${method}" is not a method name.`, {
          hints: ["Write package.Service/Method, like payments.v1.Ledger/Refund."],
        });
      }
      // Before anything is asked for.
      const timeoutMs = options.timeout === undefined ? undefined : durationOption("--timeout", options.timeout);
      const connection = await connectionOf(command);
      const answer = await connection.elevations.request({
        requestId: requestId(),
        method,
        audience: options.audience ?? process.env.BREVET_AUDIENCE ?? "",
        entitlement: options.entitlement ?? "",
        reason: options.reason ?? "",
        run: options.run ?? "",
        breakGlass: options.breakGlass ?? false,
        validateOnly: options.dryRun ?? false,
        waiting: options.wait ?? false,
        ...(options.for === undefined ? {} : { duration: durationFromMs(durationOption("--for", options.for)) }),
        ...(options.at === undefined ? {} : { startTime: timestampFromMs(instantOption("--at", options.at)) }),
        ...(options.payload === undefined ? {} : await payload(options.payload)),
      });
      const { elevation } = answer;
      if (elevation === undefined) throw new CommandError(exitStatus.unreachable, "The authority's answer is empty.");
      if (options.dryRun) {
        context.output.answer(`This would be asked for:\n${elevationText(elevation, nowMs())}`, {
          ...elevationDocument(elevation),
          validateOnly: true,
        });
      } else if (options.wait === true && elevation.state === ElevationState.PENDING) {
        await wait(context, connection, elevation, timeoutMs);
      } else {
        const found = answer.existing ? "You asked for this before: " : "";
        context.output.answer(`${found}${elevation.id} is ${stateName(elevation)}: ${situation(elevation, nowMs())}${next(elevation)}`, {
          ...elevationDocument(elevation),
          existing: answer.existing,
        });
      }
    });
}

/** What an approver, or the requester, does next. */
function next({ id, state, breakGlass, reviewTime, notified, reviewBy }: Elevation): string {
  if (state === ElevationState.PENDING) return `\nAn approver runs: brevet approve ${id}`;
  if (!breakGlass || reviewTime !== undefined) return "";
  return `\nBREAK-GLASS: ${names(notified)} will see it. By ${clock(reviewBy)} one of them, or an admin, runs: brevet review ${id} --comment …`;
}

async function wait(context: CommandContext, connection: Connection, asked: Elevation, timeoutMs: number | undefined): Promise<void> {
  const { output } = context;
  const limit = new AbortController();
  const timer = timeoutMs === undefined ? undefined : systemClock.after(timeoutMs, () => limit.abort());
  const signal = AbortSignal.any([context.signal, limit.signal]);
  const began = performance.now();
  let latest = asked;
  const progress = () => output.progress(`waiting for ${waitsFor(latest)} (${formatDuration(performance.now() - began)})  ${asked.id}`);
  output.note(`${asked.id} is PENDING: ${situation(asked, nowMs())}${next(asked)}`);
  const ticking = setInterval(progress, 1000);
  try {
    const what = { filter: { ids: [asked.id] }, waitingFor: [asked.id] };
    for await (const elevation of follow(connection, { ...what, signal, reached: true, note: output.note })) {
      const isOpen = elevation.stages[elevation.stage] !== undefined;
      if (elevation.state === ElevationState.PENDING && isOpen && waitsFor(elevation) !== waitsFor(latest))
        output.note(`${elevation.id} is PENDING: ${situation(elevation, nowMs())}`);
      latest = elevation;
      progress();
      if (elevation.state === ElevationState.PENDING) continue;
      finish(context, await latestOf(connection, elevation));
      return;
    }
  } finally {
    clearInterval(ticking);
    timer?.cancel();
  }
  throw new CommandError(exitStatus.open, `APPROVAL_WAIT_TIMEOUT: ${asked.id} is not decided yet; it stays open.`, {
    reason: "APPROVAL_WAIT_TIMEOUT",
    hints: [`See how it stands: brevet show ${asked.id}`, `Take it back: brevet withdraw ${asked.id}`],
    facts: { elevation: elevationDocument(latest) },
  });
}

/**
 * The approval and the start that it brings about are two changes: what counts is where both led. An approval that came while the
 * connection was broken found nobody waiting: its window is started here, where the hours allow it. As seen, if the authority is away.
 */
async function latestOf(connection: Connection, seen: Elevation): Promise<Elevation> {
  let latest = seen;
  try {
    latest = (await connection.elevations.get({ id: seen.id })).elevation ?? seen;
    if (latest.state !== ElevationState.SCHEDULED || latest.startTime !== undefined) return latest;
    return (await connection.elevations.start({ requestId: requestId(), id: seen.id })).elevation ?? latest;
  } catch (error) {
    const { status, reason } = commandError(error, connection.url);
    if (status !== exitStatus.unreachable && reason !== "OUTSIDE_SCHEDULE") throw error;
    return latest;
  }
}

function finish({ output }: CommandContext, elevation: Elevation): void {
  const text = `${elevation.id} is ${stateName(elevation)}: ${situation(elevation, nowMs())}`;
  if (elevation.state <= ElevationState.ACTIVE) {
    output.answer(text, elevationDocument(elevation));
    return;
  }
  const reason = `ELEVATION_${stateName(elevation)}`;
  throw new CommandError(exitStatus.no, `${reason}: ${text}`, { reason, facts: { elevation: elevationDocument(elevation) } });
}

async function payload(file: string): Promise<{ payload: Uint8Array; payloadDigest: Uint8Array }> {
  const bytes = new Uint8Array(await readInput(file));
  if (bytes.length > MAX_PAYLOAD_BYTES)
    throw new CommandError(exitStatus.misuse, `${file} has ${bytes.length} bytes; an approval covers a request of at most 64 KiB.`);
  return { payload: bytes, payloadDigest: new Uint8Array(createHash("sha256").update(bytes).digest()) };
}
