// The rules over a well-formed document: what would not work, or not mean what it seems to, is found when it is written.
// Never changes the document, and never looks at anything but the document and the descriptors.
import type { Descriptors } from "../descriptors/descriptors.ts";
import type { PolicyDocument } from "../document/document.ts";
import type { Report } from "../document/report.ts";
import { checkExpressions } from "./expressions.ts";

/** Runs all rules. */
export function checkDocument(
  document: PolicyDocument,
  descriptors: Descriptors | undefined,
  report: Report,
  authorityAudience = "brevet",
): void {
  checkExpressions(document, descriptors, report);
  void authorityAudience;
}
