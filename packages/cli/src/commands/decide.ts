// approve, deny, withdraw, start, extend, end, revoke, review: what changes an elevation.

import { type Elevation, ElevationState, type Enforcement, EnforcementSchema } from "@brevet/protocol/brevet/v1/elevation";
import { toJson } from "@bufbuild/protobuf";
import { durationFromMs, timestampDate } from "@bufbuild/protobuf/wkt";
import { Command } from "commander";
import { withConnection } from "../connection/options.ts";
import { elevationDocument, elevationText, situation, stateName } from "../output/elevation.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { connectionOf, durationOption, elevationId, nowMs, requestId } from "./ask.ts";
import type { CommandContext } from "./context.ts";

/** The deciding and ending commands. */
export function decisionCommands(context: CommandContext): Command[] {
  return [
    approveCommand(context),
    denyCommand(context),
    withdrawCommand(context),
    startCommand(context),
    extendCommand(context),
    endCommand(context),
    revokeCommand(context),
    reviewCommand(context),
  ];
}

function single(name: string, description: string): Command {
  return withConnection(new Command(name).description(description).argument("<id>", "elv_…"));
}

function say({ output }: CommandContext, elevation: Elevation | undefined, more: (elevation: Elevation) => string = () => ""): void {
  if (elevation === undefined) throw new CommandError(exitStatus.unreachable, "The authority's answer is empty.");
  const text = `${elevation.id} is ${stateName(elevation)}: ${situation(elevation, nowMs())}${more(elevation)}`;
  output.answer(text, elevationDocument(elevation));
}

function stillHeld({ id, state, holds }: Elevation): string {
  if (state > ElevationState.ACTIVE) return "";
  const others = holds === 1 ? "another caller holds it" : `${holds} other callers hold it`;
  return `\nYou let go of it, and ${others}. To end it for all: brevet end ${id} --all`;
}

/** Who has to do what next, where that is somebody else. */
function awaitingApproval({ id, extensionEnd }: Elevation): string {
  return extensionEnd === undefined ? "" : `\nIt goes on until then only if that is approved. An approver runs: brevet approve ${id}`;
}

function approveCommand(context: CommandContext): Command {
  return single("approve", "vote for an elevation; the last vote needed approves it")
    .option("--comment <words>", "words for the record")
    .option("--for <duration>", "narrow it to this long; the shortest vote wins, and an extension is approved as it is")
    .option("--seen <revision>", "refuse if it changed since this revision, as show printed it")
    .action(async (id: string, options: { comment?: string; for?: string; seen?: string }, command: Command) => {
      const { elevations: api } = await connectionOf(command);
      const seen = await sight(api, elevationId(id), options.seen, context);
      const { elevation } = await api.approve({
        requestId: requestId(),
        id,
        comment: options.comment ?? "",
        seenRevision: seen.revision,
        payloadDigest: seen.payloadDigest,
        ...(options.for === undefined ? {} : { duration: durationFromMs(durationOption("--for", options.for)) }),
      });
      say(context, elevation);
    });
}

function denyCommand(context: CommandContext): Command {
  return single("deny", "vote against an elevation, which ends it")
    .option("--comment <words>", "words for the requester")
    .option("--seen <revision>", "refuse if it changed since this revision")
    .action(async (id: string, options: { comment?: string; seen?: string }, command: Command) => {
      const { elevations: api } = await connectionOf(command);
      const seen = await sight(api, elevationId(id), options.seen, context);
      const { elevation } = await api.deny({ requestId: requestId(), id, comment: options.comment ?? "", seenRevision: seen.revision });
      say(context, elevation);
    });
}

/** A vote names what its voter saw: given by --seen, otherwise what is shown now, before the vote. */
async function sight(
  api: Awaited<ReturnType<typeof connectionOf>>["elevations"],
  id: string,
  seen: string | undefined,
  { output }: CommandContext,
): Promise<{ revision: bigint; payloadDigest: Uint8Array }> {
  const { elevation } = await api.get({ id });
  if (elevation === undefined) throw new CommandError(exitStatus.unreachable, "The authority's answer is empty.");
  if (seen === undefined) {
    output.note(elevationText(elevation, nowMs()));
    return { revision: elevation.revision, payloadDigest: digestOf(elevation) };
  }
  if (!/^\d{1,19}$/.test(seen)) throw new CommandError(exitStatus.misuse, `--seen ${seen}: not a revision.`);
  return { revision: BigInt(seen), payloadDigest: digestOf(elevation) };
}

function digestOf({ payloadDigest }: Elevation): Uint8Array {
  return payloadDigest?.value ?? new Uint8Array();
}

function withdrawCommand(context: CommandContext): Command {
  return single("withdraw", "take your own request back before it is decided, or the extension that you asked for")
    .option("--comment <words>", "words for the record")
    .action(async (id: string, options: { comment?: string }, command: Command) => {
      const { elevations: api } = await connectionOf(command);
      const { elevation } = await api.withdraw({ requestId: requestId(), id: elevationId(id), comment: options.comment ?? "" });
      say(context, elevation);
    });
}

function startCommand(context: CommandContext): Command {
  return single("start", "start the window of your own approved elevation now, not with its first use").action(
    async (id: string, _options: unknown, command: Command) => {
      const { elevations: api } = await connectionOf(command);
      const { elevation } = await api.start({ requestId: requestId(), id: elevationId(id) });
      say(context, elevation);
    },
  );
}

function extendCommand(context: CommandContext): Command {
  return single("extend", "ask for a later end of your own active elevation; at once or after approval, as the entitlement says")
    .requiredOption("--by <duration>", "how much later, like 15m")
    .option("--reason <words>", "why")
    .action(async (id: string, options: { by: string; reason?: string }, command: Command) => {
      const { elevations: api } = await connectionOf(command);
      const by = durationFromMs(durationOption("--by", options.by));
      const { elevation } = await api.extend({ requestId: requestId(), id: elevationId(id), by, reason: options.reason ?? "" });
      say(context, elevation, awaitingApproval);
    });
}

function reviewCommand(context: CommandContext): Command {
  return single("review", "record the review of a break-glass elevation")
    .requiredOption("--comment <words>", "what the review found")
    .action(async (id: string, options: { comment: string }, command: Command) => {
      const { elevations: api } = await connectionOf(command);
      const { elevation } = await api.review({ requestId: requestId(), id: elevationId(id), comment: options.comment });
      say(context, elevation, () => "\nThe review is recorded.");
    });
}

function endCommand(context: CommandContext): Command {
  return single("end", "hand your own elevation back before its window ends")
    .option("--all", "also for other callers that hold it")
    .action(async (id: string, options: { all?: boolean }, command: Command) => {
      const { elevations: api } = await connectionOf(command);
      const { elevation } = await api.end({ requestId: requestId(), id: elevationId(id), all: options.all ?? false });
      say(context, elevation, stillHeld);
    });
}

function revokeCommand(context: CommandContext): Command {
  return withConnection(new Command("revoke").description("take elevations away, at once").argument("[id]", "elv_…"))
    .option("--principal <name>", "all of this principal")
    .option("--entitlement <id>", "all under this entitlement; needs --audience")
    .option("--audience <name>", "only for this deployment")
    .option("--comment <words>", "words for the record")
    .option("--wait", "until every guard enforces it, or can no longer permit; a minute at most, then status 4")
    .action(
      async (
        id: string | undefined,
        options: { principal?: string; entitlement?: string; audience?: string; comment?: string; wait?: boolean },
        command: Command,
      ) => {
        const { elevations: api } = await connectionOf(command);
        const wait = options.wait ?? false;
        const target = revokeTarget(id, options);
        if (wait) context.output.note("Waiting for the guards to enforce it.");
        const { elevations, enforcement } = await api.revoke(
          { requestId: requestId(), target, audience: options.audience ?? "", comment: options.comment ?? "", wait },
          { signal: context.signal },
        );
        const lines = elevations.map(
          (elevation) =>
            `${elevation.id} is ${stateName(elevation)}: ${elevation.requester?.name ?? ""} no longer has ${elevation.entitlement}`,
        );
        if (wait && lines.length > 0) lines.push(...enforcementLines(enforcement));
        context.output.answer(lines.length === 0 ? "Nothing matched: nothing was revoked." : lines.join("\n"), {
          elevations: elevations.map(elevationDocument),
          ...(wait ? { enforcement: enforcement.map((each) => toJson(EnforcementSchema, each, { alwaysEmitImplicit: true })) } : {}),
        });
        if (lines.length === 0) context.end(exitStatus.no);
        else if (enforcement.some((each) => mayPermit(each, nowMs()))) context.end(exitStatus.open);
      },
    );
}

/** One line for each guard. */
function enforcementLines(enforcement: readonly Enforcement[]): string[] {
  if (enforcement.length === 0) return ["No guard of the audience is known: nothing permits under it."];
  return enforcement.map(({ guard, instance, audience, form, enforced, boundedUntil, streamsMayGoOn }) => {
    const unheard =
      boundedUntil === undefined
        ? "not heard from; it could permit until it comes back. Stop it to be certain"
        : `not heard from; it could permit until ${timestampDate(boundedUntil).toISOString()} at the latest (the policy's whenStale.atMost). Stop it to be certain, or wait`;
    const streams = streamsMayGoOn ? "; streams that it let in before may go on" : "";
    return `${audience}: ${guard?.name ?? ""} ${instance} (${form}): ${enforced ? "enforced" : unheard}${streams}`;
  });
}

function mayPermit({ enforced, boundedUntil }: Enforcement, now: number): boolean {
  return !enforced && (boundedUntil === undefined || timestampDate(boundedUntil).getTime() > now);
}

function revokeTarget(id: string | undefined, options: { principal?: string; entitlement?: string; audience?: string }) {
  const named = [id, options.principal, options.entitlement].filter((target) => target !== undefined);
  if (named.length !== 1) {
    throw new CommandError(exitStatus.misuse, "Say what to revoke: an id, --principal or --entitlement, exactly one of them.");
  }
  if (id !== undefined) return { case: "id", value: elevationId(id) } as const;
  if (options.principal !== undefined) return { case: "principal", value: options.principal } as const;
  if (options.audience === undefined)
    throw new CommandError(exitStatus.misuse, "--entitlement needs --audience: the same id can stand in several policies.");
  return { case: "entitlement", value: options.entitlement ?? "" } as const;
}
