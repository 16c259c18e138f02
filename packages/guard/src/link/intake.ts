// What the authority sends, applied to what the guard knows. A whole new state is built aside and handed over complete.
// Never talks: the link does.
import { createHash } from "node:crypto";
import { loadPolicy } from "@brevet/policy";
import { keysOfJwks } from "@brevet/protocol";
import { type LogPosition, LogPositionSchema } from "@brevet/protocol/brevet/v1/elevation";
import {
  CaughtUpSchema,
  type GuardServiceSyncResponse,
  GuardServiceSyncResponseSchema,
  GuardWelcomeSchema,
  type KeySet,
} from "@brevet/protocol/brevet/v1/guard";
import { type PolicyVersion, Severity } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { createLocalJWKSet, type JSONWebKeySet } from "jose";
import { Knowledge, type KnownIssuer, type KnownKeys, type KnownPolicy } from "../core/knowledge.ts";
import type { GuardLogger } from "../log/logger.ts";
import type { WholeState } from "../state/state.ts";
import { HeldCheckpoint, RefusedLog } from "./checkpoint.ts";

/** What an intake is made with. */
export interface IntakeOptions {
  readonly audience: string;
  readonly authorityAudience: string;
  readonly logger: GuardLogger;
  /** The state is complete: decide by it from now on. Not called before a policy came. */
  readonly complete: (knowledge: Knowledge) => void;
  /** The state that is decided by changed by this. */
  readonly onChange: (change: GuardServiceSyncResponse) => void;
}

/** A state, and the messages that it is kept as. */
interface Filled {
  readonly knowledge: Knowledge;
  policy?: PolicyVersion;
  keys?: KeySet;
}

/** Takes in one stream after the other. */
export class Intake {
  readonly checkpoint = new HeldCheckpoint();
  readonly #options: IntakeOptions;
  #current: Filled | undefined;
  #filling: Filled | undefined;
  /** Of a resumed stream: nothing counts before it shows that its log goes on from the one that is known. */
  #held: GuardServiceSyncResponse[] | undefined;
  #keysText = "";
  #keys: KnownKeys | undefined;
  #policyDigest = "";
  #policy: KnownPolicy | undefined;
  #caughtUp = false;
  #restoring = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** The complete state, once there was one. */
  get current(): Knowledge | undefined {
    return this.#current?.knowledge;
  }

  /** Applies one message; answers whether the stream has caught up with it. @throws RefusedLog where the log is no successor of what is known. */
  apply(message: GuardServiceSyncResponse): boolean {
    const { message: body, position } = message;
    if (body.case === "welcome") {
      this.#caughtUp = false;
      this.#filling = undefined;
      this.#held = body.value.resumed && this.#current !== undefined ? [] : undefined;
      const { current } = this;
      if (this.#held === undefined && current !== undefined && position?.epoch === current.epoch)
        throw new RefusedLog(`its epoch is that of what this guard knows, and it does not have entry ${current.revision} of it`);
    }
    const caughtUp = body.case === "caughtUp";
    if (caughtUp) this.#verify(body.value.checkpoint, position?.epoch ?? "");
    if (this.#held === undefined) this.#take(message);
    else {
      this.#held.push(message);
      if (!caughtUp) return false;
      const held = this.#held;
      this.#held = undefined;
      for (const each of held) this.#take(each);
    }
    return caughtUp;
  }

  /** Goes on from what was kept over a restart. */
  restore(messages: readonly GuardServiceSyncResponse[], pin: string): void {
    this.#restoring = true;
    for (const message of messages) this.#take(message);
    this.#restoring = false;
    this.checkpoint.restore(this.checkpoint.note, pin);
    const { current } = this;
    if (current !== undefined && (current.policy ?? current.policyProblem) !== undefined) this.#options.complete(current);
  }

  /** All that is known, to be kept. Undefined while nothing is complete. */
  whole(): WholeState | undefined {
    const { current } = this;
    const { policy, keys } = this.#current ?? {};
    if (current === undefined || policy === undefined || keys === undefined) return undefined;
    const { grantIssuer: issuer, publicUrl } = current;
    const message = (body: GuardServiceSyncResponse["message"]) => create(GuardServiceSyncResponseSchema, { message: body });
    return {
      head: [
        message({ case: "welcome", value: create(GuardWelcomeSchema, { issuer, publicUrl }) }),
        message({ case: "policy", value: policy }),
        message({ case: "keys", value: keys }),
      ],
      elevations: () => current.elevations(),
      tail: create(GuardServiceSyncResponseSchema, {
        ...heardOf(current),
        message: { case: "caughtUp", value: create(CaughtUpSchema, { checkpoint: this.checkpoint.note }) },
      }),
    };
  }

  /** How far the log was heard, and when. */
  heard(): GuardServiceSyncResponse | undefined {
    return this.current && create(GuardServiceSyncResponseSchema, heardOf(this.current));
  }

  #verify(note: string, epoch: string): void {
    const { current } = this;
    const problem = this.checkpoint.problemOf(note, epoch, current);
    if (problem !== undefined) throw new RefusedLog(problem);
    if (current !== undefined && current.epoch !== epoch)
      this.#options.logger.error(
        { epoch, before: current.epoch, revision: String(current.revision) },
        "the authority's log has another epoch: all that was known of the one before is forgotten; unless it was restored, find out why",
      );
  }

  #take(message: GuardServiceSyncResponse): void {
    const { message: body, time, position } = message;
    if (body.case === "welcome") {
      const resumed = body.value.resumed && this.#current !== undefined;
      this.#filling = resumed ? this.#current : { knowledge: new Knowledge(this.#options.audience) };
      this.#caughtUp = false;
      this.#filling?.knowledge.setAuthority({ issuer: body.value.issuer, publicUrl: body.value.publicUrl });
    }
    const filling = this.#filling;
    if (filling === undefined) return;
    const { knowledge } = filling;
    const replaces = body.case === "caughtUp" && this.#current !== filling;
    const changes = this.#change(filling, body);
    // While it catches up, the state is as old as before, whenever its parts are sent.
    knowledge.heard(time !== undefined && this.#caughtUp ? timestampMs(time) : 0, position);
    if (this.#restoring || this.#current !== filling) return;
    if (changes && !replaces)
      this.#options.onChange(
        create(GuardServiceSyncResponseSchema, { message: body, ...(position && { position: positionOf(knowledge) }) }),
      );
    if ((knowledge.policy ?? knowledge.policyProblem) !== undefined) this.#options.complete(knowledge);
  }

  /** Whether it was news. */
  #change(filling: Filled, body: GuardServiceSyncResponse["message"]): boolean {
    const { knowledge } = filling;
    switch (body.case) {
      case "policy":
        if (body.value.shadow) return false;
        filling.policy = body.value;
        this.#applyPolicy(knowledge, body.value);
        return true;
      case "keys":
        filling.keys = body.value;
        return this.#applyKeys(knowledge, body.value);
      case "elevation":
        return knowledge.setElevation(body.value);
      case "caughtUp":
        this.checkpoint.hold(body.value.checkpoint);
        this.#current = filling;
        this.#caughtUp = true;
        return true;
      default:
        return false;
    }
  }

  #applyPolicy(knowledge: Knowledge, version: PolicyVersion): void {
    const digest = digestOf(version);
    // A reconnect sends what is known: compiling again would drop every cache that hangs on it.
    if (this.#policy === undefined || this.#policyDigest !== digest || this.#policy.version !== version.version) {
      const compiled = this.#compile(version);
      if (typeof compiled === "string") {
        this.#policy = undefined;
        this.#options.logger.error(
          { audience: version.audience, policyVersion: String(version.version), problem: compiled },
          "this guard cannot enforce the policy, and refuses everything: update the guard, or apply a policy that it can read",
        );
        return knowledge.setPolicyProblem(compiled);
      }
      this.#policy = { compiled, version: version.version };
      this.#policyDigest = digest;
    }
    knowledge.setPolicy(this.#policy);
  }

  #compile(version: PolicyVersion): KnownPolicy["compiled"] | string {
    const { audience, authorityAudience } = this.#options;
    const { policy, findings } = loadPolicy(version.document, { descriptors: version.descriptors, authorityAudience });
    if (policy === undefined) {
      const worst = findings.find(({ severity }) => severity === Severity.ERROR);
      return `the policy does not pass this guard's check: ${worst?.line ?? 0}:${worst?.column ?? 0} ${worst?.message ?? "unknown"}`;
    }
    return policy.audience === audience ? policy : `the policy is for ${policy.audience}, and this guard for ${audience}`;
  }

  #applyKeys(knowledge: Knowledge, set: KeySet): boolean {
    const text = JSON.stringify([set.grantJwks, set.issuers.map(({ issuer, jwks, development }) => [issuer, jwks, development])]);
    const news = this.#keys === undefined || text !== this.#keysText;
    if (this.#keys === undefined || news) {
      const issuers = set.issuers.map(({ issuer, jwks, development, fetchTime }): [string, KnownIssuer] => [
        issuer,
        { issuer, development, keys: this.#jwks(issuer, jwks), fetchedMs: fetchTime === undefined ? 0 : timestampMs(fetchTime) },
      ]);
      this.#keys = { grants: this.#grantKeys(set.grantJwks), issuers: new Map(issuers) };
      this.#keysText = text;
    }
    knowledge.setKeys(this.#keys);
    return news;
  }

  #grantKeys(jwks: string): KnownKeys["grants"] {
    try {
      return jwks === "" ? new Map() : keysOfJwks(jwks);
    } catch (error) {
      this.#options.logger.error(
        { problem: String(error) },
        "the authority's grant keys cannot be read: no grant counts until it sends others",
      );
      return new Map();
    }
  }

  #jwks(issuer: string, jwks: string): KnownIssuer["keys"] {
    if (jwks === "") return undefined;
    try {
      return createLocalJWKSet(JSON.parse(jwks) as JSONWebKeySet);
    } catch (error) {
      this.#options.logger.error(
        { issuer, problem: String(error) },
        "the issuer's keys cannot be read: its tokens are refused until others come",
      );
      return undefined;
    }
  }
}

function positionOf({ epoch, revision }: Knowledge): LogPosition {
  return create(LogPositionSchema, { epoch, revision });
}

function heardOf(knowledge: Knowledge): { position: LogPosition; time: Timestamp } {
  return { position: positionOf(knowledge), time: timestampFromMs(Math.floor(knowledge.heardMs)) };
}

function digestOf(version: PolicyVersion): string {
  return createHash("sha256").update(version.document).update("\0").update(version.descriptors).digest("hex");
}
