// How each refusal of a vote is provoked, and of what else is done to an elevation that is not the caller's.
import type { ReasonName } from "@brevet/protocol";
import { ANA, BO, KIM, PAT, type Provocation, REFUND, someone, TICKET } from "./rehearsal.ts";

const IMPORT = "payments.v1.Ledger/Import";
const LEA = ["--as", "user:lea@acme.test"];

/** By reason. */
export const voteRefusals = {
  async NOT_AN_APPROVER(scene) {
    const id = await scene.asks(REFUND, ...TICKET, ...someone("nick"));
    await scene.brevet("approve", id, ...PAT);
  },
  async SELF_APPROVAL(scene) {
    const bo = someone("bo");
    const id = await scene.asks(REFUND, ...TICKET, ...bo);
    await scene.brevet("approve", id, ...bo);
  },
  async ROLE_REQUIRED(scene) {
    const id = await scene.asks(REFUND, ...TICKET, ...someone("rita"));
    await scene.brevet("revoke", id, ...KIM);
  },
  async ALREADY_VOTED(scene) {
    const id = await scene.asks(IMPORT, ...someone("fay", "group:finance"));
    await scene.does("approve", id, ...ANA);
    await scene.brevet("approve", id, ...ANA);
  },
  async ALREADY_DECIDED(scene) {
    const id = await scene.asks(REFUND, ...TICKET, ...someone("adam"));
    await scene.does("deny", id, ...ANA, "--comment", "not this customer");
    await scene.brevet("approve", id, ...BO);
  },
  async REVISION_CHANGED(scene) {
    const id = await scene.asks(IMPORT, ...someone("gus", "group:finance"));
    const shown = await scene.does("show", id, ...LEA);
    const revision = /revision (\d+)/.exec(shown.stdout)?.[1] ?? "0";
    await scene.does("approve", id, "--for", "5m", ...ANA);
    await scene.brevet("approve", id, "--seen", revision, ...LEA);
  },
  async NOT_FOUND(scene) {
    const id = await scene.asks(REFUND, ...TICKET, ...someone("nora"));
    await scene.brevet("show", id, ...someone("sam"));
  },
} satisfies Partial<Record<ReasonName, Provocation>>;
