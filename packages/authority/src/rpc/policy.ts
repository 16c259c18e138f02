// PolicyService on the wire: translates and nothing else. Apply, Rollback and Replay are not offered yet: UNIMPLEMENTED.
import { setImmediate as turn } from "node:timers/promises";
import { hasRole, loadPolicy } from "@brevet/policy";
import { PrincipalSchema } from "@brevet/protocol/brevet/v1/elevation";
import { type PolicyService, type PolicyVersion, PolicyVersionSchema } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { ReadableDecisions } from "../decisions/readable.ts";
import type { PolicyBook } from "../guards/policies.ts";
import type { AuthenticatedCaller } from "../identity/identity.ts";
import type { StoredPolicy, View } from "../store/store.ts";
import { Refused } from "../watch/refused.ts";
import { callerOf } from "./authentication.ts";
import { invalidField, valueOf } from "./status.ts";

const MAX_DOCUMENT_BYTES = 256 * 1024;
const MAX_DESCRIPTOR_BYTES = 8 * 1024 * 1024;
/** Of one request: document, descriptors and what is around them. */
export const MAX_POLICY_REQUEST_BYTES = MAX_DOCUMENT_BYTES + MAX_DESCRIPTOR_BYTES + 64 * 1024;
const PAGE = 100;
const LARGEST_PAGE = 1000;

/** What the service stands on. */
export interface PolicyRpcOptions {
  readonly view: View;
  readonly policies: PolicyBook;
  readonly decisions: ReadableDecisions;
  /** The authority's own audience. */
  readonly authorityAudience: string;
}

/** The methods that are offered. */
export function policyRpc(
  options: PolicyRpcOptions,
): Pick<ServiceImpl<typeof PolicyService>, "check" | "get" | "listVersions" | "explain" | "listDecisions"> {
  const { view, policies, decisions, authorityAudience } = options;
  /** Who has a check under way. */
  const checking = new Set<string>();
  return {
    async check({ document, descriptors, file }, context) {
      const caller = callerOf(context);
      demandAnyRole(caller, policies);
      if (Buffer.byteLength(document) > MAX_DOCUMENT_BYTES) throw invalidField("document", "must be at most 256 KiB");
      if (descriptors.length > MAX_DESCRIPTOR_BYTES) throw invalidField("descriptors", "must be at most 8 MiB");
      if (file.length > 1024) throw invalidField("file", "must be at most 1,024 characters");
      if (checking.has(caller.name)) throw busy(caller);
      checking.add(caller.name);
      try {
        // A check goes on at a stretch: others have their turn before it, and between two of them.
        await turn();
        const { findings } = loadPolicy(document, { file, authorityAudience, ...(descriptors.length > 0 ? { descriptors } : {}) });
        return { findings };
      } finally {
        checking.delete(caller.name);
      }
    },
    async get({ audience, version }, context) {
      demandRole(callerOf(context), audience, policies);
      const stored = await (version === 0n ? view.policy(audience) : view.policy(audience, version));
      if (stored === undefined) throw notFound(audience);
      const texts = await policies.texts(stored);
      return { version: create(PolicyVersionSchema, { ...(await versionOf(stored, options)), ...texts }) };
    },
    async explain({ subject }, context) {
      const caller = callerOf(context);
      if (subject.case === "decisionId") return valueOf(await decisions.decision(caller, subject.value));
      if (subject.case === "call") return valueOf(await decisions.call(caller, subject.value));
      throw invalidField("subject", "say which decision, or which call");
    },
    async listDecisions(request, context) {
      return valueOf(await decisions.list(callerOf(context), request));
    },
    async listVersions({ audience, pageSize, pageToken }, context) {
      demandRole(callerOf(context), audience, policies);
      if (pageSize < 0) throw invalidField("page_size", "must not be negative");
      if (!/^\d{0,19}$/.test(pageToken)) throw invalidField("page_token", "must be from the answer before");
      const limit = Math.min(pageSize || PAGE, LARGEST_PAGE);
      const page = await view.policyVersions(audience, { limit, ...(pageToken === "" ? {} : { before: BigInt(pageToken) }) });
      const last = page.at(-1);
      const nextPageToken = last !== undefined && page.length === limit && last.version > 1n ? `${last.version}` : "";
      return { versions: await Promise.all(page.map((stored) => versionOf(stored, options))), nextPageToken };
    },
  };
}

function demandRole(caller: AuthenticatedCaller, audience: string, policies: PolicyBook): void {
  if (audience === "") throw invalidField("audience", "say whose policy");
  if (!mayReadPolicy(caller, audience, policies)) throw notFound(audience);
}

function demandAnyRole(caller: AuthenticatedCaller, policies: PolicyBook): void {
  if (caller.audiences().some((audience) => mayReadPolicy(caller, audience, policies))) return;
  throw new Refused({
    reason: "ROLE_REQUIRED",
    message: "checking a policy here takes the role auditor or admin of any audience; `brevet policy check` needs no authority",
    metadata: { role: "auditor", ...(caller.name === "" ? {} : { principal: caller.name }) },
  });
}

function mayReadPolicy(caller: AuthenticatedCaller, audience: string, policies: PolicyBook): boolean {
  const policy = policies.current(audience)?.policy;
  const facts = caller.principalFor(audience);
  return policy !== undefined && facts !== undefined && (hasRole(policy, "admin", facts) || hasRole(policy, "auditor", facts));
}

function busy({ name }: AuthenticatedCaller): Refused {
  return new Refused({
    reason: "REQUEST_QUOTA_EXCEEDED",
    message: "a check of yours is under way: one at a time; try again when it is answered",
    metadata: name === "" ? {} : { principal: name },
  });
}

function notFound(audience: string): Refused {
  return new Refused({
    reason: "NOT_FOUND",
    message: `there is no policy of ${audience.slice(0, 128)} that you may see`,
    metadata: { audience },
  });
}

async function versionOf(stored: StoredPolicy, { view, policies }: PolicyRpcOptions): Promise<PolicyVersion> {
  const { audience, version, timeMs, revision, shadow } = stored;
  const digest = (await policies.texts(stored))?.digest ?? new Uint8Array();
  const message = create(PolicyVersionSchema, { audience, version, digest, applyTime: timestampFromMs(timeMs), revision, shadow });
  const author = stored.author === "" ? undefined : await view.principal(stored.author);
  if (author) message.author = create(PrincipalSchema, { id: author.id, kind: author.kind, name: author.name ?? "" });
  return message;
}
