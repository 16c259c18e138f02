// Elevations on a real log in a directory of its own, with a clock that tests turn.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CompiledPolicy, loadPolicy, type PrincipalFacts } from "@brevet/policy";
import { type Clock, newId, type Timer } from "@brevet/protocol";
import { ElevationServiceRequestRequestSchema } from "@brevet/protocol/brevet/v1/elevation";
import { PolicyAppliedSchema } from "@brevet/protocol/brevet/v1/log";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Grants } from "../../issuer/grants.ts";
import { GrantKeys } from "../../issuer/keys.ts";
import { Log } from "../../log/log.ts";
import { openEmbeddedStore } from "../../store/embedded/embedded.ts";
import type { Answer, Caller } from "../caller.ts";
import { Elevations, type Requested } from "../elevations.ts";
import { evolve, nextDueMs } from "../evolve.ts";
import { narrowLive } from "../live.ts";
import { ReadableElevations } from "../readable.ts";
import { AUDIENCE, compiled, METHOD, POLICY, START } from "./world.ts";

export const ISSUER = "https://brevet.test";

/** A clock that stands still until it is turned. */
export class TestClock implements Clock {
  #nowMs = START;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();

  wallMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Turns the clock and fires what is due. */
  turn(ms: number): void {
    this.#nowMs += ms;
    for (const timer of Array.from(this.#timers)) {
      if (timer.atMs > this.#nowMs || !this.#timers.delete(timer)) continue;
      timer.callback();
    }
  }

  /** When the next timer fires. */
  nextMs(): number | undefined {
    return this.#timers.size === 0 ? undefined : Math.min(...[...this.#timers].map((timer) => timer.atMs));
  }
}

/** The part of an authority that these tests are about. */
export class TestAuthority implements AsyncDisposable {
  readonly clock: TestClock;
  readonly log: Log;
  readonly elevations: Elevations;
  readonly readable: ReadableElevations;
  readonly grants: Grants;
  readonly waiting = new Set<string>();
  readonly claimed = new Map<string, readonly string[]>();
  /** Whom no policy knows. */
  readonly strangers = new Set<string>();
  /** Policies of other audiences, not in the log. */
  readonly others = new Map<string, { policy: CompiledPolicy; version: bigint }>();
  /** The compiled policy; a test may let it lag behind the stored one. */
  readonly policies: {
    policy: CompiledPolicy;
    version: bigint;
    current(audience: string): { policy: CompiledPolicy; version: bigint } | undefined;
    audiences(): readonly string[];
  };
  #requests = 0;

  private constructor(log: Log, clock: TestClock, version: bigint) {
    this.log = log;
    this.clock = clock;
    const { others } = this;
    this.policies = {
      policy: compiled(POLICY),
      version,
      current(audience) {
        return audience === AUDIENCE ? { policy: this.policy, version: this.version } : others.get(audience);
      },
      audiences: () => [AUDIENCE, ...this.others.keys()],
    };
    this.grants = new Grants({ issuer: ISSUER, keys: new GrantKeys(log.store, clock) });
    const { policies, grants } = this;
    this.elevations = new Elevations({ log, policies, newId, clock, grants, isWaiting: (id) => this.waiting.has(id) });
    this.readable = new ReadableElevations({ view: log.store, policies });
  }

  static async start(directory: string, clock = new TestClock()): Promise<TestAuthority> {
    const log = await Log.open({ store: await openEmbeddedStore(directory, { clock }), newId, fold: { evolve, nextDueMs } });
    const stored = await log.store.policy(AUDIENCE);
    const authority = new TestAuthority(log, clock, stored?.version ?? 0n);
    if (!stored) await authority.apply(POLICY);
    return authority;
  }

  /** Applies a policy, in the log and against what is live. */
  async apply(text: string): Promise<void> {
    const { policy, findings } = loadPolicy(text);
    if (!policy) throw new Error(findings.map((finding) => finding.message).join("\n"));
    const version = this.policies.version + 1n;
    await this.log.write(async (tx) => {
      const value = create(PolicyAppliedSchema, { version, document: tx.seal(text) });
      tx.append({ audience: AUDIENCE, actor: "", requestId: "", elevation: "", event: { case: "policyApplied", value } });
      await narrowLive(tx, { audience: AUDIENCE, previous: this.policies.policy, next: { policy, version } });
    });
    this.policies.policy = policy;
    this.policies.version = version;
  }

  /** Somebody with this name in the one audience. */
  caller(name: string): Caller {
    return {
      principalFor: (audience): PrincipalFacts | undefined => {
        if ((audience !== AUDIENCE && !this.others.has(audience)) || this.strangers.has(name)) return undefined;
        const groups = new Set([...(this.policies.policy.memberships.get(name) ?? []), ...(this.claimed.get(name) ?? [])]);
        const kind = name.startsWith("user:") ? "user" : name.startsWith("ci:") ? "ci" : "workload";
        return { name, kind, groups, claims: {} };
      },
    };
  }

  /** A fresh idempotency id. */
  requestId(): string {
    this.#requests += 1;
    return `request-${this.#requests}`;
  }

  async request(who: string, init: MessageInitShape<typeof ElevationServiceRequestRequestSchema> = {}): Promise<Answer<Requested>> {
    const defaults = { audience: AUDIENCE, method: METHOD, entitlement: "refund", requestId: this.requestId() };
    return this.elevations.request(this.caller(who), create(ElevationServiceRequestRequestSchema, { ...defaults, ...init }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.log[Symbol.asyncDispose]();
  }
}

/** Runs with a directory that is removed afterwards. */
export async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "brevet-elevations-"));
  try {
    await run(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The value of an answer; throws what it was refused with. */
export function granted<T>(answer: Answer<T>): T {
  if (!answer.ok) throw new Error(`${answer.denial.reason}: ${answer.denial.message}`);
  return answer.value;
}
