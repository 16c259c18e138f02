// Document and descriptors to a compiled policy: maps built once, conditions planned once.
// Never reports: what is wrong with a document is found in check/, before.
import { createHash } from "node:crypto";
import { compileClaims } from "../condition/claims.ts";
import { type Condition, compileCondition } from "../condition/condition.ts";
import { type Descriptors, methodKindOf, requestTypeOf } from "../descriptors/descriptors.ts";
import type { IssuerDocument, PolicyDocument } from "../document/document.ts";
import { durationMs } from "../document/duration.ts";
import type { CompiledPolicy, Entitlement, IssuerRule } from "./compiled.ts";
import { approvalsOf, entitlementOf } from "./entitlement.ts";
import { methodsOf } from "./methods.ts";

const DEFAULT_STALE_AFTER_MS = 60_000;
const DEFAULT_STALE_AT_MOST_MS = 15 * 60_000;
/** Conditions kept per policy beside its own; they come from elevations, whose number has no bound. */
const MAX_KEPT_CONDITIONS = 10_000;

/** Compiles a document that passed its check. @throws Error when an expression does not compile: it was not checked. */
export function compilePolicy(document: PolicyDocument, text: string, descriptors: Descriptors | undefined): CompiledPolicy {
  const methods = methodsOf(document, descriptors);
  const entitlements = new Map<string, Entitlement>();
  for (const [id, entry] of Object.entries(document.entitlements ?? {}))
    entitlements.set(id, Object.freeze(entitlementOf(id, entry, methods, descriptors)));
  const issuers = (document.identity?.issuers ?? []).map(issuerOf);
  const stale = document.whenStale;
  return Object.freeze({
    audience: document.audience,
    document,
    digest: createHash("sha256").update(text).digest(),
    issuers,
    trustDomains: new Set(document.identity?.clientCertificates?.spiffe ?? []),
    memberships: membershipsOf(document),
    claimedGroups: new Set(issuers.flatMap((issuer) => [...issuer.mayAssert])),
    guards: document.guards ?? [],
    whenStale: {
      afterMs: durationMs(stale?.after ?? "") ?? DEFAULT_STALE_AFTER_MS,
      // oxlint-disable-next-line unicorn/no-thenable -- the document's own word
      then: stale?.then ?? "known",
      atMostMs: durationMs(stale?.atMost ?? "") ?? DEFAULT_STALE_AT_MOST_MS,
    },
    mode: document.mode ?? "enforce",
    applyQuorum: document.apply?.quorum ?? 1,
    method: methods.rule,
    entitlement: (id: string) => entitlements.get(id),
    entitlementsFor: byMethod(entitlements.values()),
    requestType: (method: string) => requestTypeOf(descriptors, method),
    methodKind: (method: string) => methodKindOf(descriptors, method),
    conditionFor: conditionCache(descriptors),
  });
}

function issuerOf(issuer: IssuerDocument): IssuerRule {
  const expression = (source: string, gives: "string" | "list") => {
    const result = compileClaims(source, gives);
    if (!result.ok) throw new Error(`an unchecked expression: ${result.problem.message}`);
    return result.expression;
  };
  return {
    issuer: issuer.issuer,
    audiences: issuer.audiences,
    principal: expression(issuer.principal, "string"),
    mayAssert: new Set(issuer.mayAssert),
    ...(issuer.groups !== undefined && { groups: expression(issuer.groups, "list") }),
    ...(issuer.initiator !== undefined && { initiator: expression(issuer.initiator, "string") }),
  };
}

function membershipsOf(document: PolicyDocument): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>();
  for (const [group, members] of Object.entries(document.groups ?? {}))
    for (const member of members) groups.set(member, [...(groups.get(member) ?? []), group]);
  return groups;
}

function byMethod(entitlements: Iterable<Entitlement>): (method: string) => readonly Entitlement[] {
  const lists = new Map<string, Entitlement[]>();
  for (const entitlement of entitlements)
    for (const method of entitlement.methods) lists.set(method, [...(lists.get(method) ?? []), entitlement]);
  for (const list of lists.values()) list.sort(preferred);
  const none: readonly Entitlement[] = [];
  return (method) => lists.get(method) ?? none;
}

/** Fewest approvals, then narrowest; break-glass last, since it is for when nothing else will do. */
function preferred(a: Entitlement, b: Entitlement): number {
  return (
    Number(a.breakGlass !== undefined) - Number(b.breakGlass !== undefined) ||
    approvalsOf(a) - approvalsOf(b) ||
    a.methods.length - b.methods.length ||
    a.maxMs - b.maxMs ||
    (a.id < b.id ? -1 : 1)
  );
}

function conditionCache(descriptors: Descriptors | undefined): CompiledPolicy["conditionFor"] {
  const kept = new Map<string, Map<string, Condition | { error: string }>>();
  let size = 0;
  return (source, method) => {
    const type = requestTypeOf(descriptors, method);
    const ofType = kept.get(type?.typeName ?? "");
    const known = ofType?.get(source);
    if (known !== undefined) return known;
    const context = {
      requestTypes: new Map(type === undefined ? [] : [[method, type]]),
      ...(descriptors && { enumNamed: descriptors.enumNamed }),
    };
    const result = compileCondition(source, context);
    const made = result.ok ? result.condition : { error: result.problem.message };
    if (size++ >= MAX_KEPT_CONDITIONS) {
      kept.clear();
      size = 1;
    }
    kept.set(type?.typeName ?? "", (kept.get(type?.typeName ?? "") ?? new Map<string, Condition | { error: string }>()).set(source, made));
    return made;
  };
}
