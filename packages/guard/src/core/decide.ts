// The decision, in its fixed order: open, identity, the method's rule, staleness, the elevations known and shown, the condition.
// Owns no rule of its own: the evaluator has them. Goes to the authority for two things only: to start a window, and to use up an approval.
import { createHash } from "node:crypto";
import { type CallFacts, type Decision, type Denied, evaluate, needsRequest, type Permitted, type PrincipalFacts } from "@brevet/policy";
import type { ReasonName, TimeEstimate } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type GuardDecision, type GuardedCall, type GuardRefusal, isoTime, refuse } from "./call.ts";
import { FailureLimit } from "./failures.ts";
import { Grants, type Shown } from "./grants.ts";
import { type Identified, Identities } from "./identity.ts";
import type { Knowledge, KnownPolicy } from "./knowledge.ts";

/** A clock that is less certain than this counts as stale. */
const MAX_ERROR_MS = 1000;
const RETRY_MS = 1000;
const STALE_RETRY_MS = 5000;

/** How the first use, or the one use, of an elevation went at the authority. */
export type Used =
  | { readonly ok: true; readonly elevation: Elevation }
  /** `reason`: an elevation's state, or AUTHORITY_UNREACHABLE. */
  | { readonly ok: false; readonly reason: ReasonName; readonly problem: string };

/** What a decider needs from outside. */
export interface DeciderOptions {
  /** Audience of identity tokens for the authority itself: they are good for no service. */
  readonly authorityAudience: string;
  /** The authority's time; undefined before the first sample. */
  readonly now: () => TimeEstimate | undefined;
  /** While the clock is in doubt and a fresh sample is on its way: resolves soon, with or without it. Undefined: nothing to wait for. */
  readonly settling?: () => Promise<void> | undefined;
  /** Starts the window of a SCHEDULED elevation, or uses up the approval of the request with this SHA-256. Never throws. */
  readonly use: (elevation: string, payloadDigest?: Uint8Array) => Promise<Used>;
}

const OPEN: GuardDecision = Object.freeze({ kind: "permit" });
const NONE: readonly Elevation[] = [];
/** Nobody is identified without a policy: what is wrong with it is told in the log and by `status()` only. */
const UNENFORCEABLE = { problem: "this guard cannot enforce the newest policy; its log says why" };

/** Decides calls for one audience by what it was given to know. */
export class Decider {
  readonly #now: DeciderOptions["now"];
  readonly #settling: DeciderOptions["settling"];
  readonly #use: DeciderOptions["use"];
  readonly #identities: Identities;
  readonly #grants: Grants;
  readonly #starting = new Map<string, Promise<Used>>();
  #knowledge: Knowledge | undefined;

  constructor(options: DeciderOptions) {
    const limit = new FailureLimit();
    this.#now = options.now;
    this.#settling = options.settling;
    this.#use = options.use;
    this.#identities = new Identities({ authorityAudience: options.authorityAudience, limit });
    this.#grants = new Grants(limit);
  }

  /** Undefined until the link has brought the whole state once. */
  get knowledge(): Knowledge | undefined {
    return this.#knowledge;
  }

  /** Decides by this from now on. */
  adopt(knowledge: Knowledge): void {
    this.#knowledge = knowledge;
  }

  /**
   * Decides one call. At once on what is known; later for the first look at an identity token, and for the first use of an elevation.
   * @throws only on a defect: the caller of this refuses with GUARD_FAULT then.
   */
  decide(call: GuardedCall): GuardDecision | Promise<GuardDecision> {
    const knowledge = this.#knowledge;
    const policy = knowledge?.policy;
    const now = knowledge && this.#time(knowledge);
    if (knowledge?.policyProblem !== undefined) return refuse("POLICY_MISCONFIGURED", UNENFORCEABLE);
    if (knowledge === undefined || policy === undefined || now === undefined)
      return { ...refuse("POLICY_UNAVAILABLE"), retryDelayMs: RETRY_MS };
    if (policy.compiled.method(call.method).access === "open") return OPEN;
    const identified = this.#identities.identify(knowledge, policy, call, now.authorityMs);
    if (!(identified instanceof Promise)) return this.#identified(knowledge, policy, call, identified, now);
    const { keys } = knowledge;
    return identified.then((later) =>
      this.#knowledge === knowledge && knowledge.policy === policy && knowledge.keys === keys
        ? this.#identified(knowledge, policy, call, later, this.#time(knowledge) ?? now)
        : this.decide(call),
    );
  }

  #identified(
    knowledge: Knowledge,
    policy: KnownPolicy,
    call: GuardedCall,
    identified: Identified,
    now: TimeEstimate,
  ): GuardDecision | Promise<GuardDecision> {
    if (!identified.ok) return settle(policy, identified.refusal);
    const { principal } = identified;
    const { method } = call;
    const { authorityMs: nowMs, errorMs } = now;
    const { compiled } = policy;
    if (compiled.method(method).access !== "elevated") {
      const decision = enforced(compiled, { method, principal, candidates: NONE, nowMs, errorMs });
      return decision.permit ? { kind: "permit", principal } : settle(policy, refusalOf(decision, principal));
    }
    // After a sleep of the machine nothing elevated is permitted on what the time was before it.
    const settling = this.#settling?.();
    if (settling !== undefined) return settling.then(() => this.decide(call));
    if (isStale(knowledge, policy, now)) {
      const refusal = refuse("POLICY_STALE", { staleSince: isoTime(knowledge.heardMs) }, principal);
      return settle(policy, { ...refusal, retryDelayMs: STALE_RETRY_MS });
    }
    const { open: known, ended } = knowledge.elevationsOf(principal.name);
    const shown = this.#grants.show(knowledge, call.grants, { method, principal, peer: call.peer, nowMs, errorMs });
    const { ahead } = shown;
    const open = ahead.length === 0 ? known : [...known.filter(({ id }) => !ahead.some((newer) => newer.id === id)), ...ahead];
    if (call.request === undefined && needsRequest(compiled, method, open)) {
      if (!call.requestStream) return { kind: "request", principal, observes: compiled.mode === "observe" };
      const problem = "a condition on the request of a method that takes a stream of them";
      return settle(policy, refuse("POLICY_MISCONFIGURED", { problem }, principal));
    }
    const facts: CallFacts = {
      method,
      principal,
      candidates: open,
      presented: shown.presented,
      nowMs,
      errorMs,
      reachedMs: knowledge.heardMs,
      ...(call.request === undefined ? undefined : requestFacts(call.request, compiled.method(method).bindPayload)),
    };
    const decision = enforced(compiled, facts);
    if (decision.permit) return this.#permit(knowledge, policy, facts, principal, decision);
    // Ended ones are looked at only now: they permit nothing, and a principal may have many.
    const exact = ended.length === 0 ? decision : enforced(compiled, { ...facts, candidates: [...open, ...ended] });
    return settle(policy, refusalOf(withGrantProblem(exact.permit ? decision : exact, shown), principal));
  }

  #permit(
    knowledge: Knowledge,
    policy: KnownPolicy,
    facts: CallFacts,
    principal: PrincipalFacts,
    permitted: Permitted,
  ): GuardDecision | Promise<GuardDecision> {
    const { elevation, endsMs } = permitted;
    if (elevation === undefined) return { kind: "permit", principal };
    if (permitted.needsStart === true || permitted.consume === true) {
      const digest = permitted.consume === true ? facts.payloadDigest : undefined;
      return this.#firstUse(knowledge, policy, facts, principal, elevation, digest);
    }
    return endsMs === undefined ? { kind: "permit", principal, elevation } : { kind: "permit", principal, elevation, endsMs };
  }

  /** The one thing that a call waits for the authority with. Calls that come together for the same start share it. */
  async #firstUse(
    knowledge: Knowledge,
    policy: KnownPolicy,
    facts: CallFacts,
    principal: PrincipalFacts,
    elevation: Elevation,
    digest: Uint8Array | undefined,
  ): Promise<GuardDecision> {
    const { epoch } = knowledge;
    const used = await (digest === undefined ? this.#start(elevation.id) : this.#use(elevation.id, digest));
    if (!used.ok) {
      const retry = used.reason === "AUTHORITY_UNREACHABLE" ? { retryDelayMs: RETRY_MS } : {};
      const about = { elevation: elevation.id, entitlement: elevation.entitlement, problem: used.problem };
      return settle(policy, { ...refuse(used.reason, about, principal), elevation, ...retry });
    }
    // While the authority answered, the link went on: what it brought since, a revocation above all, counts.
    const latest = this.#knowledge ?? knowledge;
    // A log that was restored meanwhile knows nothing of that answer.
    if (latest.epoch !== epoch) return { ...refuse("POLICY_UNAVAILABLE"), retryDelayMs: RETRY_MS };
    const { state, windowStart, windowEnd, revision, payloadUseTime } = used.elevation;
    // The authority has reached this instant, whatever the estimate says.
    if (windowStart !== undefined) latest.heard(timestampMs(windowStart));
    const now = this.#time(latest);
    if (latest.policy === undefined || now === undefined) return { ...refuse("POLICY_UNAVAILABLE"), retryDelayMs: RETRY_MS };
    latest.setElevation({
      ...elevation,
      state,
      revision,
      ...(windowStart && { windowStart }),
      ...(windowEnd && { windowEnd }),
      ...(payloadUseTime && { payloadUseTime }),
    });
    const candidate = latest.elevation(elevation.id);
    const decision = enforced(latest.policy.compiled, {
      ...facts,
      // The one use of an approval is this call's own.
      candidates: candidate === undefined ? NONE : [digest === undefined ? candidate : unused(candidate)],
      nowMs: now.authorityMs,
      errorMs: now.errorMs,
      reachedMs: latest.heardMs,
    });
    if (!decision.permit) return settle(latest.policy, refusalOf(decision, principal));
    const endsMs = decision.endsMs === undefined ? {} : { endsMs: decision.endsMs };
    return { kind: "permit", principal, elevation: candidate ?? elevation, ...endsMs };
  }

  /** The authority's time. That it has reached what it stamped a message with narrows the estimate from below. */
  #time(knowledge: Knowledge): TimeEstimate | undefined {
    const now = this.#now();
    if (now === undefined) return undefined;
    const { heardMs } = knowledge;
    if (now.errorMs === Infinity) return now;
    const [earliestMs, latestMs] = [now.authorityMs - now.errorMs, now.authorityMs + now.errorMs];
    if (heardMs <= earliestMs || heardMs > latestMs) return now;
    return { authorityMs: (heardMs + latestMs) / 2, errorMs: (latestMs - heardMs) / 2 };
  }

  #start(id: string): Promise<Used> {
    const starting = this.#starting.get(id) ?? this.#use(id).finally(() => this.#starting.delete(id));
    this.#starting.set(id, starting);
    return starting;
  }
}

/** The decision as it is when it is enforced, also where `mode: observe` lets refusals pass. */
function enforced(policy: KnownPolicy["compiled"], facts: CallFacts): Decision {
  const decision = evaluate(policy, facts);
  return decision.permit && decision.observed !== undefined ? decision.observed : decision;
}

/** With `mode: observe` a refusal permits, and is carried along to be logged. */
function settle(policy: KnownPolicy, refusal: GuardRefusal): GuardDecision {
  if (policy.compiled.mode === "enforce") return refusal;
  return { kind: "permit", observed: refusal, ...(refusal.principal && { principal: refusal.principal }) };
}

function refusalOf(denied: Denied, principal: PrincipalFacts): GuardRefusal {
  const { reason, facts, offers, elevation } = denied;
  return { kind: "refuse", reason, facts, principal, offers, ...(elevation && { elevation }) };
}

function unused(elevation: Elevation): Elevation {
  const { payloadUseTime: _, ...rest } = elevation;
  return rest;
}

/**
 * Whether nothing elevated is permitted, since nothing was heard of the authority for longer than the policy allows, or the time is not
 * known. How long it was silent is judged as an end is: at the latest that it can be now.
 */
export function isStale(knowledge: Knowledge, policy: KnownPolicy, { authorityMs, errorMs }: TimeEstimate): boolean {
  const { afterMs, then, atMostMs } = policy.compiled.whenStale;
  const silentMs = authorityMs + errorMs - knowledge.heardMs;
  if (silentMs <= afterMs && errorMs <= MAX_ERROR_MS) return false;
  return then === "deny" || silentMs > atMostMs;
}

function requestFacts(request: Uint8Array, bound: boolean): Pick<CallFacts, "request" | "payloadDigest"> {
  return bound ? { request, payloadDigest: createHash("sha256").update(request).digest() } : { request };
}

/** A grant that does not count is the reason where nothing else got further: no elevation, or one that has to be shown by a grant. */
function withGrantProblem(denied: Denied, shown: Shown): Denied {
  const { problem } = shown;
  if (problem === undefined) return denied;
  const lacksGrant = denied.facts.present !== undefined;
  const nothing = denied.elevation === undefined && (denied.reason === "ELEVATION_REQUIRED" || denied.reason === "NOT_ELIGIBLE");
  if (!lacksGrant && !nothing) return denied;
  return { ...denied, reason: problem.reason, facts: { ...denied.facts, ...problem.facts } };
}
