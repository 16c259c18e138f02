// How each refusal about an elevation is provoked: none yet, not decided, not started, or over.
import type { ReasonName } from "@brevet/protocol";
import { sleep, systemClock } from "@brevet/protocol";
import { ANA, PAT, type Provocation, REFUND, someone, TICKET } from "./rehearsal.ts";

/** By reason. */
export const elevationRefusals = {
  async ELEVATION_REQUIRED(scene) {
    await scene.refusedRefund(someone("sam"));
  },
  async ELEVATION_PENDING(scene) {
    const petra = someone("petra");
    await scene.asks(REFUND, ...TICKET, ...petra);
    await scene.refusedRefund(petra);
  },
  async ELEVATION_SCHEDULED(scene) {
    const sky = someone("sky");
    const inAnHour = new Date(systemClock.wallMs() + 3_600_000).toISOString();
    await scene.approved(REFUND, "--at", inAnHour, ...TICKET, ...sky);
    await scene.refusedRefund(sky);
  },
  async ELEVATION_DENIED(scene) {
    const dora = someone("dora");
    const id = await scene.asks(REFUND, ...TICKET, ...dora);
    await scene.does("deny", id, ...ANA, "--comment", "not without the customer's letter");
    await scene.refusedRefund(dora);
  },
  async ELEVATION_WITHDRAWN(scene) {
    const will = someone("will");
    const id = await scene.asks(REFUND, ...TICKET, ...will);
    await scene.does("withdraw", id, ...will);
    await scene.refusedRefund(will);
  },
  async ELEVATION_LAPSED(scene) {
    const lou = someone("lou", "group:night-shift");
    await scene.asks(REFUND, ...lou);
    await sleep(systemClock, 1000);
    await scene.refusedRefund(lou);
  },
  async ELEVATION_EXPIRED(scene) {
    const eli = someone("eli");
    const id = await scene.approved(REFUND, "--for", "1s", ...TICKET, ...eli);
    await scene.does("start", id, ...eli);
    await sleep(systemClock, 1000);
    await scene.refusedRefund(eli);
  },
  async ELEVATION_ENDED(scene) {
    const emma = someone("emma");
    const id = await scene.approved(REFUND, ...TICKET, ...emma);
    await scene.does("end", id, ...emma);
    await scene.refusedRefund(emma);
  },
  async ELEVATION_REVOKED(scene) {
    const rob = someone("rob", "group:watch");
    const id = await scene.approved("payments.v1.Ledger/Follow", ...rob);
    await scene.does("start", id, ...rob);
    await scene.during(["follow", ...rob], () => scene.does("revoke", id, "--wait", ...PAT, "--comment", "the laptop was stolen"));
  },
  async APPROVAL_WAIT_TIMEOUT(scene) {
    await scene.refusedRefund(someone("tim"), "--authority", scene.places.url, "--wait", "1s", ...TICKET);
  },
} satisfies Partial<Record<ReasonName, Provocation>>;
