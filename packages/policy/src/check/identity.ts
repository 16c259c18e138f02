// Who callers are and who has rights: issuers, groups, guards, roles.
// Never looks at what callers may ask for.

import { Severity } from "@brevet/protocol/brevet/v1/policy";
import { compileClaims } from "../condition/claims.ts";
import type { IssuerDocument, PolicyDocument } from "../document/document.ts";
import type { Path, Report } from "../document/report.ts";
import { isGroupName, kindOfName } from "../principal/principal.ts";
import { checkSelectors, meant } from "./selectors.ts";

/** Identity, groups, guards, roles, and the quorum for new versions. */
export function checkIdentity(document: PolicyDocument, authorityAudience: string, report: Report): void {
  if (document.audience === authorityAudience) report.error(["audience"], overlap(authorityAudience));
  const seen = new Set<string>();
  for (const [index, issuer] of (document.identity?.issuers ?? []).entries()) {
    const at: Path = ["identity", "issuers", index];
    if (seen.has(issuer.issuer))
      report.error([...at, "issuer"], {
        rule: "duplicate-issuer",
        message: `${issuer.issuer} stands here a second time`,
        fix: "join the two",
      });
    seen.add(issuer.issuer);
    checkIssuer(at, issuer, authorityAudience, report);
  }
  for (const [index, domain] of (document.identity?.clientCertificates?.spiffe ?? []).entries())
    if (!/^[a-z0-9._-]{1,255}$/.test(domain))
      report.error(["identity", "clientCertificates", "spiffe", index], {
        rule: "trust-domain-malformed",
        message: `"${domain}" is no SPIFFE trust domain`,
        fix: "write it without spiffe:// and path",
      });
  checkGroups(document, report);
  checkRights(document, report);
  if (document.mode === "observe")
    report.warning(["mode"], {
      rule: "observe-mode",
      message: "nothing is enforced: what would be denied is permitted and counted",
      fix: "write mode: enforce",
    });
}

function overlap(audience: string) {
  return {
    rule: "audience-overlap",
    message: `${audience} is the authority's own audience: a token for it must be good for no service`,
    fix: "choose another audience",
  };
}

function checkIssuer(at: Path, issuer: IssuerDocument, authorityAudience: string, report: Report): void {
  if (!/^https:\/\/[^\s]+$|^http:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(\/|$)/.test(issuer.issuer))
    report.error([...at, "issuer"], {
      rule: "issuer-url",
      message: `${issuer.issuer} is no https URL`,
      fix: "write the `iss` of its tokens; http only on loopback",
    });
  if (issuer.audiences.length === 0)
    report.error([...at, "audiences"], {
      rule: "no-audience",
      message: "no token would be accepted",
      fix: "name the `aud` of tokens for this service",
    });
  for (const [index, audience] of issuer.audiences.entries())
    if (audience === authorityAudience) report.error([...at, "audiences", index], overlap(audience));
  for (const [index, group] of (issuer.mayAssert ?? []).entries())
    if (!isGroupName(group))
      report.error([...at, "mayAssert", index], {
        rule: "group-malformed",
        message: `"${group}" is no group`,
        fix: `write group:${group}`,
      });
  if (issuer.groups !== undefined && (issuer.mayAssert ?? []).length === 0)
    report.warning([...at, "groups"], {
      rule: "groups-without-may-assert",
      message: "no group of these claims counts",
      fix: "list the groups that the issuer may speak for under mayAssert",
    });
  if (issuer.groups === undefined && (issuer.mayAssert ?? []).length > 0)
    report.warning([...at, "mayAssert"], {
      rule: "may-assert-without-groups",
      message: "no claim is read that could assert these groups",
      fix: "add groups: claims.groups",
    });
  const principal = compileClaims(issuer.principal, "string");
  if (principal.ok && !principal.expression.prefixes.every((prefix) => /^(user|workload|ci):/.test(prefix)))
    report.warning([...at, "principal"], {
      rule: "principal-from-claims",
      message: "the claims alone decide which kind of principal this is: the issuer can name anybody",
      fix: "begin with 'user:', 'workload:' or 'ci:'",
    });
}

function checkGroups(document: PolicyDocument, report: Report): void {
  for (const [group, members] of Object.entries(document.groups ?? {})) {
    const at: Path = ["groups", group];
    if (!isGroupName(group))
      report.error(at, { rule: "group-malformed", message: `"${group}" is no group`, fix: `write "group:${group}"` }, "key");
    for (const [index, member] of members.entries()) {
      if (isGroupName(member))
        report.error([...at, index], { rule: "nested-group", message: "groups do not hold groups", fix: "list the members themselves" });
      else if (kindOfName(member) === undefined)
        report.error([...at, index], {
          rule: "selector-malformed",
          message: `"${member}" names no principal`,
          fix: member.includes("@") ? `write user:${member}` : "write user:…, workload:… or ci:…",
        });
    }
  }
}

function checkRights(document: PolicyDocument, report: Report): void {
  checkSelectors(document, document.guards, ["guards"], report);
  checkSelectors(document, document.roles?.admin, ["roles", "admin"], report);
  checkSelectors(document, document.roles?.auditor, ["roles", "auditor"], report);
  if ((document.guards ?? []).length === 0)
    missing(report, document.guards === undefined ? undefined : ["guards"], {
      rule: "no-guards",
      message: "no guard may sync for this audience",
      fix: "name the workloads that guard it under guards",
    });
  const admins = meant(document, document.roles?.admin ?? []);
  const quorum = document.apply?.quorum ?? 1;
  if (admins.names.size === 0 && !admins.open)
    missing(report, document.roles?.admin === undefined ? undefined : ["roles", "admin"], {
      rule: "no-admin",
      message: "nobody may apply a new version of this policy",
      fix: "name admins under roles",
    });
  else if (quorum === 0)
    report.warning(["apply", "quorum"], {
      rule: "apply-without-approval",
      message: "each admin alone can change this policy",
      fix: "write quorum: 1 or more",
    });
  else if (!admins.open && admins.names.size - 1 < quorum)
    report.warning(document.apply === undefined ? ["roles", "admin"] : ["apply", "quorum"], {
      rule: "apply-quorum-unreachable",
      message: `a new version needs ${quorum} more admin than its author, and there are ${admins.names.size} in all`,
      fix: "name more admins, or write apply: { quorum: 0 }",
    });
}

function missing(report: Report, path: Path | undefined, words: { rule: string; message: string; fix: string }): void {
  if (path === undefined) report.aboutAll(Severity.WARNING, words);
  else report.warning(path, words);
}
