// The document's own tests: whether they could ever mean anything.
// Never runs them; tests/run.ts does.
import { isReasonName } from "@brevet/protocol";
import type { Methods } from "../compile/methods.ts";
import type { PolicyDocument } from "../document/document.ts";
import type { Path, Report } from "../document/report.ts";
import { isGroupName, kindOfName } from "../principal/principal.ts";

/** Names in tests. */
export function checkTests(document: PolicyDocument, methods: Methods, report: Report): void {
  const entitlements = Object.keys(document.entitlements ?? {});
  for (const [index, test] of (document.tests ?? []).entries()) {
    const at: Path = ["tests", index];
    if (kindOfName(test.call.principal) === undefined)
      report.error([...at, "call", "principal"], {
        rule: "selector-malformed",
        message: `"${test.call.principal}" names no principal`,
        fix: "write user:…, workload:… or ci:…",
      });
    for (const [place, group] of (test.call.groups ?? []).entries())
      if (!isGroupName(group))
        report.error([...at, "call", "groups", place], {
          rule: "group-malformed",
          message: `"${group}" is no group`,
          fix: `write group:${group}`,
        });
    if (!methods.rule(test.call.method).listed && test.expect.reason !== "METHOD_FORBIDDEN") {
      const near = report.guess(test.call.method, () => methods.known.keys());
      report.error([...at, "call", "method"], {
        rule: "unknown-method",
        message: `${test.call.method} is not listed under services`,
        fix: near === undefined ? "list it, or expect METHOD_FORBIDDEN" : `did you mean ${near}?`,
      });
    }
    if (test.with !== undefined && !entitlements.includes(test.with)) {
      const near = report.guess(test.with, () => entitlements);
      report.error([...at, "with"], {
        rule: "unknown-entitlement",
        message: `there is no entitlement ${test.with}`,
        fix: near === undefined ? `there are ${entitlements.join(", ")}` : `did you mean ${near}?`,
      });
    }
    const { decision, reason } = test.expect;
    if (reason !== undefined && (decision === "permit" || !isReasonName(reason)))
      report.error([...at, "expect", "reason"], {
        rule: "expectation-malformed",
        message: decision === "permit" ? "a permit has no reason" : `there is no reason ${reason}`,
        fix: decision === "permit" ? "take the reason out" : "see docs/errors.md",
      });
  }
}
