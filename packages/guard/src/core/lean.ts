// Elevations as a guard keeps them: what decides, and nothing else, with equal parts held once.
// Never judges one.

import {
  type Elevation,
  ElevationSchema,
  ElevationState,
  type PersonalText,
  PersonalTextSchema,
  type Principal,
  PrincipalSchema,
  StreamExpiry,
} from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";

const NO_BYTES = new Uint8Array(0);

/** Parts that many elevations have in common: texts, conditions, durations and lists of methods. */
export class Shared {
  readonly #texts = new Map<string, string>();
  readonly #methods = new Map<string, string[]>();
  readonly #durations = new Map<bigint, Duration>();
  readonly #conditions = new Map<string, PersonalText>();

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

  duration(duration: Duration): Duration {
    const key = duration.seconds * 1_000_000_000n + BigInt(duration.nanos);
    const known = this.#durations.get(key) ?? duration;
    this.#durations.set(key, known);
    return known;
  }

  condition({ text }: PersonalText): PersonalText {
    const known = this.#conditions.get(text) ?? create(PersonalTextSchema, { text });
    this.#conditions.set(text, known);
    return known;
  }
}

const NOTHING = create(ElevationSchema);
const NO_STAGES = NOTHING.stages;
const NO_VOTES = NOTHING.votes;

/** The parts of an elevation that a decision reads. Lists and bytes that are empty are one and the same object: not to be changed. */
export function leanElevation(from: Elevation, shared: Shared, requester: Principal | undefined): Elevation {
  const lean: Elevation = {
    $typeName: NOTHING.$typeName,
    id: from.id,
    audience: shared.text(from.audience),
    entitlement: shared.text(from.entitlement),
    state: from.state,
    method: shared.text(from.method),
    methods: shared.methods(from.methods),
    startMode: from.startMode,
    stages: NO_STAGES,
    stage: 0,
    votes: NO_VOTES,
    automatic: from.automatic,
    breakGlass: from.breakGlass,
    keyThumbprint: from.keyThumbprint.length === 0 ? NO_BYTES : from.keyThumbprint,
    holds: 0,
    policyVersion: 0n,
    revision: from.revision,
    presentation: from.presentation,
    streamExpiry: from.streamExpiry,
    mayDecide: false,
    notified: NOTHING.notified,
  };
  if (from.condition) lean.condition = shared.condition(from.condition);
  const drains = from.streamExpiry === StreamExpiry.DRAIN;
  if (drains && from.drain) lean.drain = shared.duration(from.drain);
  if (from.payloadDigest) lean.payloadDigest = from.payloadDigest;
  if (from.requester) lean.requester = requester ?? create(PrincipalSchema, { name: from.requester.name, kind: from.requester.kind });
  // Of the three clocks only the one that is running.
  if (from.state === ElevationState.PENDING) copyTimes(lean, from, ["pendingUntil"]);
  else if (from.state === ElevationState.SCHEDULED) copyTimes(lean, from, ["startTime", "startBy"]);
  else if (from.state === ElevationState.ACTIVE) copyTimes(lean, from, ["windowStart", "windowEnd"]);
  else copyTimes(lean, from, from.endTime === undefined ? ["windowEnd"] : ["endTime"]);
  // Its streams may still go on, counted from the end of the window.
  if (drains && from.state === ElevationState.EXPIRED) copyTimes(lean, from, ["windowEnd"]);
  copyTimes(lean, from, ["payloadUseTime"]);
  return lean;
}

type Times = "pendingUntil" | "startTime" | "startBy" | "windowStart" | "windowEnd" | "endTime" | "payloadUseTime";

function copyTimes(to: Elevation, from: Elevation, names: readonly Times[]): void {
  for (const name of names) {
    const time = from[name];
    if (time !== undefined) to[name] = time;
  }
}
