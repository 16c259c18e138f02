// What a guard knows of its audience: policy, keys, elevations, and how far the log and the authority's time have come.
// Owns the indexes that a decision looks things up in. Changed by the link only; never decides, never reads a clock.
import type { KeyObject } from "node:crypto";
import type { CompiledPolicy } from "@brevet/policy";
import { REMEMBER_ENDED_MS } from "@brevet/protocol";
import { type Elevation, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import type { createLocalJWKSet } from "jose";
import { leanElevation, Shared } from "./lean.ts";

/** A policy in force. */
export interface KnownPolicy {
  readonly compiled: CompiledPolicy;
  readonly version: bigint;
}

/** An issuer of identity tokens and its keys. */
export interface KnownIssuer {
  readonly issuer: string;
  /** Undefined while the issuer's keys could not be had. */
  readonly keys: ReturnType<typeof createLocalJWKSet> | undefined;
  /** When the authority fetched them, milliseconds since 1970; 0: not told. */
  readonly fetchedMs: number;
  /** The authority's development issuer: its tokens name principal and groups directly. */
  readonly development: boolean;
}

/** All keys, replaced together. */
export interface KnownKeys {
  /** The authority's Ed25519 keys, by thumbprint. */
  readonly grants: ReadonlyMap<string, KeyObject>;
  /** By `iss`. */
  readonly issuers: ReadonlyMap<string, KnownIssuer>;
}

/** The elevations of one principal. */
export interface KnownElevations {
  /** PENDING, SCHEDULED and ACTIVE ones: all that can permit. */
  readonly open: readonly Elevation[];
  /** Those that ended within 24 hours, for the exact reason of a refusal. */
  readonly ended: readonly Elevation[];
}

/** Told of changes, before anything else is done with them. */
export interface KnowledgeWatcher {
  /** An elevation is not what it was. */
  elevation(id: string): void;
  /** The policy or the keys are others. */
  terms(): void;
}

const NO_ELEVATIONS: readonly Elevation[] = [];
const NONE: KnownElevations = { open: NO_ELEVATIONS, ended: NO_ELEVATIONS };
const NO_KEYS: KnownKeys = { grants: new Map(), issuers: new Map() };

/** What a guard knows since its link last had to start afresh. The link fills a new one and swaps it in whole. */
export class Knowledge {
  readonly audience: string;
  #grantIssuer = "";
  #publicUrl = "";
  readonly #byName = new Map<string, KnownElevations>();
  readonly #byId = new Map<string, Elevation>();
  readonly #endedAtMs = new Map<string, number>();
  readonly #shared = new Shared();
  #policy: KnownPolicy | undefined;
  #policyProblem: string | undefined;
  #keys: KnownKeys = NO_KEYS;
  #epoch = "";
  #revision = 0n;
  #heardMs = 0;
  #watcher: KnowledgeWatcher | undefined;
  #changes = 0;

  constructor(audience: string) {
    this.audience = audience;
  }

  /** `iss` of the authority's grants. */
  get grantIssuer(): string {
    return this.#grantIssuer;
  }

  /** Origin of the authority's pages; empty: none. */
  get publicUrl(): string {
    return this.#publicUrl;
  }

  /** Undefined before the first one came, or while the newest cannot be enforced. */
  get policy(): KnownPolicy | undefined {
    return this.#policy;
  }

  /** Why the newest policy cannot be enforced by this guard; nothing is permitted then. Quotes the policy: never for callers. */
  get policyProblem(): string | undefined {
    return this.#policyProblem;
  }

  get keys(): KnownKeys {
    return this.#keys;
  }

  /** The log's epoch. */
  get epoch(): string {
    return this.#epoch;
  }

  /** All of the log up to here is known, as far as it concerns the audience. */
  get revision(): bigint {
    return this.#revision;
  }

  /** The authority's time when it sent the newest message: it has surely reached it. Milliseconds since 1970. */
  get heardMs(): number {
    return this.#heardMs;
  }

  /** Counts what a watcher is told of: while it stays, nothing but the time changes a decision. */
  get changes(): number {
    return this.#changes;
  }

  /** Elevations held. */
  get size(): number {
    return this.#byId.size;
  }

  /** All elevations held. */
  elevations(): Iterable<Elevation> {
    return this.#byId.values();
  }

  /** The elevations of a principal. */
  elevationsOf(name: string): KnownElevations {
    return this.#byName.get(name) ?? NONE;
  }

  /** One elevation, open or ended within 24 hours. */
  elevation(id: string): Elevation | undefined {
    return this.#byId.get(id);
  }

  /** A message came: sent at `sentMs` on the authority's clock, with the log at `position`. Nothing goes backwards. */
  heard(sentMs: number, position?: { readonly epoch: string; readonly revision: bigint }): void {
    if (sentMs > this.#heardMs) this.#heardMs = sentMs;
    if (position === undefined) return;
    if (position.epoch !== this.#epoch) {
      this.#epoch = position.epoch;
      this.#revision = position.revision;
    } else if (position.revision > this.#revision) this.#revision = position.revision;
  }

  setAuthority(authority: { readonly issuer: string; readonly publicUrl: string }): void {
    this.#grantIssuer = authority.issuer;
    this.#publicUrl = authority.publicUrl;
  }

  /** Who is told of changes from now on: one watcher, or nobody. */
  watch(watcher: KnowledgeWatcher | undefined): void {
    this.#watcher = watcher;
  }

  setPolicy(policy: KnownPolicy): void {
    const same = this.#policy === policy;
    this.#policy = policy;
    this.#policyProblem = undefined;
    if (!same) this.#terms();
  }

  /** The newest policy cannot be enforced: what the one before allowed may be forbidden now, so nothing is permitted. */
  setPolicyProblem(problem: string): void {
    this.#policy = undefined;
    this.#policyProblem = problem;
    this.#terms();
  }

  setKeys(keys: KnownKeys): void {
    const same = this.#keys === keys;
    this.#keys = keys;
    if (!same) this.#terms();
  }

  /** Takes over an elevation as it now is; answers whether it was news. One that is older than what is held changes nothing. */
  setElevation(elevation: Elevation): boolean {
    const changed = this.#set(elevation);
    if (changed) {
      this.#changes += 1;
      this.#watcher?.elevation(elevation.id);
    }
    return changed;
  }

  #terms(): void {
    this.#changes += 1;
    this.#watcher?.terms();
  }

  #set(elevation: Elevation): boolean {
    const name = elevation.requester?.name ?? "";
    const known = this.#byId.get(elevation.id);
    if (known !== undefined && known.revision > elevation.revision) return false;
    if (known !== undefined) this.#remove(known);
    // Without a name, erased or not told, it can be nobody's.
    if (name === "") return known !== undefined;
    const of = this.#byName.get(name) ?? NONE;
    const lean = leanElevation(elevation, this.#shared, (of.open[0] ?? of.ended[0])?.requester);
    this.#byId.set(lean.id, lean);
    // Lists that are replaced instead of grown: most have one entry, and spare room in each would cost more than that.
    if (isOpen(lean)) this.#byName.set(name, { open: [...of.open, lean], ended: of.ended });
    else {
      this.#byName.set(name, { open: of.open, ended: [...of.ended, lean] });
      this.#endedAtMs.set(lean.id, Number(lean.endTime?.seconds ?? 0n) * 1000);
    }
    return true;
  }

  /** Forgets what ended more than 24 hours before `nowMs`. */
  forgetEnded(nowMs: number): void {
    for (const [id, endedMs] of this.#endedAtMs) {
      const known = this.#byId.get(id);
      if (known === undefined || endedMs + REMEMBER_ENDED_MS >= nowMs) continue;
      this.#remove(known);
    }
  }

  #remove(elevation: Elevation): void {
    this.#byId.delete(elevation.id);
    this.#endedAtMs.delete(elevation.id);
    const name = elevation.requester?.name ?? "";
    const of = this.#byName.get(name);
    if (of === undefined) return;
    const open = without(of.open, elevation);
    const ended = without(of.ended, elevation);
    if (open.length + ended.length === 0) this.#byName.delete(name);
    else this.#byName.set(name, { open, ended });
  }
}

function without(list: readonly Elevation[], elevation: Elevation): readonly Elevation[] {
  if (!list.includes(elevation)) return list;
  return list.length === 1 ? NO_ELEVATIONS : list.filter((each) => each !== elevation);
}

/** Whether an elevation can still permit, now or later. */
export function isOpen(elevation: Elevation): boolean {
  const { state } = elevation;
  return state === ElevationState.PENDING || state === ElevationState.SCHEDULED || state === ElevationState.ACTIVE;
}
