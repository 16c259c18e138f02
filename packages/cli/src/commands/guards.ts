// guards: which guards there are, what they enforce, how far their clocks are off.

import { formatDuration } from "@brevet/protocol";
import { type GuardStatus, GuardStatusSchema } from "@brevet/protocol/brevet/v1/guard";
import { toJson } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Command } from "commander";
import { withConnection } from "../connection/options.ts";
import { table } from "../output/output.ts";
import { connectionOf, nowMs } from "./ask.ts";
import type { CommandContext } from "./context.ts";

/** `brevet guards`. */
export function guardsCommand({ output }: CommandContext): Command {
  return withConnection(
    new Command("guards").description("guards that are or lately were connected: what they enforce, how far they are behind"),
  )
    .option("--audience <name>", "only of this deployment")
    .action(async (options: { audience?: string }, command: Command) => {
      const { guards: api } = await connectionOf(command);
      const { guards } = await api.list({ audience: options.audience ?? "" });
      const rows = guards.map((guard) => guardRow(guard, nowMs()));
      const text =
        rows.length === 0
          ? "No guards that you may see (it takes the role admin or auditor)."
          : table([["AUDIENCE", "GUARD", "FORM", "STATE", "POLICY", "REVISION", "CLOCK", "DENIED", "PERMITTED"], ...rows]);
      output.answer(text, { guards: guards.map((guard) => toJson(GuardStatusSchema, guard)) });
    });
}

function guardRow(guard: GuardStatus, now: number): string[] {
  const { acknowledgement } = guard;
  const seen = guard.lastSeen === undefined ? "never" : `${formatDuration(now - timestampMs(guard.lastSeen))} ago`;
  const offset = acknowledgement?.clockOffset === undefined ? "?" : `${durationMs(acknowledgement.clockOffset).toFixed(1)}ms`;
  return [
    guard.audience,
    `${guard.guard?.name ?? ""} ${guard.instance}`,
    guard.form,
    guard.connected ? "connected" : `gone, seen ${seen}`,
    String(acknowledgement?.policyVersion ?? "?"),
    String(acknowledgement?.position?.revision ?? "?"),
    offset,
    // Counted since it connected: of one that did not since the authority started, nothing is known.
    acknowledgement === undefined ? "?" : String(guard.denied),
    acknowledgement === undefined ? "?" : String(guard.permitted),
  ];
}
