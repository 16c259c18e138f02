// An elevation as a person reads it, and as a program does.

import { formatDuration } from "@brevet/protocol";
import {
  type Elevation,
  ElevationSchema,
  ElevationState,
  ElevationStateSchema,
  type Principal,
  VoteKind,
} from "@brevet/protocol/brevet/v1/elevation";
import { toJson } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { table } from "./output.ts";

/** `PENDING`, `ACTIVE` … */
export function stateName(elevation: Elevation): string {
  return ElevationStateSchema.value[elevation.state]?.localName ?? "UNKNOWN";
}

/** The JSON form of the protobuf API, with the state's bare name beside it. */
export function elevationDocument(elevation: Elevation): Record<string, unknown> {
  return { ...(toJson(ElevationSchema, elevation) as Record<string, unknown>), stateName: stateName(elevation) };
}

/** One line. */
export function elevationLine(elevation: Elevation, nowMs: number): string[] {
  return [
    elevation.id,
    stateName(elevation),
    name(elevation.requester),
    elevation.method,
    elevation.entitlement,
    situation(elevation, nowMs),
  ];
}

/** Many lines, newest first. */
export function elevationTable(elevations: readonly Elevation[], nowMs: number): string {
  return table([["ID", "STATE", "WHO", "METHOD", "ENTITLEMENT", ""], ...elevations.map((elevation) => elevationLine(elevation, nowMs))]);
}

/** All that a person needs to decide, or to know what happened. */
export function elevationText(elevation: Elevation, nowMs: number): string {
  const rows: string[][] = [
    ["elevation", elevation.id],
    ["state", `${stateName(elevation)}${suffix(situation(elevation, nowMs))}`],
    ["who", `${name(elevation.requester)}${elevation.initiator === undefined ? "" : ` for ${name(elevation.initiator)}`}`],
    ["wants", elevation.method],
    ["under", `${elevation.entitlement} of ${elevation.audience}${elevation.breakGlass ? " (break-glass)" : ""}`],
    ["for", elevation.duration === undefined ? "" : formatDuration(durationMs(elevation.duration))],
    ["because", elevation.reason === undefined ? "no reason given" : elevation.reason.text || "(erased)"],
    ["asked", time(elevation.createTime, nowMs)],
  ];
  if (elevation.condition !== undefined) rows.push(["only when", elevation.condition.text || "(erased)"]);
  if (elevation.run !== undefined) rows.push(["in run", elevation.run.text || "(erased)"]);
  if (elevation.payloadDigest !== undefined) rows.push(["request", payloadText(elevation)]);
  if (elevation.methods.length > 1) rows.push(["covers", elevation.methods.join(", ")]);
  elevation.stages.forEach((stage, i) => {
    const approvers = [...stage.approvers, ...stage.escalatedTo].map((approver) => approver.text || "(erased)").join(", ");
    rows.push([elevation.stages.length > 1 ? `stage ${i + 1}` : "approval", `${stage.approved} of ${stage.quorum} by ${approvers}`]);
  });
  for (const vote of elevation.votes) {
    const way = vote.kind === VoteKind.APPROVE ? "approved" : "denied";
    rows.push([
      way,
      `${name(vote.voter)}, ${time(vote.time, nowMs)}${quoted(vote.comment?.text)}${vote.voided ? " (no longer counts)" : ""}`,
    ]);
  }
  if (elevation.windowStart !== undefined) rows.push(["window", `${clock(elevation.windowStart)} to ${clock(elevation.windowEnd)}`]);
  if (elevation.endTime !== undefined) {
    rows.push([
      "over",
      `${time(elevation.endTime, nowMs)}${elevation.endedBy === undefined ? "" : ` by ${name(elevation.endedBy)}`}${quoted(elevation.endComment?.text)}`,
    ]);
  }
  rows.push(["record", `revision ${elevation.revision}, policy version ${elevation.policyVersion}`]);
  return table(rows.filter(([, value]) => value !== ""));
}

/** The one request that an approval covers: its digest, and its bytes as far as they are text. */
function payloadText({ payloadDigest, payload }: Elevation): string {
  const digest = Buffer.from(payloadDigest?.value ?? []).toString("hex");
  const bytes = Buffer.from(payload?.value ?? []);
  const preview = bytes
    .toString("latin1")
    .replace(/[^ -~]+/g, "·")
    .slice(0, 120);
  return `${bytes.length === 0 ? "" : `${bytes.length} bytes “${preview}”, `}SHA-256 ${digest === "" ? "(erased)" : digest}`;
}

/** What is waited for, or how long something lasts. */
export function situation(elevation: Elevation, nowMs: number): string {
  switch (elevation.state) {
    case ElevationState.PENDING:
      return `${waitsFor(elevation)}; lapses in ${until(elevation.pendingUntil, nowMs)}`;
    case ElevationState.SCHEDULED:
      return elevation.startTime === undefined
        ? `approved; its window starts with the first call, at the latest in ${until(elevation.startBy, nowMs)}`
        : `approved; starts in ${until(elevation.startTime, nowMs)}`;
    case ElevationState.ACTIVE:
      return `ends in ${until(elevation.windowEnd, nowMs)}`;
    case ElevationState.LAPSED:
      return elevation.startBy === undefined ? "nobody decided in time" : "nobody used it in time";
    case ElevationState.DENIED:
    case ElevationState.REVOKED:
    case ElevationState.WITHDRAWN:
      return `${elevation.endedBy === undefined ? "" : `by ${name(elevation.endedBy)}`}${quoted(elevation.endComment?.text)}`;
    case ElevationState.EXPIRED:
    case ElevationState.ENDED:
      return elevation.endTime === undefined ? "" : `${formatDuration(nowMs - timestampMs(elevation.endTime))} ago`;
    default:
      return "";
  }
}

/** `1 of 2 approvals, from group:oncall`. */
export function waitsFor(elevation: Elevation): string {
  const stage = elevation.stages[elevation.stage];
  if (stage === undefined) return "waits for its approval";
  const whom = [...stage.approvers, ...stage.escalatedTo]
    .map((approver) => approver.text)
    .filter((text) => text !== "")
    .join(", ");
  return `${stage.approved} of ${stage.quorum} approvals${whom === "" ? "" : `, from ${whom}`}`;
}

function name(principal: Principal | undefined): string {
  if (principal === undefined) return "the authority";
  return principal.name || `${principal.id} (erased)`;
}

function until(at: Timestamp | undefined, nowMs: number): string {
  return at === undefined ? "?" : formatDuration(timestampMs(at) - nowMs);
}

function clock(at: Timestamp | undefined): string {
  return at === undefined ? "?" : new Date(timestampMs(at)).toISOString();
}

function time(at: Timestamp | undefined, nowMs: number): string {
  if (at === undefined) return "";
  const ago = nowMs - timestampMs(at);
  return `${clock(at)}${ago >= 0 ? ` (${formatDuration(ago)} ago)` : ""}`;
}

function quoted(text: string | undefined): string {
  return text === undefined || text === "" ? "" : `: “${text}”`;
}

function suffix(text: string): string {
  return text === "" ? "" : ` (${text})`;
}
