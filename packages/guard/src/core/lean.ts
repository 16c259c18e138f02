// Elevations as a guard keeps them: what decides, and nothing else, with equal parts held once.
// Never judges one.

import { type Elevation, ElevationSchema, type Principal, PrincipalSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";

const NO_BYTES = new Uint8Array(0);

/** Parts that many elevations have in common: method lists, texts, principals. */
export class Shared {
  readonly #texts = new Map<string, string>();
  readonly #methods = new Map<string, string[]>();
  readonly #principals = new Map<string, WeakRef<Principal>>();

  text(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    this.#texts.set(text, text);
    return text;
  }

  methods(methods: readonly string[]): string[] {
    const key = methods.join("\n");
    const known = this.#methods.get(key) ?? methods.map((method) => this.text(method));
    this.#methods.set(key, known);
    return known;
  }

  principal(principal: Principal): Principal {
    const known = this.#principals.get(principal.name)?.deref();
    if (known !== undefined) return known;
    const lean = create(PrincipalSchema, { name: principal.name, kind: principal.kind });
    this.#principals.set(lean.name, new WeakRef(lean));
    return lean;
  }
}

const NOTHING = create(ElevationSchema);
const NO_STAGES = NOTHING.stages;
const NO_VOTES = NOTHING.votes;

/** The parts of an elevation that a decision reads. Lists and bytes that are empty are one and the same object: not to be changed. */
export function leanElevation(from: Elevation, shared: Shared): Elevation {
  const lean: Elevation = {
    $typeName: NOTHING.$typeName,
    id: from.id,
    audience: shared.text(from.audience),
    entitlement: shared.text(from.entitlement),
    state: from.state,
    method: shared.text(from.method),
    methods: shared.methods(from.methods),
    condition: shared.text(from.condition),
    startMode: from.startMode,
    stages: NO_STAGES,
    stage: 0,
    votes: NO_VOTES,
    automatic: from.automatic,
    breakGlass: from.breakGlass,
    payloadDigest: from.payloadDigest.length === 0 ? NO_BYTES : from.payloadDigest,
    keyThumbprint: from.keyThumbprint.length === 0 ? NO_BYTES : from.keyThumbprint,
    run: "",
    holds: 0,
    policyVersion: from.policyVersion,
    revision: from.revision,
    presentation: from.presentation,
    streamExpiry: from.streamExpiry,
    mayDecide: false,
  };
  if (from.requester) lean.requester = shared.principal(from.requester);
  if (from.startTime) lean.startTime = from.startTime;
  if (from.pendingUntil) lean.pendingUntil = from.pendingUntil;
  if (from.startBy) lean.startBy = from.startBy;
  if (from.windowStart) lean.windowStart = from.windowStart;
  if (from.windowEnd) lean.windowEnd = from.windowEnd;
  if (from.endTime) lean.endTime = from.endTime;
  if (from.payloadUseTime) lean.payloadUseTime = from.payloadUseTime;
  if (from.drain) lean.drain = from.drain;
  if (from.duration) lean.duration = from.duration;
  return lean;
}
