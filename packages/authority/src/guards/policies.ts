// The policy of every audience, compiled, as the log has it: what rules decide with and guards are sent. Seeds an empty log from files.
// Never changes a policy that the log has: a file that differs later is reported, and a restart rolls nothing back.
import { createHash } from "node:crypto";
import { type CompiledPolicy, loadPolicy } from "@brevet/policy";
import { PolicyAppliedSchema } from "@brevet/protocol/brevet/v1/log";
import { type Finding, SeveritySchema } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import type { CurrentPolicies, VersionedPolicy } from "../elevation/policies.ts";
import type { PoliciesInForce } from "../identity/identity.ts";
import type { Log } from "../log/log.ts";
import type { StoredPolicy, View } from "../store/store.ts";

/** A policy document as a file has it. */
export interface PolicyFile {
  /** Name for messages. */
  readonly file: string;
  readonly text: string;
  /** Serialized FileDescriptorSet. */
  readonly descriptors?: Uint8Array;
}

/** The texts of a version. */
export interface PolicyTexts {
  readonly document: string;
  /** Empty: none. */
  readonly descriptors: Uint8Array;
  /** SHA-256 of the document. */
  readonly digest: Uint8Array;
}

/** What {@link PolicyBook} stands on. */
export interface PolicyBookOptions {
  readonly log: Log;
  /** The authority's own audience, which no policy may use. */
  readonly authorityAudience: string;
  readonly logger: Logger;
}

/** Follows the log until disposed. */
export class PolicyBook implements CurrentPolicies, PoliciesInForce, Disposable {
  readonly #options: PolicyBookOptions;
  readonly #current = new Map<string, VersionedPolicy>();
  readonly #listeners = new Set<() => void>();
  readonly #subscription: Disposable;
  #all: readonly CompiledPolicy[] = [];
  #loading: Promise<void> = Promise.resolve();

  private constructor(options: PolicyBookOptions) {
    this.#options = options;
    this.#subscription = options.log.subscribe((changes) => {
      for (const { policy } of changes) {
        if (policy && !policy.shadow) this.#loading = this.#loading.then(() => this.#load(policy));
      }
    });
  }

  /** Compiles the current policies of the log, seeding an empty one. @throws Error that names the findings of a file that cannot be a policy. */
  static async open(options: PolicyBookOptions, files: readonly PolicyFile[] = []): Promise<PolicyBook> {
    const book = new PolicyBook(options);
    try {
      for (const stored of await options.log.store.policies()) await book.#load(stored);
      await book.#seed(files);
      await book.#loading;
      return book;
    } catch (error) {
      book[Symbol.dispose]();
      throw error;
    }
  }

  current(audience: string): VersionedPolicy | undefined {
    return this.#current.get(audience);
  }

  audiences(): readonly string[] {
    return [...this.#current.keys()];
  }

  policies(): readonly CompiledPolicy[] {
    return this.#all;
  }

  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** The texts of a stored version, and the document's digest; undefined once erased. */
  texts(stored: StoredPolicy): Promise<PolicyTexts | undefined> {
    return policyTexts(this.#options.log.store, stored);
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }

  async #load(stored: StoredPolicy): Promise<void> {
    const { logger, authorityAudience } = this.#options;
    const { audience, version } = stored;
    try {
      const known = this.#current.get(audience);
      if (known && known.version >= version) return;
      const texts = await this.texts(stored);
      if (texts === undefined)
        return logger.error({ audience, version: `${version}` }, "the policy's text is gone: nothing can be decided there");
      const { policy, findings } = load({ file: audience, text: texts.document, descriptors: texts.descriptors }, authorityAudience);
      if (policy === undefined)
        return logger.error(
          { audience, version: `${version}`, findings: shown(findings) },
          "the policy does not pass this version's check: nothing can be decided there",
        );
      this.#current.set(audience, { policy, version });
      this.#all = [...this.#current.values()].map((each) => each.policy);
      for (const listener of this.#listeners) listener();
    } catch (error) {
      logger.error({ audience, version: `${version}`, err: error }, "the policy could not be loaded");
    }
  }

  async #seed(files: readonly PolicyFile[]): Promise<void> {
    const { log, authorityAudience, logger } = this.#options;
    const stored = await log.store.policies();
    if (stored.length > 0) {
      const texts = await Promise.all(stored.map((policy) => this.texts(policy)));
      const audiences = stored.map(({ audience }) => audience).toSorted();
      for (const { file, text } of files) {
        if (texts.some((inForce) => inForce?.document === text)) continue;
        logger.warn(
          { file, audiences },
          "the file differs from the policy in force, which stays: files seed an empty log, changes are applied",
        );
      }
      return;
    }
    const seeds = files.map((file) => ({ ...file, policy: accepted(file, authorityAudience, logger) }));
    refuseOverlap(seeds);
    if (seeds.length === 0) return;
    await log.write(async (tx) => {
      // Another replica may have been first.
      if ((await tx.policies()).length > 0) return;
      for (const { text, descriptors, policy } of seeds) {
        const value = create(PolicyAppliedSchema, { version: 1n, document: tx.seal(text) });
        if (descriptors && descriptors.length > 0) value.descriptors = tx.seal(descriptors);
        tx.append({ audience: policy.audience, actor: "", requestId: "", elevation: "", event: { case: "policyApplied", value } });
      }
    });
    for (const { file, policy } of seeds) logger.info({ file, audience: policy.audience }, "the policy seeds the log");
  }
}

/** The texts of a stored version, from the openings; undefined where the document's was erased. */
async function policyTexts(view: Pick<View, "openings">, stored: StoredPolicy): Promise<PolicyTexts | undefined> {
  const openings = await view.openings([stored.document, ...(stored.descriptors ? [stored.descriptors] : [])]);
  const of = (commitment: Uint8Array) => openings.get(Buffer.from(commitment).toString("hex"));
  const document = of(stored.document);
  if (document === undefined) return undefined;
  const descriptors = stored.descriptors && of(stored.descriptors);
  const digest = createHash("sha256").update(document).digest();
  return { document: Buffer.from(document).toString("utf8"), digest, descriptors: descriptors ?? new Uint8Array() };
}

function load({ file, text, descriptors }: PolicyFile, authorityAudience: string): ReturnType<typeof loadPolicy> {
  return loadPolicy(text, { file, authorityAudience, ...(descriptors && descriptors.length > 0 ? { descriptors } : {}) });
}

function accepted(file: PolicyFile, authorityAudience: string, logger: Logger): CompiledPolicy {
  const { policy, findings } = load(file, authorityAudience);
  if (policy === undefined) {
    throw new Error(`POLICY_INVALID: ${file.file} does not pass its check; nothing was changed.\n${shown(findings).join("\n")}`);
  }
  for (const line of shown(findings)) logger.warn({ file: file.file }, line);
  return policy;
}

function refuseOverlap(seeds: readonly { readonly file: string; readonly policy: CompiledPolicy }[]): void {
  for (const [index, { file, policy }] of seeds.entries()) {
    for (const other of seeds.slice(0, index)) {
      if (other.policy.audience === policy.audience)
        throw new Error(`${other.file} and ${file} are both for the audience ${policy.audience}`);
    }
    for (const other of seeds) {
      if (other.policy === policy || !policy.issuers.some(({ audiences }) => audiences.includes(other.policy.audience))) continue;
      throw new Error(
        `${file} accepts tokens made for ${other.policy.audience}, the audience of ${other.file}: a service could use its callers' tokens at the other`,
      );
    }
  }
}

/** `FILE:LINE:COLUMN severity rule: message; fix`. */
function shown(findings: readonly Finding[]): string[] {
  return findings.map(({ file, line, column, severity, rule, message, fix }) => {
    const name = (SeveritySchema.value[severity]?.localName ?? "").toLowerCase();
    return `${file}:${line}:${column} ${name} ${rule}: ${message}${fix === "" ? "" : `; ${fix}`}`;
  });
}
