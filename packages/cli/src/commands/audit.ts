// audit: what the log says, entry by entry, and that it is whole, from a live authority or from an export.
import { isUtf8 } from "node:buffer";
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { verifyLog } from "@brevet/authority/log";
import { type LogEntry, LogEntrySchema, type LogRecord, LogRecordSchema } from "@brevet/protocol/brevet/v1/log";
import { fromBinary, fromJsonString, toJson } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Command } from "commander";
import type { Connection } from "../connection/connection.ts";
import { withConnection } from "../connection/options.ts";
import type { Output } from "../output/output.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { connectionOf, elevationId } from "./ask.ts";
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
      const unread = report.unread === 0n ? "" : `, ${report.unread} of them as hashes only`;
      const text = report.ok
        ? `The log verifies: ${report.entries} entries${unread}, root ${root}.`
        : [
            `The log does NOT verify (${report.entries} entries${unread}):`,
            ...report.problems.map(({ revision, problem }) => `  revision ${revision}: ${problem}`),
          ].join("\n");
      output.answer(text, { ok: report.ok, entries: report.entries, unread: report.unread, root, problems: report.problems });
      if (!report.ok) end(exitStatus.no);
    });
  return new Command("audit").description("the log").addCommand(listCommand(output)).addCommand(verify);
}

function listCommand(output: Output): Command {
  return withConnection(new Command("list").description("entries of the log, oldest first"))
    .option("--audience <name>", "only of this deployment")
    .option("--elevation <id>", "only of this elevation")
    .option("--after <revision>", "only behind this revision", "0")
    .option("--limit <n>", "at most this many", "100")
    .action(async (options: { audience?: string; elevation?: string; after: string; limit: string }, command: Command) => {
      const [after, limit] = [options.after, options.limit];
      if (!/^\d{1,18}$/.test(after) || !/^[1-9]\d{0,3}$/.test(limit))
        throw new CommandError(exitStatus.misuse, "--after and --limit are whole numbers.");
      const { log } = await connectionOf(command);
      const elevation = options.elevation === undefined ? "" : elevationId(options.elevation);
      const { records } = await log.list({
        afterRevision: BigInt(after),
        pageSize: Number(limit),
        audience: options.audience ?? "",
        elevation,
      });
      for (const record of records) {
        if (record.entry.length === 0) continue; // not for this reader's eyes: only its hash came
        const entry = fromBinary(LogEntrySchema, record.entry);
        output.event(entryLine(entry, record), toJson(LogEntrySchema, entry));
      }
    });
}

/** Revision, time, event, elevation, who by pseudonymous id, and the texts that this reader may see. */
function entryLine(entry: LogEntry, record: LogRecord): string {
  const time = entry.time === undefined ? "" : timestampDate(entry.time).toISOString();
  // Payloads and digests are not for the terminal.
  const texts = record.openings
    .filter(({ value }) => isUtf8(value))
    .map(({ value }) => Buffer.from(value).toString("utf8"))
    .filter((text) => text.length <= 200);
  return [entry.revision, time, entry.event.case ?? "unknown", entry.elevation, entry.actor, ...texts.map((text) => JSON.stringify(text))]
    .filter((part) => part !== "")
    .join("  ");
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
