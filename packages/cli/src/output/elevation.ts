// An elevation as a person reads it, and as a program does.

import { formatDuration } from "@brevet/protocol";
import {
  type Elevation,
  ElevationSchema,
  ElevationState,
  ElevationStateSchema,
  type PersonalText,
  type Principal,
  type Stage,
  type Vote,
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
    ["starts", elevation.startTime === undefined || elevation.windowStart !== undefined ? "" : clock(elevation.startTime)],
  ];
  if (elevation.condition !== undefined) rows.push(["only when", elevation.condition.text || "(erased)"]);
  if (elevation.run !== undefined) rows.push(["in run", elevation.run.text || "(erased)"]);
  if (elevation.payloadDigest !== undefined) rows.push(["request", payloadText(elevation)]);
  if (elevation.methods.length > 1) rows.push(["covers", elevation.methods.join(", ")]);
  if (elevation.notified.length > 0) rows.push(["told", names(elevation.notified)]);
  if (elevation.extensionEnd !== undefined) rows.push(["extension", `to ${clock(elevation.extensionEnd)}, when it is approved:`]);
  elevation.stages.forEach((stage, i) => {
    rows.push([elevation.stages.length > 1 ? `stage ${i + 1}` : "approval", stageText(stage, nowMs)]);
  });
  for (const vote of elevation.votes) {
    const way = vote.kind === VoteKind.APPROVE ? "approved" : "denied";
    rows.push([
      way,
      `${name(vote.voter)}, ${time(vote.time, nowMs)}${voteText(vote)}${quoted(vote.comment?.text)}${vote.voided ? " (no longer counts)" : ""}`,
    ]);
  }
  if (elevation.windowStart !== undefined) rows.push(["window", `${clock(elevation.windowStart)} to ${clock(elevation.windowEnd)}`]);
  if (elevation.endTime !== undefined) {
    rows.push([
      "over",
      `${time(elevation.endTime, nowMs)}${elevation.endedBy === undefined ? "" : ` by ${name(elevation.endedBy)}`}${quoted(elevation.endComment?.text)}`,
    ]);
  }
  if (elevation.reviewBy !== undefined) rows.push(["review", reviewText(elevation, nowMs)]);
  if (elevation.holds > 1 && elevation.state <= ElevationState.ACTIVE)
    rows.push(["held", `by ${elevation.holds} callers; each end lets one go, the last one ends it`]);
  rows.push(["record", `revision ${elevation.revision}, policy version ${elevation.policyVersion}`]);
  return table(rows.filter(([, value]) => value !== ""));
}

/** How far one stage is, and who else is or will be asked. */
function stageText({ approved, quorum, approvers, escalatedTo, escalateTime }: Stage, nowMs: number): string {
  const also = escalatedTo.length > 0 ? `; nobody answered in time, so ${names(escalatedTo)} too` : "";
  const later = escalateTime === undefined ? "" : `; others are asked in ${until(escalateTime, nowMs)}`;
  return `${approved} of ${quorum} by ${names(approvers)}${also}${later}`;
}

function voteText({ extension, narrowedDuration }: Vote): string {
  const narrowed = narrowedDuration === undefined ? "" : `, for ${formatDuration(durationMs(narrowedDuration))}`;
  return `${narrowed}${extension ? ", the extension" : ""}`;
}

/** Until when a break-glass use has to be reviewed, or who did it and what was found. */
function reviewText({ reviewBy, reviewTime, reviewedBy, reviewComment }: Elevation, nowMs: number): string {
  if (reviewTime !== undefined) return `${name(reviewedBy)}, ${time(reviewTime, nowMs)}${quoted(reviewComment?.text)}`;
  return isPast(reviewBy, nowMs) ? `OVERDUE since ${time(reviewBy, nowMs)}` : `due by ${clock(reviewBy)} (in ${until(reviewBy, nowMs)})`;
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
  const text = stands(elevation, nowMs);
  const { breakGlass, reviewBy, reviewTime } = elevation;
  if (!breakGlass || reviewBy === undefined || reviewTime !== undefined) return text;
  const due = isPast(reviewBy, nowMs) ? `its review is OVERDUE since ${clock(reviewBy)}` : `to be reviewed in ${until(reviewBy, nowMs)}`;
  return text === "" ? due : `${text}; ${due}`;
}

function stands(elevation: Elevation, nowMs: number): string {
  switch (elevation.state) {
    case ElevationState.PENDING: {
      const starts = elevation.startTime === undefined ? "" : `; to start at ${clock(elevation.startTime)}`;
      return `${waitsFor(elevation)}${others(elevation, nowMs)}; lapses in ${until(elevation.pendingUntil, nowMs)}${starts}`;
    }
    case ElevationState.SCHEDULED:
      return elevation.startTime === undefined
        ? `approved; its window starts with the first call, at the latest in ${until(elevation.startBy, nowMs)}`
        : `approved; starts in ${until(elevation.startTime, nowMs)}`;
    case ElevationState.ACTIVE:
      if (elevation.extensionEnd === undefined) return `ends in ${until(elevation.windowEnd, nowMs)}`;
      return `ends in ${until(elevation.windowEnd, nowMs)}; to go on until ${clock(elevation.extensionEnd)} it has ${waitsFor(elevation)}${others(elevation, nowMs)}`;
    case ElevationState.LAPSED:
      if (elevation.startBy === undefined) return "nobody decided in time";
      return elevation.startTime === undefined ? "nobody used it in time" : "its time came outside the schedule";
    case ElevationState.DENIED:
    case ElevationState.REVOKED:
    case ElevationState.WITHDRAWN:
      return `${elevation.endedBy === undefined ? "" : `by ${name(elevation.endedBy)}`}${quoted(elevation.endComment?.text)}`;
    case ElevationState.EXPIRED:
    case ElevationState.ENDED:
      return elevation.endTime === undefined ? "" : ago(elevation.endTime, nowMs);
    default:
      return "";
  }
}

/** `1 of 2 approvals, from group:oncall`. */
export function waitsFor(elevation: Elevation): string {
  const stage = elevation.stages[elevation.stage];
  if (stage === undefined) return "all approvals are there";
  return `${stage.approved} of ${stage.quorum} approvals, from ${names([...stage.approvers, ...stage.escalatedTo])}`;
}

/** That the open stage will be put to others too. */
function others({ stages, stage }: Elevation, nowMs: number): string {
  const at = stages[stage]?.escalateTime;
  return at === undefined ? "" : `; others are asked in ${until(at, nowMs)}`;
}

/** Who, as far as it is kept. */
export function names(texts: readonly PersonalText[]): string {
  return texts.map(({ text }) => text || "(erased)").join(", ");
}

function name(principal: Principal | undefined): string {
  if (principal === undefined) return "the authority";
  return principal.name || `${principal.id} (erased)`;
}

function until(at: Timestamp | undefined, nowMs: number): string {
  return at === undefined ? "?" : formatDuration(Math.max(0, timestampMs(at) - nowMs));
}

function isPast(at: Timestamp | undefined, nowMs: number): boolean {
  return at !== undefined && timestampMs(at) <= nowMs;
}

function ago(at: Timestamp, nowMs: number): string {
  const passedMs = nowMs - timestampMs(at);
  return passedMs < 1000 ? "just now" : `${formatDuration(passedMs)} ago`;
}

/** RFC 3339. */
export function clock(at: Timestamp | undefined): string {
  return at === undefined ? "?" : new Date(timestampMs(at)).toISOString();
}

function time(at: Timestamp | undefined, nowMs: number): string {
  if (at === undefined) return "";
  return `${clock(at)}${isPast(at, nowMs) ? ` (${ago(at, nowMs)})` : ""}`;
}

function quoted(text: string | undefined): string {
  return text === undefined || text === "" ? "" : `: “${text}”`;
}

function suffix(text: string): string {
  return text === "" ? "" : ` (${text})`;
}
