// Expressions of a document: conditions and automatic rules against the requests of the methods that they are for, mappings over claims.
// Never evaluates one.

import { requestTypes } from "../compile/entitlement.ts";
import { elevatedBy, type Methods } from "../compile/methods.ts";
import { compileClaims } from "../condition/claims.ts";
import { compileCondition } from "../condition/condition.ts";
import { patternCompiles } from "../condition/pattern.ts";
import type { Descriptors } from "../descriptors/descriptors.ts";
import type { PolicyDocument } from "../document/document.ts";
import type { Path, Report } from "../document/report.ts";

/** Everything that is CEL, and the patterns of reasons. */
export function checkExpressions(document: PolicyDocument, methods: Methods, descriptors: Descriptors | undefined, report: Report): void {
  for (const [id, entry] of Object.entries(document.entitlements ?? {})) {
    const at: Path = ["entitlements", id];
    const covered = entry.methods.flatMap((pattern) => elevatedBy(pattern, methods));
    const context = { requestTypes: requestTypes(covered, descriptors), ...(descriptors && { enumNamed: descriptors.enumNamed }) };
    const check = (source: string | undefined, path: Path) => {
      if (source === undefined) return;
      const result = compileCondition(source, context);
      if (result.ok) return;
      const { message, fix, offset, needsDescriptors } = result.problem;
      report.error(path, { rule: needsDescriptors === true ? "condition-needs-descriptors" : "condition-invalid", message, fix }, offset);
    };
    check(entry.condition, [...at, "condition"]);
    check(entry.approval?.automatic, [...at, "approval", "automatic"]);
    const pattern = entry.reason?.pattern;
    if (pattern !== undefined && !patternCompiles(pattern))
      report.error([...at, "reason", "pattern"], {
        rule: "pattern-invalid",
        message: "not an RE2 pattern of at most 500 characters",
        fix: "RE2 has no look-around and no back-references",
      });
  }
  for (const [index, issuer] of (document.identity?.issuers ?? []).entries()) {
    const at: Path = ["identity", "issuers", index];
    for (const [key, gives] of [
      ["principal", "string"],
      ["groups", "list"],
      ["initiator", "string"],
    ] as const) {
      const source = issuer[key];
      const result = source === undefined ? undefined : compileClaims(source, gives);
      if (result?.ok === false)
        report.error(
          [...at, key],
          { rule: "mapping-invalid", message: result.problem.message, fix: result.problem.fix },
          result.problem.offset,
        );
    }
  }
}
