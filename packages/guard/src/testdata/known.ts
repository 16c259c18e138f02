// What a guard knows, made directly: for tests of the core without any network. Time is a number that tests move.
import { loadPolicy } from "@brevet/policy";
import { keysOfJwks } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { createLocalJWKSet, type JSONWebKeySet } from "jose";
import type { GuardDecision, GuardedCall } from "../core/call.ts";
import { Decider, type Used } from "../core/decide.ts";
import { Knowledge } from "../core/knowledge.ts";
import {
  AUDIENCE,
  DESCRIPTORS,
  type ElevationFields,
  EPOCH,
  elevationOf,
  GRANT_ISSUER,
  grantOf,
  ISSUER,
  jwksOf,
  POLICY,
  type TestKeys,
  tokenOf,
} from "./facts.ts";

/** About noon of some day; tokens have whole seconds. */
export const NOON = Date.parse("2026-03-01T12:00:00.500Z");

/** A decider and what it knows, at a time of its own. */
export class Known {
  readonly keys: TestKeys;
  readonly knowledge = new Knowledge(AUDIENCE);
  readonly decider: Decider;
  errorMs = 2;
  revision = 10n;
  /** While the clock is in doubt. */
  settling: Promise<void> | undefined;
  /** Answers first uses. */
  use: (id: string, digest?: Uint8Array) => Promise<Used> = () =>
    Promise.resolve({ ok: false, reason: "AUTHORITY_UNREACHABLE", problem: "nobody there" });

  readonly #clock: { monotonicMs(): number } | undefined;
  #startMs = NOON;

  /** `clock`: moves the authority's time on. */
  constructor(keys: TestKeys, policy: string = POLICY, clock?: { monotonicMs(): number }) {
    this.keys = keys;
    this.#clock = clock;
    this.decider = new Decider({
      authorityAudience: "brevet",
      now: () => ({ authorityMs: this.nowMs, errorMs: this.errorMs }),
      settling: () => this.settling,
      use: (id, digest) => this.use(id, digest),
    });
    this.knowledge.setAuthority({ issuer: GRANT_ISSUER, publicUrl: "https://brevet.test" });
    this.applyPolicy(policy);
    this.setKeys();
    this.heard();
    this.decider.adopt(this.knowledge);
  }

  get nowMs(): number {
    return this.#startMs + (this.#clock?.monotonicMs() ?? 0);
  }

  set nowMs(ms: number) {
    this.#startMs = ms - (this.#clock?.monotonicMs() ?? 0);
  }

  applyPolicy(text: string, version = 1n): void {
    const { policy, findings } = loadPolicy(text, { descriptors: DESCRIPTORS });
    if (policy === undefined) throw new Error(findings.map(({ line, message }) => `${line}: ${message}`).join("\n"));
    this.knowledge.setPolicy({ compiled: policy, version });
  }

  setKeys(jwks: string | undefined = this.keys.peopleJwks, grants = [this.keys.grants]): void {
    const keys = jwks === "" ? undefined : createLocalJWKSet(JSON.parse(jwks) as JSONWebKeySet);
    this.knowledge.setKeys({
      grants: keysOfJwks(jwksOf(grants)),
      issuers: new Map([[ISSUER, { issuer: ISSUER, development: true, fetchedMs: 0, keys }]]),
    });
  }

  /** The authority was heard of just now. */
  heard(): void {
    this.knowledge.heard(this.nowMs, { epoch: EPOCH, revision: this.revision });
  }

  /** An elevation that the guard knows of. */
  elevate(fields: ElevationFields = {}): Elevation {
    const elevation = this.make(fields);
    this.knowledge.setElevation(elevation);
    this.heard();
    return elevation;
  }

  /** One that it does not know of. */
  make(fields: ElevationFields = {}): Elevation {
    this.revision += 1n;
    return elevationOf(fields, this.nowMs, this.revision);
  }

  async as(...args: Parameters<typeof tokenOf> extends [unknown, unknown, ...infer Rest] ? Rest : never): Promise<string> {
    return `Bearer ${await tokenOf(this.keys, this.nowMs, ...args)}`;
  }

  grant(elevation: Elevation, claims: Parameters<typeof grantOf>[3] = {}): string {
    return grantOf(this.keys, this.nowMs, elevation, claims);
  }

  /** Decides one call of a method of the ledger. */
  async decide(method: string, call: Partial<GuardedCall> = {}): Promise<GuardDecision> {
    return this.decider.decide({
      method: `test.v1.Ledger/${method}`,
      requestStream: false,
      authorization: [],
      grants: [],
      peer: "10.0.0.1",
      ...call,
    });
  }

  /** The reason of its refusal, or "permit", or "request". */
  async outcome(method: string, call: Partial<GuardedCall> = {}): Promise<string> {
    const decision = await this.decide(method, call);
    return decision.kind === "refuse" ? decision.reason : decision.kind;
  }
}
