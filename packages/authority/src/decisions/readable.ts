// Decisions for callers of the API: reported, listed, and explained with both halves, the rule, the nearest miss and the remedy.
// Never judges by itself: a call that was not made is put to the evaluator that guards have.
import { type CallFacts, type CompiledPolicy, explain, kindOfName, matchedRule, nearestMiss, type PrincipalFacts } from "@brevet/policy";
import { type Clock, catalogue, isMethodName, isReasonName, readStatus } from "@brevet/protocol";
import type { CallerReport, Elevation } from "@brevet/protocol/brevet/v1/elevation";
import {
  type DecisionRecord,
  type HypotheticalCall,
  type PolicyServiceExplainResponse,
  PolicyServiceExplainResponseSchema,
  type PolicyServiceListDecisionsRequest,
} from "@brevet/protocol/brevet/v1/policy";
import { Reason, ReasonSchema } from "@brevet/protocol/brevet/v1/reason";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { create, fromBinary, fromJsonString, toBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type Answer, type Caller, readerOf } from "../elevation/caller.ts";
import type { CurrentPolicies } from "../elevation/policies.ts";
import { invalid, refuse } from "../elevation/refusal.ts";
import { revealToGuard } from "../elevation/reveal.ts";
import type { View } from "../store/store.ts";
import type { DecisionStore } from "./decisions.ts";
import { differences } from "./differences.ts";
import { mayReadAll, mayReadRecord } from "./readers.ts";

/** What it stands on. */
export interface ReadableDecisionsOptions {
  readonly decisions: DecisionStore;
  readonly view: View;
  readonly policies: CurrentPolicies;
  readonly clock: Clock;
}

/** A caller with a name for where no audience knows it. */
export interface ReportingCaller extends Caller {
  readonly name: string;
}

export const MOST_REPORTS = 100;
const PAGE = 100;
const LARGEST_PAGE = 1000;
const DECISION_ID = /^dec_[0-9A-Z]{26}$/;
const MOST_REQUEST_BYTES = 64 * 1024;

/** Reads for callers. */
export class ReadableDecisions {
  readonly #options: ReadableDecisionsOptions;

  constructor(options: ReadableDecisionsOptions) {
    this.#options = options;
  }

  /** Keeps the caller's half of refusals. What has no decision's id is left out. */
  async report(caller: ReportingCaller, reports: readonly CallerReport[]): Promise<Answer<void>> {
    if (reports.length > MOST_REPORTS) return invalid("reports", `must be at most ${MOST_REPORTS}`);
    const kept = new Map<string, CallerReport[]>();
    for (const report of reports) {
      if (!DECISION_ID.test(report.decisionId)) continue;
      const name = caller.principalFor(report.audience)?.name ?? caller.name;
      kept.set(name, [...(kept.get(name) ?? []), report]);
    }
    for (const [name, theirs] of kept) await this.#options.decisions.report(name, theirs);
    return { ok: true, value: undefined };
  }

  /** A page of decisions that the caller may read, newest first. */
  async list(
    caller: Caller,
    request: PolicyServiceListDecisionsRequest,
  ): Promise<Answer<{ decisions: DecisionRecord[]; nextPageToken: string; dropped: bigint }>> {
    const { audience, method, principal, reason, startTime, pageSize, pageToken } = request;
    if (audience === "") return invalid("audience", "say whose decisions");
    if (pageSize < 0) return invalid("page_size", "must not be negative");
    if (!/^\d{0,18}$/.test(pageToken)) return invalid("page_token", "must be from the answer before");
    const { decisions, policies } = this.#options;
    const policy = policies.current(audience)?.policy;
    const who = caller.principalFor(audience);
    if (who === undefined) return { ok: true, value: { decisions: [], nextPageToken: "", dropped: 0n } };
    const size = Math.min(pageSize || PAGE, LARGEST_PAGE);
    const found = await decisions.list({
      audience,
      limit: size,
      ...(method === "" ? {} : { method }),
      ...(principal === "" ? {} : { principal }),
      ...(reason === Reason.UNSPECIFIED ? {} : { reason }),
      ...(startTime === undefined ? {} : { fromMs: Math.floor(timestampMs(startTime)) }),
      ...(pageToken === "" ? {} : { before: BigInt(pageToken) }),
    });
    const readable = found.map(({ record }) => record).filter((record) => mayReadRecord(record, who, policy));
    const last = found.length === size ? found.at(-1)?.place : undefined;
    const dropped = mayReadAll(policy, who) ? await decisions.dropped(audience) : 0n;
    return { ok: true, value: { decisions: readable, nextPageToken: last === undefined ? "" : `${last}`, dropped } };
  }

  /** A recorded decision with both halves. */
  async decision(caller: ReportingCaller, id: string): Promise<Answer<PolicyServiceExplainResponse>> {
    const { decisions, policies } = this.#options;
    const [record, reports] = DECISION_ID.test(id) ? await Promise.all([decisions.get(id), decisions.reports(id)]) : [undefined, []];
    const audience = record?.audience ?? "";
    const policy = policies.current(audience)?.policy;
    const who = caller.principalFor(audience);
    const own = reports.find(({ principal, report }) => principal === (caller.principalFor(report.audience)?.name ?? caller.name));
    const mayRead = record !== undefined && (mayReadRecord(record, who, policy) || (record.principal === "" && own !== undefined));
    if (!mayRead && own === undefined) return notFound(id);
    if (record === undefined || !mayRead) return { ok: true, value: this.#reportedOnly(own?.report) };
    // Of a decision about somebody only that somebody's own words count.
    const report = reports.find(({ principal }) => record.principal === "" || principal === record.principal)?.report;
    return { ok: true, value: explainRecord(record, report, policy, { wholePolicy: mayReadAll(policy, who) }) };
  }

  /** What would be decided for a call now. */
  async call(caller: Caller, call: HypotheticalCall): Promise<Answer<PolicyServiceExplainResponse>> {
    const { audience, method, principal, requestJson } = call;
    if (audience === "") return invalid("call.audience", "say which deployment would be called");
    if (!isMethodName(method)) return invalid("call.method", "must be package.Service/Method");
    if (requestJson.length > MOST_REQUEST_BYTES) return invalid("call.request_json", "must be at most 64 KiB");
    const current = this.#options.policies.current(audience);
    const asks = caller.principalFor(audience);
    if (current === undefined || asks === undefined)
      return refuse("NOT_FOUND", `there is no policy of ${audience.slice(0, 128)} that you may see`, { metadata: {} });
    const { policy } = current;
    const wholePolicy = mayReadAll(policy, asks);
    const other = principal !== "" && principal !== asks.name;
    if (other && !wholePolicy)
      return refuse("ROLE_REQUIRED", "what others may call is for the roles admin and auditor of the audience", {
        metadata: { role: "auditor", principal: asks.name },
      });
    const who = other ? named(policy, principal) : asks;
    if (who === undefined) return invalid("call.principal", "must be a principal like user:ana@example.com");
    const request = requestBytes(policy, method, requestJson);
    if (typeof request === "string") return invalid("call.request_json", request);
    const candidates = await this.#candidates(audience, who);
    const facts: CallFacts = {
      method,
      principal: who,
      candidates,
      // Whoever asks is taken to show its grants where that is demanded.
      presented: new Map(candidates.map(({ id }) => [id, "bound" as const])),
      ...(request === undefined ? { requestsLater: true } : { request }),
      nowMs: this.#options.clock.wallMs(),
      errorMs: 0,
    };
    const { decision, matchedRule: rule, nearestMiss: miss } = explain(policy, facts, { wholePolicy });
    const outcome = decision.permit
      ? { permitted: true, explanation: permittedBecause(decision.elevation, request === undefined) }
      : {
          permitted: false,
          reason: Reason[decision.reason],
          explanation: catalogue[decision.reason].what,
          remedy: filled(catalogue[decision.reason].callerRemedy, method, decision.facts["elevation"]),
        };
    return { ok: true, value: create(PolicyServiceExplainResponseSchema, { ...outcome, matchedRule: rule, nearestMiss: miss }) };
  }

  #reportedOnly(report: CallerReport | undefined): PolicyServiceExplainResponse {
    const reason = report !== undefined && isReasonName(report.reason) ? report.reason : undefined;
    return create(PolicyServiceExplainResponseSchema, {
      explanation:
        "The guard's half is not kept one by one, or not here yet: refusals without an identity are counted, and the guard's own log has a line of each.",
      ...(report === undefined ? {} : { caller: report }),
      ...(reason === undefined ? {} : { reason: Reason[reason], remedy: catalogue[reason].callerRemedy }),
    });
  }

  /** The principal's elevations, as a guard has them. */
  async #candidates(audience: string, who: PrincipalFacts): Promise<Elevation[]> {
    const { view, clock } = this.#options;
    const reader = await readerOf(view, who);
    if (reader === undefined || reader.id === "") return [];
    const openOrEndedSinceMs = clock.wallMs() - 24 * 3_600_000;
    const states = await view.elevations({ audience, requester: reader.id, openOrEndedSinceMs, limit: 1000 });
    return Promise.all(states.map((state) => revealToGuard(state, view)));
  }
}

/** Explains a record under the policy of now, which may be another than decided. */
function explainRecord(
  record: DecisionRecord,
  report: CallerReport | undefined,
  policy: CompiledPolicy | undefined,
  reader: { readonly wholePolicy: boolean },
): PolicyServiceExplainResponse {
  const reason = ReasonSchema.values.find(({ number }) => number === record.reason)?.localName ?? "";
  const refused = isReasonName(reason) ? reason : undefined;
  const sent = sentStatus(record);
  const response = create(PolicyServiceExplainResponseSchema, {
    permitted: record.permitted,
    reason: record.reason,
    explanation: sent?.message ?? (refused === undefined ? permittedBecause(undefined, false) : catalogue[refused].what),
    decision: record,
    ...(report === undefined ? {} : { caller: report, differences: differences(record, report) }),
  });
  if (policy !== undefined) response.matchedRule = matchedRule(policy, record.method);
  if (refused === undefined) return response;
  const facts = sent?.metadata ?? {};
  response.remedy = filled(catalogue[refused].callerRemedy, record.method, record.elevation || facts["elevation"]);
  // What was offered then, as far as it is still there.
  const offers = (sent?.offer?.entitlements ?? []).flatMap(({ entitlement }) => policy?.entitlement(entitlement) ?? []);
  if (policy !== undefined) response.nearestMiss = nearestMiss(policy, { reason: refused, facts, offers, method: record.method }, reader);
  return response;
}

function sentStatus({ status }: DecisionRecord) {
  if (status.length === 0) return undefined;
  try {
    const { code, message } = fromBinary(StatusSchema, status);
    return readStatus(code, message, status);
  } catch {
    return undefined;
  }
}

function permittedBecause(elevation: Elevation | undefined, requestUnknown: boolean): string {
  const rests = elevation === undefined ? "The policy asks for no elevation, or one covered it." : `It rests on elevation ${elevation.id}.`;
  return requestUnknown ? `${rests} Conditions on the request were not looked at: no request was given.` : rests;
}

/** Somebody who is not here: the groups that the policy itself lists; what a token would assert is not known. */
function named(policy: CompiledPolicy, name: string): PrincipalFacts | undefined {
  const kind = kindOfName(name);
  return kind && { name, kind, claims: {}, groups: new Set(policy.memberships.get(name)) };
}

/** The request in wire form; undefined for none; a text: why it is none. */
function requestBytes(policy: CompiledPolicy, method: string, json: string): Uint8Array | undefined | string {
  if (json === "") return undefined;
  const type = policy.requestType(method);
  if (type === undefined) return `the request of ${method} is not known: the policy has no descriptors of it`;
  try {
    return toBinary(type, fromJsonString(type, json));
  } catch (error) {
    return `is no ${type.typeName}: ${error instanceof Error ? error.message : "it does not encode"}`;
  }
}

function filled(remedy: string, method: string, elevation = ""): string {
  return remedy.replaceAll(/\bMETHOD\b/g, () => method || "METHOD").replaceAll(/\bELEVATION\b/g, () => elevation || "ELEVATION");
}

function notFound(id: string): Answer<never> {
  const shown = id.slice(0, 64);
  return refuse("NOT_FOUND", `there is no decision ${shown} that you may see`, { metadata: {} });
}
