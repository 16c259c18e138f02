// How the rules say no: the reason, and a sentence that names who, what and when. Never encodes: that is the protocol package's.

import { catalogue, type Denial, GrpcCode, type ReasonName } from "@brevet/protocol";
import { type Elevation, ElevationState, ElevationStateSchema } from "@brevet/protocol/brevet/v1/elevation";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";

/** A refusal with its gRPC code: the catalogue's, unless the API says FAILED_PRECONDITION for a state. */
export interface Refusal extends Denial {
  readonly code: number;
}

/** What a refusal carries beside its reason and message. */
export type RefusalDetail = Partial<Omit<Refusal, "reason" | "message">>;

/** Says no. `message` comes without the reason in front. */
export function refuse(reason: ReasonName, message: string, detail: RefusalDetail = {}): { readonly ok: false; readonly denial: Refusal } {
  return {
    ok: false,
    denial: { code: catalogue[reason].code, ...detail, metadata: listed(reason, detail.metadata ?? {}), reason, message },
  };
}

/** The metadata that the catalogue lists for a reason. */
export function listed(reason: ReasonName, metadata: Readonly<Record<string, string>>): Record<string, string> {
  const keys = new Set<string>(catalogue[reason].metadata);
  return Object.fromEntries(Object.entries(metadata).filter(([key]) => keys.has(key)));
}

/** A field that is not as the API demands. */
export function invalid(field: string, description: string): { readonly ok: false; readonly denial: Refusal } {
  return refuse("REQUEST_INVALID", `${field}: ${description}`, { metadata: { field }, fieldViolations: [{ field, description }] });
}

/** Which reason a state that is in the way has, on the authority's own API: FAILED_PRECONDITION. */
export function refuseState(state: Elevation, reason: ReasonName, message: string, detail: RefusalDetail = {}) {
  return refuse(reason, message, { ...detail, code: GrpcCode.FAILED_PRECONDITION, metadata: { ...about(state), ...detail.metadata } });
}

/** What ErrorInfo may say of an elevation, as far as the catalogue lists it for the reason: which it is, and the instant that made or will make its state. */
export function about(state: Elevation): Record<string, string> {
  const instants: Record<string, Timestamp | undefined> = {};
  if (state.state === ElevationState.PENDING) instants["pendingUntil"] = state.pendingUntil;
  if (state.state === ElevationState.SCHEDULED) {
    if (state.startTime) instants["startTime"] = state.startTime;
    else instants["startBy"] = state.startBy;
  }
  if (state.endTime) instants[`${stateName(state.state).toLowerCase()}At`] = state.endTime;
  const times = Object.entries(instants).flatMap(([key, time]) => (time ? [[key, iso(timestampMs(time))] as const] : []));
  return { elevation: state.id, entitlement: state.entitlement, state: stateName(state.state), ...Object.fromEntries(times) };
}

/** `PENDING` … `REVOKED`. */
export function stateName(state: ElevationState): string {
  return ElevationStateSchema.value[state]?.localName ?? "UNKNOWN";
}

/** The state, since when, and by whom: "DENIED by user:bo@acme.test at 2026-01-02T03:04:05Z". */
export function whatBecameOf(state: Elevation, nameOf: (id: string) => string | undefined): string {
  const name = stateName(state.state);
  if (state.endTime) {
    const by = state.endedBy ? ` by ${nameOf(state.endedBy.id) ?? state.endedBy.id}` : "";
    return `${name}${by} at ${iso(timestampMs(state.endTime))}`;
  }
  const voters = state.votes.filter((vote) => !vote.voided).map((vote) => nameOf(vote.voter?.id ?? "") ?? vote.voter?.id ?? "");
  const approved =
    voters.length > 0 ? `, approved by ${[...new Set(voters)].join(", ")}` : state.automatic ? ", approved by the policy" : "";
  if (state.state === ElevationState.ACTIVE && state.windowEnd) return `ACTIVE until ${iso(timestampMs(state.windowEnd))}${approved}`;
  return `${name}${approved}`;
}

/** RFC 3339 in UTC, whole seconds unless there are milliseconds. */
export function iso(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}

/** A span as people write it in policies: "15m", "1h30m", "45s". */
export function span(ms: number): string {
  const whole = Math.max(0, Math.round(ms / 1000));
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const text = `${hours > 0 ? `${hours}h` : ""}${minutes > 0 ? `${minutes}m` : ""}${seconds > 0 ? `${seconds}s` : ""}`;
  return text === "" ? "0s" : text;
}
