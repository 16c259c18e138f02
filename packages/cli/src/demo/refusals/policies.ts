// How each refusal that lies in the policy is provoked, and a document that does not pass its check.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ReasonName } from "@brevet/protocol";
import { type Provocation, REFUND, someone, TICKET } from "./rehearsal.ts";

/** By reason. */
export const policyRefusals = {
  async NOT_ELIGIBLE(scene) {
    await scene.refusedRefund(["--as", "user:zoe@acme.test"]);
  },
  async METHOD_FORBIDDEN(scene) {
    const file = join(scene.places.data, "statement.csv");
    await writeFile(file, "id,amount_cents\nent_1,129900\n");
    await scene.refused("reconcile", file, ...someone("sam"));
  },
  async CONDITION_NOT_MET(scene) {
    const carl = someone("carl");
    await scene.approved(REFUND, ...TICKET, ...carl);
    await scene.refused("refund", "--charge", scene.places.charge, "--amount", "60000", "--currency", "EUR", ...carl);
  },
  async POLICY_MISCONFIGURED(scene) {
    const milo = someone("milo", "group:trainees");
    await scene.approved(REFUND, ...milo);
    await scene.refused("refund", "--charge", scene.places.charge, "--amount", "0", "--currency", "EUR", ...milo);
  },
  async POLICY_INVALID(scene) {
    const { data } = scene.places;
    const file = join(data, "broken.yaml");
    await writeFile(file, "apiVersion: brevet.dev/v1\naudience: payments-prod\nservices: { payments.v1.Ledger: { default: sometimes } }\n");
    const where = ["--data", join(data, "another"), "--listen", "127.0.0.1:0", "--admin-listen", "off"];
    await scene.brevet("serve", "--dev", "--policy", file, ...where);
  },
} satisfies Partial<Record<ReasonName, Provocation>>;
