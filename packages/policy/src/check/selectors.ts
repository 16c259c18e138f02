// Selectors: their form, and whom they can mean as far as the document itself says.
// Never knows what a selector is for.

import type { PolicyDocument } from "../document/document.ts";
import type { Path, Report } from "../document/report.ts";
import { isGroupName, kindOfName } from "../principal/principal.ts";

/** Whom selectors can mean. */
export interface Meant {
  /** Principals known by name. */
  readonly names: ReadonlySet<string>;
  /** Whether claims may add others. */
  readonly open: boolean;
}

/** Reports selectors that are no selector, and groups that nobody can be in. */
export function checkSelectors(document: PolicyDocument, selectors: readonly string[] | undefined, at: Path, report: Report): void {
  for (const [index, selector] of (selectors ?? []).entries()) {
    const path = [...at, index];
    if (isGroupName(selector)) {
      if (isEmptyGroup(document, selector)) report.warning(path, unknownGroup(document, selector, report));
    } else if (kindOfName(selector) === undefined) {
      const fix = selector.includes("@") ? `write user:${selector}` : "write user:…, workload:…, ci:… or group:…";
      report.error(path, { rule: "selector-malformed", message: `"${selector}" names no principal and no group`, fix });
    }
  }
}

/** Whom selectors can mean. Without an `identity` section, callers come from the development issuer, which asserts any group. */
export function meant(document: PolicyDocument, selectors: readonly string[]): Meant {
  const names = new Set<string>();
  let open = false;
  for (const selector of selectors) {
    if (!isGroupName(selector)) names.add(selector);
    else {
      for (const member of membersOf(document, selector) ?? []) names.add(member);
      open ||= isClaimed(document, selector);
    }
  }
  return { names, open };
}

function membersOf(document: PolicyDocument, group: string): readonly string[] | undefined {
  return document.groups !== undefined && Object.hasOwn(document.groups, group) ? document.groups[group] : undefined;
}

function isClaimed(document: PolicyDocument, group: string): boolean {
  if (document.identity === undefined) return membersOf(document, group) === undefined;
  return (document.identity.issuers ?? []).some((issuer) => issuer.groups !== undefined && issuer.mayAssert?.includes(group) === true);
}

function isEmptyGroup(document: PolicyDocument, group: string): boolean {
  return (membersOf(document, group)?.length ?? 0) === 0 && !isClaimed(document, group);
}

function unknownGroup(document: PolicyDocument, group: string, report: Report) {
  const known = () => [
    ...Object.keys(document.groups ?? {}).filter((each) => each !== group),
    ...(document.identity?.issuers ?? []).flatMap((issuer) => issuer.mayAssert ?? []),
  ];
  const guess = report.guess(group, known);
  const fix = guess === undefined ? "list its members under groups, or name it in an issuer's mayAssert" : `did you mean ${guess}?`;
  return { rule: "empty-group", message: `nobody can be in ${group}: it has no members here, and no issuer may assert it`, fix };
}
