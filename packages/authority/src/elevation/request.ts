// Asking: what may be asked for, whether it can be approved at all, and whether the same question is open already.
// Never takes a vote. What is frozen here stays, whatever the policy becomes; the policy can only narrow it.

import { type CompiledPolicy, type Entitlement, patternMatches } from "@brevet/policy";
import { GrpcCode, isMethodName, type PublicJwk, thumbprint } from "@brevet/protocol";
import {
  type Elevation,
  type ElevationServiceRequestRequest,
  Presentation,
  StartMode,
  StreamExpiry,
} from "@brevet/protocol/brevet/v1/elevation";
import {
  ElevationApprovedSchema,
  type ElevationRequested,
  ElevationRequestedSchema,
  HoldTakenSchema,
  StageOpenedSchema,
  StartCause,
} from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Event } from "../log/draft.ts";
import { askedOver, nobodyOf, reach } from "./approvers.ts";
import { chooseEntitlement } from "./choose.ts";
import { isFinal } from "./evolve.ts";
import { tooManyHolds, tooManyOpen } from "./quota.ts";
import { invalid, iso, refuse, span } from "./refusal.ts";
import type { Actor, Background, Context, Question, Verdict } from "./rule.ts";
import { outsideSchedule } from "./schedule.ts";
import { settle } from "./settle.ts";
import { started } from "./start.ts";
import { type Checked, instantMs, payloadDigest, runName, sameBytes, spanMs, text } from "./terms.ts";
import { startsWithApproval } from "./vote.ts";

const PRESENTATION = { any: Presentation.ANY, grant: Presentation.GRANT, bound: Presentation.BOUND } as const;
const STREAM_EXPIRY = { terminate: StreamExpiry.TERMINATE, drain: StreamExpiry.DRAIN } as const;

/** What was asked for, checked against the policy. */
interface Terms {
  readonly entitlement: Entitlement;
  readonly durationMs: number;
  readonly startMs: number | undefined;
  readonly payloadDigest: Uint8Array;
  readonly keyThumbprint: Uint8Array;
}

/** Opens an elevation, or finds the one that the same question opened. */
export function request(message: ElevationServiceRequestRequest, background: Background, context: Context): Verdict {
  const { policy, actor } = context;
  if (message.audience === "") return invalid("audience", "say which deployment it is for");
  if (!isMethodName(message.method)) return invalid("method", "must be package.Service/Method, at most 200 bytes");
  if (policy === undefined || actor === undefined) {
    return refuse("NOT_ELIGIBLE", `you may not ask for anything in audience ${message.audience}`, {
      metadata: { audience: message.audience },
    });
  }
  const chosen = chooseEntitlement(message, policy, actor.facts);
  if (!chosen.ok) return chosen;
  const terms = checkTerms(message, chosen.value, policy, context.nowMs);
  if (!terms.ok) return terms;
  const same = background.open.find((question) => isSameQuestion(message, terms.value, background, question, context));
  const held = same && tooManyHolds(message, same.state);
  if (held) return held;
  if (same) return { ok: true, events: [{ case: "holdTaken", value: create(HoldTakenSchema) }], found: same.state };
  const barred = barredNow(message, terms.value, background, context);
  if (barred) return barred;
  return open(message, terms.value, background, { ...context, policy, actor });
}

function open(
  message: ElevationServiceRequestRequest,
  terms: Terms,
  background: Background,
  context: Context & { readonly policy: CompiledPolicy; readonly actor: Actor },
): Verdict {
  const { entitlement } = terms;
  const { policy, actor, nowMs, seal } = context;
  const breakGlass = entitlement.breakGlass;
  const given = message.payload.length > 0 ? { request: message.payload } : {};
  // An automatic rule that fails approves nothing: people decide.
  const automatic = breakGlass === undefined && entitlement.automatic?.evaluate({ ...given, principal: actor.facts }) === "true";
  if (!automatic && !breakGlass) {
    const reachable = reach(policy, entitlement, askedOver(entitlement), nobodyOf(actor.facts));
    if (!reachable.ok)
      return refuse(reachable.reason, reachable.message, { metadata: { entitlement: entitlement.id, method: message.method } });
  }
  const asked = create(ElevationRequestedSchema, {
    entitlement: entitlement.id,
    requester: actor.id,
    initiator: background.initiator,
    method: message.method,
    // An approval of one exact request opens no other method.
    methods: terms.payloadDigest.length > 0 ? [message.method] : [...entitlement.methods],
    duration: durationFromMs(terms.durationMs),
    startMode: terms.startMs === undefined ? StartMode.ON_USE : StartMode.AT_TIME,
    pending: durationFromMs(entitlement.pendingMs),
    startWithin: durationFromMs(entitlement.startWithinMs),
    stages: breakGlass
      ? []
      : entitlement.stages.map(({ quorum, approvers, escalate }) =>
          create(StageOpenedSchema, {
            quorum,
            approvers: approvers.map((approver) => seal(approver)),
            ...(escalate && { escalateAfter: durationFromMs(escalate.afterMs) }),
          }),
        ),
    automatic,
    breakGlass: breakGlass !== undefined,
    keyThumbprint: terms.keyThumbprint,
    policyVersion: context.policyVersion,
    presentation: PRESENTATION[entitlement.present],
    streamExpiry: STREAM_EXPIRY[entitlement.streams.onExpiry],
  });
  if (message.reason !== "") asked.reason = seal(message.reason);
  if (entitlement.conditionSource !== "") asked.condition = seal(entitlement.conditionSource);
  if (message.run !== "") asked.run = seal(message.run);
  if (terms.startMs !== undefined) asked.startTime = timestampFromMs(terms.startMs);
  if (breakGlass) {
    asked.reviewWithin = durationFromMs(breakGlass.reviewWithinMs);
    asked.notified = breakGlass.notify.map((each) => seal(each));
  }
  if (terms.payloadDigest.length > 0) {
    asked.payloadDigest = seal(terms.payloadDigest);
    asked.payload = seal(message.payload);
  }
  if (entitlement.streams.onExpiry === "drain") asked.drain = durationFromMs(entitlement.streams.forMs);
  if (!breakGlass && entitlement.extend.approval !== "never") asked.extendMax = durationFromMs(entitlement.extend.maxMs);
  const events: Event[] = [{ case: "elevationRequested", value: asked }];
  if (breakGlass) events.push(started(StartCause.BREAK_GLASS, nowMs, terms.durationMs, entitlement));
  if (automatic) {
    events.push({ case: "elevationApproved", value: create(ElevationApprovedSchema, { automatic: true }) });
    events.push(
      ...startsWithApproval(asked.startTime, terms.durationMs, {
        nowMs,
        callerWaiting: message.waiting || context.callerWaiting,
        entitlement,
      }),
    );
  }
  return { ok: true, events };
}

function checkTerms(
  message: ElevationServiceRequestRequest,
  entitlement: Entitlement,
  policy: CompiledPolicy,
  nowMs: number,
): Checked<Terms> {
  const metadata = { entitlement: entitlement.id, method: message.method };
  const length = message.duration ? spanMs("duration", message.duration) : ({ ok: true, value: entitlement.defaultMs } as const);
  if (!length.ok) return length;
  if (length.value > entitlement.maxMs) {
    const max = span(entitlement.maxMs);
    return refuse("DURATION_TOO_LONG", `${span(length.value)} is longer than ${entitlement.id} allows: at most ${max}`, {
      metadata: { ...metadata, maxSeconds: `${entitlement.maxMs / 1000}` },
      fieldViolations: [{ field: "duration", description: `at most ${max}` }],
    });
  }
  const reason = checkReason(message, entitlement);
  if (!reason.ok) return reason;
  const run = runName(message.run);
  if (!run.ok) return run;
  const start = message.startTime ? instantMs("start_time", message.startTime, nowMs) : ({ ok: true, value: undefined } as const);
  if (!start.ok) return start;
  if (start.value !== undefined && entitlement.breakGlass) return invalid("start_time", "break-glass starts at once");
  const bound = policy.method(message.method).bindPayload;
  const digest = payloadDigest(message.method, bound, message.payloadDigest, message.payload);
  if (!digest.ok) return digest;
  const key = keyThumbprint(message.keyJwk);
  if (!key.ok) return key;
  if (entitlement.present === "bound" && key.value.length === 0) {
    return invalid("key_jwk", `grants of ${entitlement.id} are bound to the caller's key: send its public JWK`);
  }
  const value = { entitlement, durationMs: length.value, startMs: start.value, payloadDigest: digest.value, keyThumbprint: key.value };
  return { ok: true, value };
}

function checkReason(
  { reason, method }: Pick<ElevationServiceRequestRequest, "reason" | "method">,
  entitlement: Entitlement,
): Checked<string> {
  const checked = text("reason", reason);
  if (!checked.ok) return checked;
  const { required, pattern } = entitlement.reason;
  const metadata = { method, entitlement: entitlement.id, ...(pattern === undefined ? {} : { pattern }) };
  const form = pattern === undefined ? "" : `, matching ${pattern}`;
  if (reason.trim() === "") {
    if (!required) return checked;
    return refuse("REASON_REQUIRED", `${entitlement.id} needs a reason${form}`, {
      metadata,
      fieldViolations: [{ field: "reason", description: "required" }],
    });
  }
  if (pattern === undefined || patternMatches(pattern, reason)) return checked;
  const description = `must match ${pattern}`;
  return refuse("REASON_MALFORMED", `the reason does not have the form that ${entitlement.id} asks for: it ${description}`, {
    metadata,
    fieldViolations: [{ field: "reason", description }],
  });
}

/** RFC 7638 thumbprint of the key that grants are to be bound to; empty for none. */
export function keyThumbprint(jwk: string): Checked<Uint8Array> {
  if (jwk === "") return { ok: true, value: new Uint8Array() };
  try {
    const parsed: unknown = JSON.parse(jwk);
    if (isJwk(parsed) && parsed.d === undefined) return { ok: true, value: Buffer.from(thumbprint(parsed), "base64url") };
  } catch {
    // Said below, without the text.
  }
  return invalid("key_jwk", "must be a public key as JWK (JSON, RFC 7517), without its private part");
}

function isJwk(value: unknown): value is PublicJwk {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether an open elevation can be what is asked for, by what it shows without opening anything. */
export function mayBeSameQuestion(message: ElevationServiceRequestRequest, initiator: string, state: Elevation): boolean {
  return (
    state.methods.includes(message.method) &&
    (state.initiator?.id ?? "") === initiator &&
    state.keyThumbprint.length > 0 === (message.keyJwk !== "") &&
    (state.startMode === StartMode.AT_TIME) === (message.startTime !== undefined)
  );
}

function isSameQuestion(
  message: ElevationServiceRequestRequest,
  terms: Terms,
  background: Background,
  question: Question,
  context: Context,
): boolean {
  const { asked, reason, run } = question;
  const { state } = settle(question.state, context);
  return (
    !isFinal(state) &&
    asked.entitlement === terms.entitlement.id &&
    state.methods.includes(message.method) &&
    !state.payloadUseTime &&
    asked.initiator === background.initiator &&
    run === message.run &&
    reason === message.reason &&
    sameBytes(asked.keyThumbprint, terms.keyThumbprint) &&
    question.payloadDigest !== undefined &&
    sameBytes(question.payloadDigest, terms.payloadDigest) &&
    askedMs(asked) === terms.durationMs &&
    (asked.startTime && timestampMs(asked.startTime)) === terms.startMs
  );
}

function askedMs(asked: ElevationRequested): number {
  return asked.duration ? durationMs(asked.duration) : 0;
}

/** Reasons that lie in the moment: how much is open already, the schedule, an open review, the cool-down after a denial. */
function barredNow(message: ElevationServiceRequestRequest, terms: Terms, background: Background, context: Context): Verdict | undefined {
  const { entitlement } = terms;
  const { nowMs, nameOf } = context;
  const full = tooManyOpen(message, background, context);
  if (full) return full;
  const metadata = { entitlement: entitlement.id, method: message.method };
  const outside = outsideSchedule(entitlement, { atMs: terms.startMs ?? nowMs, nowMs, metadata });
  if (outside) return { ok: false, denial: outside };
  const [unreviewed] = entitlement.breakGlass ? background.unreviewed : [];
  if (unreviewed) {
    const byMs = unreviewed.reviewBy && timestampMs(unreviewed.reviewBy);
    const overdue = byMs !== undefined && byMs <= nowMs ? `, overdue since ${iso(byMs)}` : "";
    const who = entitlement.breakGlass?.notify.join(", ");
    const what = `${unreviewed.id}, the last break-glass use of ${entitlement.id}, has not been reviewed${overdue}; ${who} or an admin has to, first`;
    return refuse("NOT_ELIGIBLE", what, { metadata: { ...metadata, elevation: unreviewed.id } });
  }
  for (const denied of background.denied) {
    const untilMs = (denied.endTime ? timestampMs(denied.endTime) : 0) + entitlement.cooldownMs;
    if (untilMs <= nowMs) continue;
    const by = denied.endedBy ? ` by ${nameOf(denied.endedBy.id) ?? denied.endedBy.id}` : "";
    const when = denied.endTime ? ` at ${iso(timestampMs(denied.endTime))}` : "";
    return refuse("ELEVATION_DENIED", `${denied.id} was denied${by}${when}; ${entitlement.id} can be asked for again at ${iso(untilMs)}`, {
      code: GrpcCode.FAILED_PRECONDITION,
      metadata: { ...metadata, elevation: denied.id, coolDownUntil: iso(untilMs) },
      retryDelayMs: untilMs - nowMs,
    });
  }
  return undefined;
}
