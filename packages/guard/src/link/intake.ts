// What the authority sends, applied to what the guard knows. A whole new state is built aside and handed over complete.
// Never talks: the link does.
import { createHash } from "node:crypto";
import { loadPolicy } from "@brevet/policy";
import { keysOfJwks } from "@brevet/protocol";
import { type GuardServiceSyncResponse, type KeySet } from "@brevet/protocol/brevet/v1/guard";
import { type PolicyVersion, Severity } from "@brevet/protocol/brevet/v1/policy";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { createLocalJWKSet, type JSONWebKeySet } from "jose";
import { Knowledge, type KnownIssuer, type KnownKeys, type KnownPolicy } from "../core/knowledge.ts";
import type { GuardLogger } from "../log/logger.ts";

/** What an intake is made with. */
export interface IntakeOptions {
  readonly audience: string;
  readonly authorityAudience: string;
  readonly logger: GuardLogger;
  /** The state is complete: decide by it from now on. Not called before a policy came. */
  readonly complete: (knowledge: Knowledge) => void;
}

/** Takes in one stream after the other. */
export class Intake {
  readonly #options: IntakeOptions;
  #current: Knowledge | undefined;
  #filling: Knowledge | undefined;
  #keysText = "";
  #keys: KnownKeys | undefined;
  #policyDigest = "";
  #policy: KnownPolicy | undefined;
  #checkpoint = "";
  #caughtUp = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** The complete state, once there was one. */
  get current(): Knowledge | undefined {
    return this.#current;
  }

  /** The newest checkpoint, a signed note; empty before the first. */
  get checkpoint(): string {
    return this.#checkpoint;
  }

  /** Applies one message. */
  apply(message: GuardServiceSyncResponse): void {
    const { message: body, time, position } = message;
    if (body.case === "welcome") {
      const resumed = body.value.resumed && this.#current !== undefined;
      this.#filling = resumed ? this.#current : new Knowledge(this.#options.audience);
      this.#caughtUp = false;
      this.#filling?.setAuthority({ issuer: body.value.issuer, publicUrl: body.value.publicUrl });
    }
    const knowledge = this.#filling;
    if (knowledge === undefined) return;
    if (body.case === "policy") this.#applyPolicy(knowledge, body.value);
    else if (body.case === "keys") this.#applyKeys(knowledge, body.value);
    else if (body.case === "elevation") knowledge.setElevation(body.value);
    else if (body.case === "caughtUp") {
      if (body.value.checkpoint !== "") this.#checkpoint = body.value.checkpoint;
      this.#current = knowledge;
      this.#caughtUp = true;
    }
    // While it catches up, the state is as old as before, whenever its parts are sent.
    if (time !== undefined) knowledge.heard(this.#caughtUp ? timestampMs(time) : 0, position);
    if (this.#current === knowledge && (knowledge.policy ?? knowledge.policyProblem) !== undefined) this.#options.complete(knowledge);
  }

  #applyPolicy(knowledge: Knowledge, version: PolicyVersion): void {
    if (version.shadow) return;
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

  #applyKeys(knowledge: Knowledge, set: KeySet): void {
    const text = JSON.stringify([set.grantJwks, set.issuers.map(({ issuer, jwks, development }) => [issuer, jwks, development])]);
    if (this.#keys === undefined || text !== this.#keysText) {
      const issuers = set.issuers.map(({ issuer, jwks, development }): [string, KnownIssuer] => [
        issuer,
        { issuer, development, keys: this.#jwks(issuer, jwks) },
      ]);
      this.#keys = { grants: this.#grantKeys(set.grantJwks), issuers: new Map(issuers) };
      this.#keysText = text;
    }
    knowledge.setKeys(this.#keys);
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

function digestOf(version: PolicyVersion): string {
  return createHash("sha256").update(version.document).update("\0").update(version.descriptors).digest("hex");
}
