// A process that appends to a log until it is killed, and says on standard output, one line each and unbuffered, what it was answered:
//   open REVISION            the log is open
//   sent ID                  the command with this idempotency id was handed to the log
//   ack ID REVISION          it was answered: its first entry has this revision
//   failed ID CODE           it was refused
//   checkpoint KEY NOTE      a checkpoint was signed: verifier key, note in base64
// Arguments: DIRECTORY CALLERS PREFIX COUNT [ID…]. It first sends the ids given, again, then PREFIX-1, PREFIX-2, … up to COUNT each.
import { writeSync } from "node:fs";
import { newId } from "@brevet/protocol";
import { ElevationRequestedSchema } from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { evolve, nextDueMs } from "../../elevation/evolve.ts";
import { Log } from "../../log/log.ts";
import { openEmbeddedStore } from "../embedded/embedded.ts";
import { StoreError } from "../store.ts";

/** The name of the only principal that the process appends for. */
export const APPENDER = "user:appender@example.com";

const say = (...words: readonly unknown[]) => void writeSync(1, `${words.join(" ")}\n`);

/** Appends one elevation request, once per idempotency id; answers with the revision of its first entry. */
export async function appendOnce(log: Log, requestId: string): Promise<bigint> {
  return log.write(async (tx) => {
    const requester = await tx.principalId({ name: APPENDER });
    const known = await tx.request(requester, requestId);
    if (known) return known.revision;
    const value = create(ElevationRequestedSchema, {
      entitlement: "refund-operator",
      requester,
      method: "payments.v1.Ledger/Refund",
      methods: ["payments.v1.Ledger/Refund"],
      reason: tx.seal(`because of ${requestId}`),
      duration: durationFromMs(900_000),
      pending: durationFromMs(3_600_000),
      stages: [{ approvers: [tx.seal("group:payments-oncall")], quorum: 1 }],
    });
    const draft = { audience: "payments", actor: requester, elevation: newId("elv") };
    const { revision } = tx.append({ ...draft, requestId, event: { case: "elevationRequested", value } });
    tx.append({ ...draft, requestId: "", event: { case: "holdTaken", value: { $typeName: "brevet.v1.HoldTaken" } } });
    return revision;
  });
}

async function main([directory = "", callers = "1", prefix = "req", count = "1000000", ...again]: readonly string[]): Promise<void> {
  await using log = await Log.open({ store: await openEmbeddedStore(directory), newId, fold: { evolve, nextDueMs } });
  say("open", log.position().revision);
  let sent = 0;
  const ids = [...again];
  const next = () => ids.shift() ?? ((sent += 1) <= Number(count) ? `${prefix}-${sent}` : undefined);
  const caller = async () => {
    for (let id = next(); id !== undefined; id = next()) {
      say("sent", id);
      try {
        say("ack", id, await appendOnce(log, id));
      } catch (error) {
        say("failed", id, error instanceof StoreError ? error.code : String(error));
        return;
      }
      if (sent % 50 === 0) {
        const { verifierKey, note } = await log.checkpoint();
        say("checkpoint", verifierKey, Buffer.from(note).toString("base64"));
      }
    }
  };
  await Promise.all(Array.from({ length: Number(callers) }, caller));
}

if (import.meta.main) await main(process.argv.slice(2));
