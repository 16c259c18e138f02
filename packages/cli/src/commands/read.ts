// list, show, watch: what the caller may see of elevations.

import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { Command, Option } from "commander";
import { withConnection } from "../connection/options.ts";
import { elevationDocument, elevationLine, elevationTable, elevationText } from "../output/elevation.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { connectionOf, elevationId, nowMs } from "./ask.ts";
import type { CommandContext } from "./context.ts";
import { follow } from "./follow.ts";

interface FilterOptions {
  readonly mine?: boolean;
  readonly decidable?: boolean;
  readonly state?: string[];
  readonly audience?: string;
  readonly entitlement?: string;
  readonly principal?: string;
  readonly limit?: string;
}

const STATES = ["pending", "scheduled", "active", "denied", "withdrawn", "lapsed", "expired", "ended", "revoked"];

/** The three reading commands. */
export function readCommands(context: CommandContext): Command[] {
  return [listCommand(context), showCommand(context), watchCommand(context)];
}

function withFilter(command: Command): Command {
  return command
    .option("--mine", "only what you asked for")
    .option("--decidable", "only what waits for your decision")
    .addOption(new Option("--state <states...>", "only in these states").choices(STATES))
    .option("--audience <name>", "only for this deployment")
    .option("--entitlement <id>", "only under this entitlement")
    .option("--principal <name>", "only of this principal");
}

function filterOf(options: FilterOptions) {
  return {
    mine: options.mine ?? false,
    decidable: options.decidable ?? false,
    states: (options.state ?? []).map((name) => ElevationState[name.toUpperCase() as keyof typeof ElevationState]),
    audience: options.audience ?? "",
    entitlement: options.entitlement ?? "",
    principal: options.principal ?? "",
  };
}

function listCommand({ output }: CommandContext): Command {
  return withConnection(withFilter(new Command("list").description("elevations that you may see, newest first")))
    .option("--limit <n>", "at most this many", "50")
    .action(async (options: FilterOptions, command: Command) => {
      const limit = Number(options.limit);
      if (!Number.isInteger(limit) || limit < 1 || limit > 1000)
        throw new CommandError(exitStatus.misuse, `--limit ${options.limit}: not a number from 1 to 1000.`);
      const { elevations: api } = await connectionOf(command);
      const { elevations, nextPageToken } = await api.list({ filter: filterOf(options), pageSize: limit });
      const text = elevations.length === 0 ? "No elevations." : elevationTable(elevations, nowMs());
      output.answer(nextPageToken === "" ? text : `${text}\n(there are more: raise --limit)`, {
        elevations: elevations.map(elevationDocument),
        more: nextPageToken !== "",
      });
    });
}

function showCommand({ output }: CommandContext): Command {
  return withConnection(
    new Command("show").description("one elevation: who asks, for what, why, who decides").argument("<id>", "elv_…"),
  ).action(async (id: string, _options: unknown, command: Command) => {
    const { elevations: api } = await connectionOf(command);
    const { elevation } = await api.get({ id: elevationId(id) });
    if (elevation === undefined) throw new CommandError(exitStatus.unreachable, "The authority's answer is empty.");
    const text = elevationText(elevation, nowMs());
    output.answer(
      elevation.mayDecide ? `${text}\n\nYou may decide: brevet approve ${id}  or  brevet deny ${id} --comment WHY` : text,
      elevationDocument(elevation),
    );
  });
}

function watchCommand({ output, signal }: CommandContext): Command {
  return withConnection(withFilter(new Command("watch").description("elevations that you may see, then every change, until Ctrl-C")))
    .argument("[id]", "only this elevation, until it is final")
    .action(async (id: string | undefined, options: FilterOptions, command: Command) => {
      const connection = await connectionOf(command);
      const filter = { ...filterOf(options), ids: id === undefined ? [] : [elevationId(id)] };
      for await (const elevation of follow(connection, { filter, signal, note: output.note })) {
        output.event(elevationLine(elevation, nowMs()).join("  "), elevationDocument(elevation));
        if (id !== undefined && elevation.state > ElevationState.ACTIVE) return;
      }
    });
}
