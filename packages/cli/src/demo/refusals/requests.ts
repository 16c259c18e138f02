// How each refusal of a request is provoked: what was asked for cannot be had, or not in these words.
import { type ReasonName, systemClock } from "@brevet/protocol";
import { type Provocation, REFUND, someone, TICKET } from "./rehearsal.ts";

const DAY_MS = 86_400_000;
const FOLLOW = "payments.v1.Ledger/Follow";

/** By reason. */
export const requestRefusals = {
  async OUTSIDE_SCHEDULE(scene) {
    await scene.brevet("request", FOLLOW, "--at", sundayNoon(systemClock.wallMs()), ...someone("sam"));
  },
  async QUORUM_UNREACHABLE(scene) {
    await scene.brevet("request", "payments.v1.Ledger/Import", ...someone("lea", "group:leads"));
  },
  async NO_APPROVER(scene) {
    await scene.brevet("request", FOLLOW, "--as", "user:cy@acme.test");
  },
  async DURATION_TOO_LONG(scene) {
    await scene.brevet("request", REFUND, "--for", "2h", ...TICKET, ...someone("sam"));
  },
  async REASON_REQUIRED(scene) {
    await scene.brevet("request", REFUND, ...someone("sam"));
  },
  async REASON_MALFORMED(scene) {
    await scene.brevet("request", REFUND, "--reason", "please", ...someone("sam"));
  },
  async PAYLOAD_REQUIRED(scene) {
    await scene.brevet("request", "payments.v1.Ledger/Migrate", ...someone("dan", "group:dba"));
  },
  async REQUEST_INVALID(scene) {
    await scene.brevet("request", "payments.v1.Ledger/ListEntries", ...someone("sam"));
  },
} satisfies Partial<Record<ReasonName, Provocation>>;

/** The next Sunday that is a day ahead at least, 12:00 UTC: outside the hours of weekdays, whenever it is played. */
function sundayNoon(nowMs: number): string {
  const day = new Date(nowMs + DAY_MS);
  day.setUTCDate(day.getUTCDate() + ((7 - day.getUTCDay()) % 7));
  day.setUTCHours(12, 0, 0, 0);
  return day.toISOString();
}
