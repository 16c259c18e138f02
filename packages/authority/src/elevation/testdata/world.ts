// A log in memory for tests of the rules: decides, folds what is decided entry by entry, and remembers names and words.
import { type CompiledPolicy, loadPolicy, type PrincipalFacts } from "@brevet/policy";
import type { ReasonName } from "@brevet/protocol";
import {
  type Elevation,
  ElevationServiceApproveRequestSchema,
  ElevationServiceDenyRequestSchema,
  ElevationServiceEndRequestSchema,
  ElevationServiceExtendRequestSchema,
  ElevationServiceRequestRequestSchema,
  ElevationServiceReviewRequestSchema,
  ElevationServiceRevokeRequestSchema,
  ElevationServiceStartRequestSchema,
  ElevationServiceWithdrawRequestSchema,
  ElevationState,
} from "@brevet/protocol/brevet/v1/elevation";
import { type LogEntry, LogEntrySchema, SealedSchema } from "@brevet/protocol/brevet/v1/log";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { commitment, hex } from "../../log/seal.ts";
import { entitlementAsked } from "../choose.ts";
import { decide, type Outcome } from "../decide.ts";
import { evolve, isFinal } from "../evolve.ts";
import { changesTerms } from "../execute.ts";
import type { Background, Command, Context } from "../rule.ts";

export const MINUTE = 60_000;
export const START = Date.UTC(2026, 0, 5, 9, 0, 0);
export const AUDIENCE = "payments-test";
export const METHOD = "payments.v1.Ledger/Refund";
export const PAYOUT = "payments.v1.Ledger/Payout";
export const MIGRATE = "payments.v1.Ledger/Migrate";

/** A policy that has one of everything. */
export const POLICY = `
apiVersion: brevet.dev/v1
audience: ${AUDIENCE}
identity:
  issuers:
    - issuer: https://login.test
      audiences: [${AUDIENCE}]
      principal: "'user:' + claims.email"
      groups: claims.groups
      mayAssert: ["group:claimed"]
groups:
  "group:oncall": ["user:ana@test", "user:bo@test", "user:rita@test"]
  "group:leads": ["user:bo@test", "user:cy@test"]
guards: ["workload:guard"]
roles:
  admin: ["user:admin@test"]
  auditor: ["user:audit@test"]
apply: { quorum: 1 }
services:
  payments.v1.Ledger:
    default: forbidden
    methods:
      Refund: { access: elevated }
      Payout: { access: elevated }
      Migrate: { access: elevated, bind: payload }
      Get: { access: authenticated }
      Ping: { access: open }
mode: enforce
entitlements:
  refund:
    description: Refund
    methods: [${METHOD}]
    requesters: ["user:rita@test", "user:sam@test", "ci:run"]
    duration: { default: 10m, max: 20m }
    pending: 30m
    startWithin: 15m
    extend: { max: 40m, approval: same }
    cooldown: 5m
    approval:
      automatic: principal.kind == "ci"
      stages:
        - { approvers: ["group:oncall"], quorum: 1 }
        - { approvers: ["group:leads"], quorum: 1 }
  pair:
    description: Two of them
    methods: [${METHOD}, ${PAYOUT}]
    requesters: ["user:rita@test", "user:sam@test", "group:claimed"]
    duration: { default: 10m, max: 30m }
    pending: 30m
    startWithin: 15m
    extend: { max: 60m, approval: none }
    cooldown: 20m
    reason: { required: true, pattern: "^[A-Z]+-[0-9]+" }
    approval: { stages: [{ approvers: ["group:oncall", "group:leads"], quorum: 2 }] }
  slow:
    description: Others are asked when nobody answers
    methods: [${METHOD}]
    requesters: ["user:rita@test", "user:sam@test"]
    duration: { default: 10m, max: 20m }
    pending: 30m
    startWithin: 15m
    extend: { max: 40m, approval: same }
    cooldown: 5m
    approval:
      stages:
        - { approvers: ["user:ana@test"], quorum: 1, escalate: { after: 10m, to: ["group:leads"] } }
        - { approvers: ["user:cy@test"], quorum: 1, escalate: { after: 5m, to: ["user:ana@test", "user:bo@test"] } }
  migrate:
    description: One exact request
    methods: [${MIGRATE}, ${PAYOUT}]
    requesters: ["user:sam@test"]
    duration: { default: 10m, max: 10m }
    pending: 30m
    startWithin: 15m
    extend: { max: 10m, approval: never }
    approval: { stages: [{ approvers: ["user:ana@test"], quorum: 1 }] }
  office:
    description: In office hours
    methods: [${PAYOUT}]
    requesters: ["user:olga@test"]
    duration: { default: 10m, max: 10m }
    pending: 30m
    startWithin: 15m
    extend: { max: 10m, approval: never }
    schedule: { days: [mon, tue, wed, thu, fri], from: "08:00", to: "18:00", timezone: UTC }
    approval: { stages: [{ approvers: ["user:ana@test"], quorum: 1 }] }
  glass:
    description: Emergencies
    methods: [${PAYOUT}]
    requesters: ["user:sam@test", "user:sre@test"]
    duration: { default: 10m, max: 10m }
    breakGlass: { notify: ["group:leads"], reviewWithin: 24h }
`;

/** Compiles, and says what is wrong where the policy is not. */
export function compiled(text: string): CompiledPolicy {
  const { policy, findings } = loadPolicy(text);
  if (!policy) throw new Error(findings.map((finding) => `${finding.line}: ${finding.rule}: ${finding.message}`).join("\n"));
  return policy;
}

type Kind = Exclude<Command["kind"], "request" | "policy" | "tick" | "grant">;

const SCHEMAS = {
  approve: ElevationServiceApproveRequestSchema,
  deny: ElevationServiceDenyRequestSchema,
  withdraw: ElevationServiceWithdrawRequestSchema,
  start: ElevationServiceStartRequestSchema,
  extend: ElevationServiceExtendRequestSchema,
  end: ElevationServiceEndRequestSchema,
  revoke: ElevationServiceRevokeRequestSchema,
  review: ElevationServiceReviewRequestSchema,
} as const;

/** One audience, its people, its entries. */
export class World {
  nowMs = START;
  policy: CompiledPolicy;
  policyVersion = 1n;
  readonly entries: LogEntry[] = [];
  readonly states = new Map<string, Elevation>();
  /** Who has a call parked. */
  readonly waiting = new Set<string>();
  /** Groups that claims give to people. */
  readonly claimed = new Map<string, readonly string[]>();
  /** On whose behalf. */
  readonly initiators = new Map<string, string>();
  readonly #names = new Map<string, string>();
  readonly #texts = new Map<string, Uint8Array>();
  #salts = 0;

  constructor(policy: string | CompiledPolicy = POLICY) {
    this.policy = typeof policy === "string" ? compiled(policy) : policy;
  }

  facts(name: string): PrincipalFacts {
    const kind = name.startsWith("user:") ? "user" : name.startsWith("ci:") ? "ci" : "workload";
    const groups = new Set([...(this.policy.memberships.get(name) ?? []), ...(this.claimed.get(name) ?? [])]);
    const initiator = this.initiators.get(name);
    return { name, kind, groups, claims: {}, ...(initiator === undefined ? {} : { initiator }) };
  }

  idOf(name: string): string {
    const id = `prn_${name}`;
    this.#names.set(id, name);
    return id;
  }

  state(id: string): Elevation {
    const state = this.states.get(id);
    if (!state) throw new Error(`no ${id}`);
    return state;
  }

  /** Asks, as `who`; the outcome's state has the id. */
  request(who: string, init: MessageInitShape<typeof ElevationServiceRequestRequestSchema> = {}): Outcome {
    const message = create(ElevationServiceRequestRequestSchema, { audience: AUDIENCE, method: METHOD, requestId: "request-1", ...init });
    const facts = this.facts(who);
    const entitlement = entitlementAsked(message, this.policy, facts) ?? "";
    const initiator = facts.initiator === undefined ? "" : this.idOf(facts.initiator);
    const same = [...this.states.values()].filter((state) => state.requester?.id === this.idOf(who) && state.entitlement === entitlement);
    const background: Background = {
      initiator,
      open: same.map((state) => this.#question(state)),
      live: [...this.states.values()].filter((state) => state.requester?.id === this.idOf(who) && !isFinal(state)),
      denied: same.filter((state) => state.state === ElevationState.DENIED),
      unreviewed: same.filter((state) => state.breakGlass && !state.reviewTime),
    };
    const id = `elv_${this.states.size + 1}`;
    const context = { ...this.#context(who), callerWaiting: message.waiting };
    return this.#append(decide({ kind: "request", id, message, background }, undefined, context), id, who);
  }

  /** Does something to an elevation, as `who`. */
  run(kind: Kind, who: string, id: string, init: Record<string, unknown> = {}): Outcome {
    const message: unknown = create(SCHEMAS[kind], { id, requestId: "request-1", ...init });
    return this.command({ kind, message } as Command, who, id);
  }

  command(command: Command, who: string, id: string): Outcome {
    const state = this.state(id);
    const seen = "message" in command && "seenRevision" in command.message ? command.message.seenRevision : 0n;
    const changes = this.entries.filter((entry) => entry.elevation === id && entry.revision > seen && changesTerms(entry));
    const asked = this.#question(state).asked;
    const context: Context = {
      ...this.#context(who),
      callerWaiting: this.waiting.has(id),
      termsRevision: seen === 0n ? state.revision : (changes.at(-1)?.revision ?? seen),
      extendMaxMs: asked.extendMax ? durationMs(asked.extendMax) : 0,
      payloadDigest: this.#opened(state.payloadDigest?.commitment),
    };
    return this.#append(decide(command, state, context), id, who);
  }

  /** Lets time pass and writes what it brought about. */
  pass(ms: number): void {
    this.nowMs += ms;
    for (const id of this.states.keys()) this.command({ kind: "tick" }, "", id);
  }

  /** Makes another policy current, as the write that applies it does. */
  apply(text: string): void {
    const previous = this.policy;
    this.policy = compiled(text);
    this.policyVersion += 1n;
    for (const id of this.states.keys()) this.command({ kind: "policy", previous }, "", id);
  }

  /** Events of an elevation, by name. */
  events(id: string): string[] {
    return this.entries.filter((entry) => entry.elevation === id).map((entry) => entry.event.case ?? "");
  }

  text(committed: Uint8Array | undefined): string | undefined {
    const opened = this.#opened(committed);
    return opened && Buffer.from(opened).toString();
  }

  /** Forgets what a commitment opens to. */
  erase(committed: Uint8Array): void {
    this.#texts.delete(hex(committed));
  }

  #opened(committed: Uint8Array | undefined): Uint8Array | undefined {
    return committed && this.#texts.get(hex(committed));
  }

  #context(who: string): Context {
    return {
      nowMs: this.nowMs,
      revision: BigInt(this.entries.length),
      seal: (value) => {
        this.#salts += 1;
        const salt = new Uint8Array(32).fill(this.#salts % 256).fill(Math.floor(this.#salts / 256), 16);
        const sealed = commitment(salt, typeof value === "string" ? Buffer.from(value) : value);
        this.#texts.set(hex(sealed), Buffer.from(value));
        return create(SealedSchema, { commitment: sealed });
      },
      policy: this.policy,
      policyVersion: this.policyVersion,
      actor: who === "" ? undefined : { id: this.idOf(who), facts: this.facts(who) },
      callerWaiting: false,
      nameOf: (id) => this.#names.get(id),
      termsRevision: 0n,
      extendMaxMs: 0,
      payloadDigest: undefined,
    };
  }

  #question(state: Elevation): Background["open"][number] {
    const first = this.entries.find((entry) => entry.elevation === state.id);
    if (first?.event.case !== "elevationRequested") throw new Error(`${state.id} has no beginning`);
    const asked = first.event.value;
    return {
      state,
      asked,
      reason: asked.reason ? this.text(asked.reason.commitment) : "",
      run: asked.run ? this.text(asked.run.commitment) : "",
      payloadDigest: asked.payloadDigest ? this.#opened(asked.payloadDigest.commitment) : new Uint8Array(),
    };
  }

  #append(outcome: Outcome, fresh: string, who: string): Outcome {
    const id = outcome.state?.id ?? fresh;
    const put = (event: LogEntry["event"], actor: string) => {
      const revision = BigInt(this.entries.length + 1);
      const entry = create(LogEntrySchema, {
        revision,
        time: timestampFromMs(this.nowMs),
        audience: AUDIENCE,
        actor,
        elevation: id,
        event,
      });
      this.entries.push(entry);
      this.states.set(id, evolve(this.states.get(id), entry));
    };
    for (const event of outcome.due) put(event, "");
    if (outcome.ok) for (const event of outcome.events) put(event, who === "" ? "" : this.idOf(who));
    return outcome;
  }
}

/** The reason of a refusal; "" where there is none. */
export function reasonOf(outcome: Outcome): ReasonName | "" {
  return outcome.ok ? "" : outcome.denial.reason;
}

/** The elevation's id; throws where it was refused. */
export function opened(outcome: Outcome): string {
  if (!outcome.ok) throw new Error(`${outcome.denial.reason}: ${outcome.denial.message}`);
  return outcome.state?.id ?? "";
}

/** A span for messages. */
export const minutes = (count: number) => durationFromMs(count * MINUTE);
