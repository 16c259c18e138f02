// The decision, in its fixed order: open, identity, the method's rule, staleness, the elevations known and shown, the condition.
// Owns no rule of its own: the evaluator has them. Goes to the authority for two things only: to start a window, and to use up an approval.
import { type CallFacts, needsRequest, type Permitted, type PrincipalFacts, readsRequest } from "@brevet/policy";
import { PROBE_METHOD, type ReasonName, type TimeEstimate } from "@brevet/protocol";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type GuardDecision, type GuardedCall, type GuardPermit, type GuardRefusal, refuse } from "./call.ts";
import { FailureLimit } from "./failures.ts";
import { Grants, NOTHING_SHOWN, type Shown } from "./grants.ts";
import { type Identified, Identities } from "./identity.ts";
import type { Knowledge, KnownPolicy } from "./knowledge.ts";
import { judgeRunning, type RunningStream, type Standing, withoutPolicy } from "./running.ts";
import { enforced, isStale, patientUntilMs, refusalOf, requestFacts, settle, staleRefusal, unused, withGrantProblem } from "./verdict.ts";

const RETRY_MS = 1000;

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
const RESTORED: GuardDecision = Object.freeze({ ...refuse("POLICY_UNAVAILABLE"), retryDelayMs: RETRY_MS });
const NONE: readonly Elevation[] = [];
/** Refusals of an identity that the time alone decides. */
const TIMELY: ReadonlySet<ReasonName> = new Set(["IDENTITY_EXPIRED", "IDENTITY_NOT_YET_VALID"]);
const BOUND_STREAM = { problem: "an approval of one exact request, for a method that takes a stream of them" };

/** Decides calls for one audience by what it was given to know. */
export class Decider {
  readonly #now: DeciderOptions["now"];
  readonly #settling: DeciderOptions["settling"];
  readonly #use: DeciderOptions["use"];
  readonly #identities: Identities;
  readonly #grants: Grants;
  readonly #starting = new Map<string, Promise<Used>>();
  #knowledge: Knowledge | undefined;
  /** Changes before those of what is known now. */
  #changesBefore = 0;

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
    if (this.#knowledge !== knowledge) this.#changesBefore = this.changes + 1 - knowledge.changes;
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
    if (knowledge?.policyProblem !== undefined) return withoutPolicy(knowledge);
    if (knowledge === undefined || policy === undefined || now === undefined)
      return { ...withoutPolicy(undefined), retryDelayMs: RETRY_MS };
    if (call.method !== PROBE_METHOD && policy.compiled.method(call.method).access === "open") return OPEN;
    const identified = this.#identities.identify(knowledge, policy, call, now.authorityMs);
    if (!(identified instanceof Promise)) return this.#identified(knowledge, policy, call, identified, now);
    const { keys } = knowledge;
    return identified.then((later) =>
      this.#knowledge === knowledge && knowledge.policy === policy && knowledge.keys === keys
        ? this.#identified(knowledge, policy, call, later, this.#time(knowledge) ?? now)
        : this.decide(call),
    );
  }

  /**
   * Judges a stream that was let through, or with `message` one further request of it. Always at once: it starts no window.
   * @throws only on a defect.
   */
  again(stream: RunningStream, message?: Uint8Array): Standing | GuardRefusal {
    const knowledge = this.#knowledge;
    const policy = knowledge?.policy;
    const now = knowledge && this.#time(knowledge);
    if (knowledge === undefined || policy === undefined || now === undefined) return withoutPolicy(knowledge);
    return judgeRunning(knowledge, policy, this.#grants, stream, now, message);
  }

  /** Grows with all that is learnt and may change a decision; the time apart. */
  get changes(): number {
    return this.#changesBefore + (this.#knowledge?.changes ?? 0);
  }

  /** Whether a refusal would only be recorded now. */
  get observes(): boolean {
    return this.#knowledge?.policy?.compiled.mode === "observe";
  }

  /** Whether the time leaves a permit as it is, given that {@link changes} has stayed. False: it has to be judged {@link again}. */
  outlasts({ elevation, endsMs = Infinity, shown }: GuardPermit): boolean {
    if (elevation === undefined) return true;
    const knowledge = this.#knowledge;
    const policy = knowledge?.policy;
    const now = knowledge && this.#time(knowledge);
    if (knowledge === undefined || policy === undefined || now === undefined || this.settling !== undefined) return false;
    const latestMs = now.authorityMs + now.errorMs;
    return latestMs < endsMs && latestMs < (shown?.aheadUntilMs ?? Infinity) && !isStale(knowledge, policy, now);
  }

  /** The authority's time; undefined while it is not known. */
  now(): TimeEstimate | undefined {
    return this.#knowledge && this.#time(this.#knowledge);
  }

  /** While the clock is in doubt; see {@link DeciderOptions.settling}. */
  get settling(): Promise<void> | undefined {
    return this.#settling?.();
  }

  /** The authority's silence is borne until then, on its clock; past it every stream under an elevation is to be judged again. */
  patientUntilMs(now: TimeEstimate): number {
    const knowledge = this.#knowledge;
    return knowledge?.policy === undefined ? Infinity : patientUntilMs(knowledge, knowledge.policy, now);
  }

  #identified(
    knowledge: Knowledge,
    policy: KnownPolicy,
    call: GuardedCall,
    identified: Identified,
    now: TimeEstimate,
  ): GuardDecision | Promise<GuardDecision> {
    const settling = this.#settling?.();
    if (!identified.ok) {
      // No token has ended by a clock that is in doubt.
      if (settling !== undefined && TIMELY.has(identified.refusal.reason)) return settling.then(() => this.decide(call));
      return settle(policy, identified.refusal);
    }
    const { principal } = identified;
    const { method } = call;
    // An identity is all that it takes, whatever the policy says.
    if (method === PROBE_METHOD) return { kind: "permit", principal };
    const { authorityMs: nowMs, errorMs } = now;
    const { compiled } = policy;
    if (compiled.method(method).access !== "elevated") {
      const decision = enforced(compiled, { method, principal, candidates: NONE, nowMs, errorMs });
      return decision.permit ? { kind: "permit", principal } : settle(policy, refusalOf(decision, principal));
    }
    // After a sleep of the machine nothing elevated is permitted on what the time was before it.
    if (settling !== undefined) return settling.then(() => this.decide(call));
    if (isStale(knowledge, policy, now)) return settle(policy, staleRefusal(knowledge, principal));
    const { open: known, ended } = knowledge.elevationsOf(principal.name);
    const shown = this.#grants.show(knowledge, call.grants, { method, principal, peer: call.peer, nowMs, errorMs });
    const { ahead } = shown;
    const open = ahead.length === 0 ? known : [...known.filter(({ id }) => !ahead.some((newer) => newer.id === id)), ...ahead];
    const reads = call.request === undefined && needsRequest(compiled, method, open);
    if (reads && !call.requestStream) return { kind: "request", principal };
    const bound = (reads || call.request !== undefined) && compiled.method(method).bindPayload;
    if (reads && bound) return settle(policy, refuse("POLICY_MISCONFIGURED", BOUND_STREAM, principal));
    const facts: CallFacts = {
      method,
      principal,
      candidates: open,
      presented: shown.presented,
      nowMs,
      errorMs,
      reachedMs: knowledge.heardMs,
      ...(call.request === undefined ? undefined : requestFacts(call.request, bound)),
    };
    const decision = reads ? unread(policy, facts) : enforced(compiled, facts);
    if (decision === "request") return { kind: "request", principal };
    if (decision.permit) {
      const { elevation, endsMs, needsStart, consume } = decision;
      if (elevation === undefined) return { kind: "permit", principal };
      if (needsStart === true || consume === true) return this.#firstUse(knowledge, call, facts, { ...decision, elevation }, shown);
      return permitBy(principal, elevation, endsMs, shown);
    }
    // Ended ones are looked at only now: they permit nothing, and a principal may have many.
    const exact = ended.length === 0 ? decision : enforced(compiled, { ...facts, candidates: [...open, ...ended] });
    return settle(policy, refusalOf(withGrantProblem(exact.permit ? decision : exact, shown), principal));
  }

  /** The one thing that a call waits for the authority with. Calls that come together for the same start share it. */
  async #firstUse(
    knowledge: Knowledge,
    call: GuardedCall,
    facts: CallFacts,
    { elevation, consume }: Permitted & { readonly elevation: Elevation },
    shown: Shown,
  ): Promise<GuardDecision> {
    const { epoch } = knowledge;
    const { id, entitlement } = elevation;
    const consumed = consume === true ? facts.payloadDigest : undefined;
    const used = await (consumed === undefined ? this.#start(id) : this.#use(id, consumed));
    // While the authority answered, the link went on: what it brought since, a revocation above all, counts.
    const latest = this.#knowledge ?? knowledge;
    const { policy } = latest;
    if (policy === undefined) return { ...withoutPolicy(latest), retryDelayMs: RETRY_MS };
    const failed = (reason: ReasonName, problem: string): GuardDecision => {
      const retry = reason === "AUTHORITY_UNREACHABLE" ? { retryDelayMs: RETRY_MS } : {};
      return settle(policy, { ...refuse(reason, { elevation: id, entitlement, problem }, facts.principal), elevation, ...retry });
    };
    if (!used.ok) return failed(used.reason, used.problem);
    // A log that was restored meanwhile knows nothing of that answer.
    if (latest.epoch !== epoch) return RESTORED;
    const { state, windowStart, windowEnd, revision, payloadUseTime } = used.elevation;
    // The authority has reached this instant, whatever the estimate says.
    if (windowStart !== undefined) latest.heard(timestampMs(windowStart));
    latest.setElevation({
      ...elevation,
      state,
      revision,
      ...(windowStart && { windowStart }),
      ...(windowEnd && { windowEnd }),
      ...(payloadUseTime && { payloadUseTime }),
    });
    if (consumed !== undefined) return this.#consumed(epoch, call, facts, id, shown);
    // As any call under a window that is open; never asking again for what was answered just now.
    if (latest.elevation(id)?.state === ElevationState.SCHEDULED) return failed("AUTHORITY_UNREACHABLE", "it has not started the window");
    return this.decide(call);
  }

  /** The call that an approval was used up by: judged by all that counts now, but for that use, which is its own. */
  #consumed(epoch: string, call: GuardedCall, facts: CallFacts, id: string, shown: Shown): GuardDecision | Promise<GuardDecision> {
    const knowledge = this.#knowledge;
    const policy = knowledge?.policy;
    const now = knowledge && this.#time(knowledge);
    if (knowledge === undefined || policy === undefined || now === undefined)
      return { ...withoutPolicy(knowledge), retryDelayMs: RETRY_MS };
    if (knowledge.epoch !== epoch) return RESTORED;
    const again = (): GuardDecision | Promise<GuardDecision> => this.#consumed(epoch, call, facts, id, shown);
    const settling = this.#settling?.();
    if (settling !== undefined) return settling.then(again);
    const identified = this.#identities.identify(knowledge, policy, call, now.authorityMs);
    if (identified instanceof Promise) return identified.then(again);
    if (!identified.ok) return settle(policy, identified.refusal);
    const { principal } = identified;
    if (isStale(knowledge, policy, now)) return settle(policy, staleRefusal(knowledge, principal));
    const candidate = knowledge.elevation(id);
    const decision = enforced(policy.compiled, {
      ...facts,
      principal,
      candidates: candidate === undefined ? NONE : [unused(candidate)],
      nowMs: now.authorityMs,
      errorMs: now.errorMs,
      reachedMs: knowledge.heardMs,
    });
    if (!decision.permit) return settle(policy, refusalOf(decision, principal));
    return decision.elevation === undefined
      ? { kind: "permit", principal }
      : permitBy(principal, decision.elevation, decision.endsMs, shown);
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

/**
 * A stream of requests that nobody has seen yet, where a condition reads them: permitted at once where an elevation covers it whatever it
 * will say, so that a handler may speak first; otherwise its first message has to be seen.
 */
function unread({ compiled }: KnownPolicy, facts: CallFacts): Permitted | "request" {
  const free = facts.candidates.filter((elevation) => !readsRequest(compiled, facts.method, elevation));
  const all = free.length === facts.candidates.length;
  const decision = enforced(compiled, all ? facts : { ...facts, candidates: free });
  return decision.permit && (all || decision.needsStart !== true) ? decision : "request";
}

function permitBy(principal: PrincipalFacts, elevation: Elevation, endsMs: number | undefined, shown: Shown): GuardPermit {
  const permit: GuardPermit =
    endsMs === undefined ? { kind: "permit", principal, elevation } : { kind: "permit", principal, elevation, endsMs };
  return shown === NOTHING_SHOWN ? permit : { ...permit, shown };
}
