// What the authority is asked for on behalf of a refused call: the entitlement, the reason, the caller's half of the refusal, and the request itself
// where an approval covers one exact request. Asks nobody.
import { createHash } from "node:crypto";
import type { ReceivedStatus } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import type { EntitlementOffer } from "@brevet/protocol/brevet/v1/error";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Metadata, StatusObject } from "@grpc/grpc-js";
import type { Ask } from "../client.ts";
import { reportOf } from "./half.ts";
import { atOnce } from "./hooks.ts";
import type { Settings } from "./options.ts";
import { type ParkedCall, payloadTooLong, reasonMissing } from "./refusal.ts";
import { chooseEntitlement } from "./remedy.ts";

/** The call that is asked for. */
export interface AskedCall extends ParkedCall {
  readonly refused: ReceivedStatus;
  /** Its metadata as it was sent. */
  readonly sent: Metadata;
  /** From its start to its deadline; undefined: none. */
  readonly deadlineMs: number | undefined;
  /** Its one message as it goes over the wire; undefined for a call that streams its messages. */
  readonly request: (() => Uint8Array | undefined) | undefined;
}

/** What to ask for, or how the call ends without. */
export type Asking =
  | { readonly kind: "ask"; readonly ask: Ask }
  | { readonly kind: "end"; readonly status: StatusObject }
  | { readonly kind: "pass" };

/** The authority takes no more, so that approvers can read it. */
export const MAX_PAYLOAD_BYTES = 64 * 1024;

/** Calls the program's `choose` and `reason`. Throws what they throw. */
export function askFor(call: AskedCall, settings: Settings): Asking {
  const { method, audience, refused } = call;
  const offers = refused.offer?.entitlements ?? [];
  let entitlement: EntitlementOffer | undefined;
  let name = "";
  if (settings.choose !== undefined && offers.length > 0) {
    const chosen = atOnce("choose", settings.choose(offers));
    if (chosen === undefined) return { kind: "pass" };
    name = chosen;
    entitlement = offers.find((offer) => offer.entitlement === chosen);
  } else {
    const choice = chooseEntitlement(offers);
    if (!choice.ask) return { kind: "pass" };
    entitlement = choice.entitlement;
    name = entitlement?.entitlement ?? "";
  }
  const reason = atOnce("reason", settings.reason({ method, audience, entitlement }));
  if (entitlement?.reasonRequired && reason === "") return { kind: "end", status: reasonMissing(call, entitlement) };
  const { durationMs, clock } = settings;
  const ask: Ask = {
    audience,
    method,
    entitlement: name,
    reason,
    breakGlass: entitlement?.breakGlass ?? false,
    ...(durationMs === undefined ? {} : { duration: durationFromMs(durationMs) }),
    report: reportOf({ ...call, nowMs: clock.wallMs() }),
  };
  return entitlement?.payloadBound === true ? withPayload(call, ask) : { kind: "ask", ask };
}

/** The same question about this very request; as it is, where the call has none. */
export function withPayload(call: ParkedCall & Pick<AskedCall, "request">, ask: Ask): Asking {
  const payload = call.request?.();
  if (payload === undefined) return { kind: "ask", ask };
  if (payload.length > MAX_PAYLOAD_BYTES) return { kind: "end", status: payloadTooLong(call, payload.length, MAX_PAYLOAD_BYTES) };
  return { kind: "ask", ask: { ...ask, payload, payloadDigest: digestOf(payload) } };
}

/** Whether an approval of this elevation can be for this request: it is for any, or for exactly this one and not used. */
export function coversRequest({ payloadDigest, payloadUseTime }: Elevation, call: Pick<AskedCall, "request">): boolean {
  if (payloadDigest === undefined) return true;
  const request = call.request?.();
  return request !== undefined && payloadUseTime === undefined && Buffer.compare(payloadDigest.value, digestOf(request)) === 0;
}

function digestOf(payload: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(payload).digest());
}
