// Callers, elevations and calls of the made-up shop, for tests of the evaluator.
import { type Elevation, ElevationSchema, ElevationState, StartMode } from "@brevet/protocol/brevet/v1/elevation";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { CompiledPolicy } from "../compile/compiled.ts";
import type { CallFacts } from "../evaluate/evaluate.ts";
import { loadPolicy } from "../load/load.ts";
import type { PrincipalFacts } from "../principal/principal.ts";
import { SHOP_POLICY, shopBytes, shopDescriptors } from "./shop.ts";

export const REFUND = "shop.v1.Shop/Refund";
export const LOAD = "shop.v1.Shop/Load";
export const BUY = "shop.v1.Shop/Buy";
export const NOW_MS = Date.UTC(2026, 10, 22, 12);
export const MINUTE_MS = 60_000;

/** The shop's policy, with changes to its text. */
export function shopPolicy(...changes: readonly (readonly [string, string])[]): CompiledPolicy {
  const text = changes.reduce((before, [from, to]) => before.replace(from, () => to), SHOP_POLICY);
  const { policy, findings } = loadPolicy(text, { descriptors: shopDescriptors });
  if (policy === undefined) throw new Error(findings.map((each) => each.message).join("; "));
  return policy;
}

export const di: PrincipalFacts = { name: "user:di@acme.test", kind: "user", groups: new Set(["group:support"]), claims: {} };
export const stranger: PrincipalFacts = { name: "user:eve@acme.test", kind: "user", groups: new Set(), claims: {} };
export const smallRefund = shopBytes("Order", { amount_cents: "100" });
export const largeRefund = shopBytes("Order", { amount_cents: "50001" });

/** An ACTIVE elevation of di for refunds, a minute old and fourteen from its end, unless said otherwise. */
export function elevation(init: Exclude<MessageInitShape<typeof ElevationSchema>, Elevation> = {}): Elevation {
  return create(ElevationSchema, {
    id: "elv_1",
    audience: "shop-prod",
    entitlement: "refund-operator",
    state: ElevationState.ACTIVE,
    requester: { name: di.name },
    methods: [REFUND],
    startMode: StartMode.ON_USE,
    duration: durationFromMs(15 * MINUTE_MS),
    windowStart: timestampFromMs(NOW_MS - MINUTE_MS),
    windowEnd: timestampFromMs(NOW_MS + 14 * MINUTE_MS),
    ...init,
  });
}

/** An elevation that ended in a state, some time ago. */
export function over(state: ElevationState, agoMs: number, id = "elv_1"): Elevation {
  return elevation({ id, state, endTime: timestampFromMs(NOW_MS - agoMs), windowEnd: timestampFromMs(NOW_MS - agoMs) });
}

/** A small refund by di, unless said otherwise. */
export function call(facts: Partial<CallFacts> = {}): CallFacts {
  return { method: REFUND, principal: di, candidates: [], request: smallRefund, nowMs: NOW_MS, errorMs: 0, ...facts };
}
