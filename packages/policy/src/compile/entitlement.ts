// One entitlement of the document with its defaults filled in.
// Never fails on a document that passed its check; on another the caller has the findings already.
import type { DescMessage } from "@bufbuild/protobuf";
import { type Condition, compileCondition } from "../condition/condition.ts";
import { type Descriptors, requestTypeOf } from "../descriptors/descriptors.ts";
import type { EntitlementDocument, ScheduleDocument, StageDocument } from "../document/document.ts";
import { durationMs } from "../document/duration.ts";
import { minuteOfDay, type Schedule } from "../schedule/schedule.ts";
import type { Entitlement, StageRule } from "./compiled.ts";
import { elevatedBy, type Methods } from "./methods.ts";

const DEFAULT_WINDOW_MS = 15 * 60_000;
const DEFAULT_MAX_MS = 60 * 60_000;
/** How long an elevation waits for votes where its entitlement does not say. */
export const DEFAULT_PENDING_MS = 60 * 60_000;
const DEFAULT_START_WITHIN_MS = 60 * 60_000;
const DEFAULT_REVIEW_MS = 24 * 60 * 60_000;
const DEFAULT_COOLDOWN_MS = 5 * 60_000;
const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/** The request types of an entitlement's methods, as far as descriptors know them. */
export function requestTypes(methods: readonly string[], descriptors: Descriptors | undefined): ReadonlyMap<string, DescMessage> {
  const types = new Map<string, DescMessage>();
  for (const method of methods) {
    const type = requestTypeOf(descriptors, method);
    if (type !== undefined) types.set(method, type);
  }
  return types;
}

/** How long one gets without saying, and at most; `default` is never beyond `max`. */
export function windowOf(duration: EntitlementDocument["duration"]): { readonly defaultMs: number; readonly maxMs: number } {
  const said = ms(duration?.default);
  const maxMs = ms(duration?.max) ?? Math.max(DEFAULT_MAX_MS, said ?? 0);
  return { maxMs, defaultMs: said ?? Math.min(DEFAULT_WINDOW_MS, maxMs) };
}

/** Fills in an entitlement. */
export function entitlementOf(id: string, entry: EntitlementDocument, methods: Methods, descriptors: Descriptors | undefined): Entitlement {
  const covered = [...new Set(entry.methods.flatMap((pattern) => elevatedBy(pattern, methods)))].toSorted();
  const types = requestTypes(covered, descriptors);
  const compiled = (source: string | undefined): Condition | undefined => {
    if (source === undefined) return undefined;
    const result = compileCondition(source, { requestTypes: types, ...(descriptors && { enumNamed: descriptors.enumNamed }) });
    return result.ok ? result.condition : undefined;
  };
  const { defaultMs, maxMs } = windowOf(entry.duration);
  const condition = compiled(entry.condition);
  const automatic = compiled(entry.approval?.automatic);
  return {
    id,
    description: entry.description ?? "",
    methods: covered,
    covers: new Set(covered),
    requesters: entry.requesters,
    conditionSource: entry.condition ?? "",
    present: entry.present ?? "any",
    defaultMs,
    maxMs,
    pendingMs: ms(entry.pending) ?? DEFAULT_PENDING_MS,
    startWithinMs: ms(entry.startWithin) ?? DEFAULT_START_WITHIN_MS,
    extend: extendOf(entry, maxMs),
    reason: {
      required: entry.reason?.required ?? entry.reason?.pattern !== undefined,
      ...(entry.reason?.pattern !== undefined && { pattern: entry.reason.pattern }),
    },
    stages: entry.breakGlass === undefined ? (entry.approval?.stages ?? []).map(stageOf) : [],
    streams: {
      onExpiry: entry.streams?.onExpiry ?? "terminate",
      forMs: entry.streams?.onExpiry === "drain" ? (ms(entry.streams.for) ?? 30_000) : 0,
    },
    bindPayload: covered.some((method) => methods.rule(method).bindPayload),
    delegates: entry.delegates ?? [],
    cooldownMs: ms(entry.cooldown) ?? DEFAULT_COOLDOWN_MS,
    ...(condition && { condition }),
    ...(automatic && { automatic }),
    ...(entry.schedule && { schedule: scheduleOf(entry.schedule) }),
    ...(entry.breakGlass && {
      breakGlass: { notify: entry.breakGlass.notify, reviewWithinMs: ms(entry.breakGlass.reviewWithin) ?? DEFAULT_REVIEW_MS },
    }),
  };
}

/** Break-glass is never extended; without `extend`, nothing is. */
function extendOf(entry: EntitlementDocument, maxMs: number): Entitlement["extend"] {
  if (entry.breakGlass !== undefined || entry.extend === undefined) return { maxMs, approval: "never" };
  return { maxMs: ms(entry.extend.max) ?? maxMs, approval: entry.extend.approval ?? "same" };
}

function stageOf(stage: StageDocument): StageRule {
  const escalate = stage.escalate && { afterMs: ms(stage.escalate.after) ?? 0, to: stage.escalate.to };
  return { approvers: stage.approvers, quorum: stage.quorum ?? 1, ...(escalate && { escalate }) };
}

/** A schedule as minutes; texts that are none count as midnight. */
export function scheduleOf(schedule: ScheduleDocument): Schedule {
  return {
    days: new Set(schedule.days.map((day) => DAYS.indexOf(day))),
    fromMinute: minuteOfDay(schedule.from) ?? 0,
    toMinute: minuteOfDay(schedule.to) ?? 0,
    timezone: schedule.timezone,
  };
}

function ms(text: string | undefined): number | undefined {
  return text === undefined ? undefined : durationMs(text);
}

/** Votes that it takes: distinct people over all stages. */
export function approvalsOf(entitlement: Entitlement): number {
  return entitlement.stages.reduce((sum, stage) => sum + stage.quorum, 0);
}
