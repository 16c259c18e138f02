// From verified claims or a verified certificate to a principal of one audience, as its policy says.
// Never verifies a signature and never trusts a form: what comes out of an expression is checked like input.
import { MAX_PRINCIPAL_BYTES } from "@brevet/protocol";
import type { CompiledPolicy, IssuerRule } from "../compile/compiled.ts";
import type { ClaimExpression } from "../condition/claims.ts";
import { isGroupName, kindOfName, type PrincipalFacts } from "../principal/principal.ts";

/** Claims of a token whose signature, issuer, audience and times were verified. */
export type Claims = Readonly<Record<string, unknown>>;
/** A principal, or why there is none; the problem never repeats a claim's value. */
export type Mapped = { readonly ok: true; readonly principal: PrincipalFacts } | { readonly ok: false; readonly problem: string };

/** Groups taken from one token; more are a problem, not a cut. */
const MAX_GROUPS = 1000;

/** Maps the claims of a token of one of the policy's issuers. */
export function mapClaims(policy: CompiledPolicy, issuer: string, claims: Claims): Mapped {
  const rule = policy.issuers.find((each) => each.issuer === issuer);
  if (rule === undefined) return problem("the policy trusts no such issuer");
  const name = nameFrom(rule.principal, claims, "principal");
  if (!name.ok) return name;
  let initiator: string | undefined;
  if (rule.initiator !== undefined) {
    const from = nameFrom(rule.initiator, claims, "initiator");
    if (!from.ok) return from;
    initiator = from.name;
  }
  const groups = groupsFrom(rule, claims);
  return groups.ok ? mapped(policy, name.name, groups.names, claims, initiator) : groups;
}

/** Maps the claims of the authority's development issuer: `sub` is the principal's name, `groups` its groups, `initiator` who started it. */
export function mapDevelopmentClaims(policy: CompiledPolicy, claims: Claims): Mapped {
  const { sub, groups, initiator } = claims;
  if (typeof sub !== "string") return problem("sub is not a text");
  if (initiator !== undefined && (typeof initiator !== "string" || kindOfName(initiator) === undefined))
    return problem("initiator is not a principal's name");
  const listed = asStrings(groups ?? []);
  if (listed === undefined) return problem("groups is not a list of texts");
  const names = listed.map(groupName);
  if (!names.every(isGroupName)) return problem("a group's name is not well formed");
  return mapped(policy, sub, names, claims, initiator);
}

/**
 * Maps the SPIFFE ID of a verified client certificate (SPIFFE-ID, sections 2.1 to 2.4) to `workload:spiffe://…`, if the policy
 * names its trust domain.
 */
export function mapSpiffe(policy: CompiledPolicy, uri: string): Mapped {
  const [, domain] = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]+)+)$/.exec(uri) ?? [];
  if (domain === undefined || uri.split("/").some((segment) => segment === "." || segment === ".."))
    return problem("not a SPIFFE ID of a workload");
  if (!policy.trustDomains.has(domain)) return problem("the policy does not trust this SPIFFE trust domain");
  return mapped(policy, `workload:${uri}`, [], {}, undefined);
}

function mapped(policy: CompiledPolicy, name: string, claimed: readonly string[], claims: Claims, initiator: string | undefined): Mapped {
  const kind = kindOfName(name);
  if (kind === undefined) return problem("the principal's name is not well formed");
  const groups = new Set([...claimed, ...(policy.memberships.get(name) ?? [])]);
  return { ok: true, principal: { name, kind, groups, claims, ...(initiator !== undefined && { initiator }) } };
}

function nameFrom(expression: ClaimExpression, claims: Claims, what: string): { ok: true; name: string } | { ok: false; problem: string } {
  if (expression.readsEmail && claims["email_verified"] !== true)
    return problem(`the ${what} is named by claims.email, and claims.email_verified is not true`);
  const outcome = expression.evaluate(claims);
  if (!outcome.ok) return problem(`the ${what} cannot be read from the claims: ${outcome.problem}`);
  const [name, ...more] = outcome.values;
  if (name === undefined || more.length > 0 || kindOfName(name) === undefined)
    return problem(`the ${what} read from the claims is not user:…, workload:… or ci:… of at most ${MAX_PRINCIPAL_BYTES} bytes`);
  return { ok: true, name };
}

/** Groups that the issuer may assert; others are left out, since issuers list all that they know. A missing claim is no group. */
function groupsFrom(rule: IssuerRule, claims: Claims): { ok: true; names: readonly string[] } | { ok: false; problem: string } {
  if (rule.groups === undefined || rule.mayAssert.size === 0) return { ok: true, names: [] };
  const outcome = rule.groups.evaluate(claims);
  if (!outcome.ok)
    return outcome.problem.startsWith("field not found")
      ? { ok: true, names: [] }
      : problem(`the groups cannot be read from the claims: ${outcome.problem}`);
  if (outcome.values.length > MAX_GROUPS) return problem(`the claims name more than ${MAX_GROUPS} groups`);
  return { ok: true, names: outcome.values.map(groupName).filter((name) => rule.mayAssert.has(name)) };
}

/** Issuers know groups by their bare names; the policy writes `group:` before them. */
function groupName(name: string): string {
  return name.startsWith("group:") ? name : `group:${name}`;
}

function asStrings(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const list: readonly unknown[] = value;
  const strings = list.filter((each) => typeof each === "string");
  return strings.length === list.length && list.length <= MAX_GROUPS ? strings : undefined;
}

function problem(text: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem: text };
}
