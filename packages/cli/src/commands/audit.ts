// audit verify: that the log is whole, from a live authority or from an export.
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { verifyLog } from "@brevet/authority/log";
import { type LogRecord, LogRecordSchema } from "@brevet/protocol/brevet/v1/log";
import { fromJsonString } from "@bufbuild/protobuf";
import { Command } from "commander";
import type { Connection } from "../connection/connection.ts";
import { withConnection } from "../connection/options.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { connectionOf } from "./ask.ts";
import type { CommandContext } from "./context.ts";

const PAGE = 1000;

/** `brevet audit …`. */
export function auditCommand({ output, end }: CommandContext): Command {
  const verify = withConnection(
    new Command("verify").description(
      "check the log from its first entry: numbering, times, commitments, and the root of its tree against the checkpoint",
    ),
  )
    .option("--file <file>", "an export, one record a line (JSON), instead of a live authority")
    .action(async (options: { file?: string }, command: Command) => {
      const report = options.file === undefined ? await verifyLive(await connectionOf(command)) : await verifyLog(recordsOf(options.file));
      const root = Buffer.from(report.root).toString("base64");
      const text = report.ok
        ? `The log verifies: ${report.entries} entries, root ${root}.`
        : [
            `The log does NOT verify (${report.entries} entries read):`,
            ...report.problems.map(({ revision, problem }) => `  revision ${revision}: ${problem}`),
          ].join("\n");
      output.answer(text, { ok: report.ok, entries: report.entries, root, problems: report.problems });
      if (!report.ok) end(exitStatus.no);
    });
  return new Command("audit").description("the log").addCommand(verify);
}

/** Reads up to the checkpoint that was taken first, so that entries which come meanwhile do not matter. */
async function verifyLive({ log }: Connection) {
  const { checkpoint, verifierKey, position } = await log.getCheckpoint({});
  return verifyLog(pages(log, position?.revision ?? 0n), { checkpoint, verifierKey });
}

async function* pages(log: Connection["log"], size: bigint): AsyncGenerator<LogRecord> {
  let after = 0n;
  while (after < size) {
    const { records } = await log.list({ afterRevision: after, pageSize: PAGE });
    if (records.length === 0) return;
    for (const record of records) {
      if (after === size) return;
      after += 1n;
      yield record;
    }
  }
}

async function* recordsOf(file: string): AsyncGenerator<LogRecord> {
  let line = 0;
  try {
    for await (const text of createInterface({ input: createReadStream(file) })) {
      line += 1;
      if (text.trim() !== "") yield fromJsonString(LogRecordSchema, text);
    }
  } catch (error) {
    throw new CommandError(exitStatus.no, `${file}:${line}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
