// How refusals of who calls and with what are provoked, and the one of an authority that is away.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ReasonName } from "@brevet/protocol";
import { PAT, type Provocation, someone, TICKET } from "./rehearsal.ts";

const MIGRATE = "payments.v1.Ledger/Migrate";
/** Nothing listens there. */
const NOWHERE = "http://127.0.0.1:1";

/** By reason. */
export const credentialRefusals = {
  async IDENTITY_MISSING(scene) {
    await scene.refusedRefund([]);
  },
  async IDENTITY_MALFORMED(scene) {
    await scene.refusedRefund(["--identity-token", "not-a-token"]);
  },
  async IDENTITY_AUDIENCE_MISMATCH(scene) {
    const file = await scene.token("brevet", ...someone("sam"));
    await scene.refusedRefund(["--identity-file", file]);
  },
  async GRANT_PAYLOAD_MISMATCH(scene) {
    const dan = someone("dan", "group:dba");
    const file = join(scene.places.data, "to-chained.bin");
    // MigrateRequest { target_format: "chained" } in wire form.
    await writeFile(file, Buffer.from("\n\u0007chained"));
    const id = await scene.approved(MIGRATE, "--payload", file, ...TICKET, ...dan);
    await scene.does("approve", id, ...PAT);
    await scene.refused("migrate", "--to", "plain", ...dan);
  },
  async AUTHORITY_UNREACHABLE(scene) {
    const file = await scene.token("payments-prod", ...someone("una"));
    await scene.refusedRefund(["--identity-file", file], "--authority", NOWHERE, "--wait", "1s", ...TICKET);
  },
} satisfies Partial<Record<ReasonName, Provocation>>;
