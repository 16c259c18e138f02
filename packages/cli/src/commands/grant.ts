// grant: prints a grant, for tools that take metadata on their command line.

import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Command } from "commander";
import { withConnection } from "../connection/options.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { connectionOf, elevationId, requestId } from "./ask.ts";
import type { CommandContext } from "./context.ts";

/** `brevet grant [ID]`. */
export function grantCommand({ output }: CommandContext): Command {
  return withConnection(
    new Command("grant").description('print a grant of an active elevation, for example for grpcurl -H "brevet-grant: …"'),
  )
    .argument("[id]", "elv_…; default: your only active elevation")
    .action(async (id: string | undefined, _options: unknown, command: Command) => {
      const { elevations: api } = await connectionOf(command);
      const chosen = id === undefined ? await onlyActive(api) : elevationId(id);
      const answer = await api.issueGrant({ requestId: requestId(), id: chosen });
      const until = answer.expireTime === undefined ? undefined : timestampDate(answer.expireTime).toISOString();
      output.note(`A grant of ${chosen}, good until ${until ?? "?"}. Who holds it holds the privilege, with the same identity.`);
      output.answer(answer.grant, { grant: answer.grant, elevation: chosen, expireTime: until });
    });
}

async function onlyActive(api: Awaited<ReturnType<typeof connectionOf>>["elevations"]): Promise<string> {
  const { elevations } = await api.list({ filter: { mine: true, states: [ElevationState.ACTIVE] }, pageSize: 10 });
  const [first, second] = elevations;
  if (first === undefined) {
    throw new CommandError(exitStatus.no, "ELEVATION_REQUIRED: you have no active elevation.", {
      reason: "ELEVATION_REQUIRED",
      hints: ["Ask for one: brevet request METHOD --wait"],
    });
  }
  if (second !== undefined) {
    throw new CommandError(exitStatus.misuse, "You have several active elevations; say which.", {
      hints: elevations.map((elevation) => `brevet grant ${elevation.id}  (${elevation.method})`),
    });
  }
  return first.id;
}
