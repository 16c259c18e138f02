// The rules over a well-formed document: what would not work, or not mean what it seems to, is found when it is written.
// Never changes the document, and never looks at anything but the document and the descriptors.
import { DEFAULT_AUTHORITY_AUDIENCE } from "@brevet/protocol";
import { methodsOf } from "../compile/methods.ts";
import type { Descriptors } from "../descriptors/descriptors.ts";
import type { PolicyDocument } from "../document/document.ts";
import type { Report } from "../document/report.ts";
import { checkDurations } from "./durations.ts";
import { checkEntitlements } from "./entitlements.ts";
import { checkExpressions } from "./expressions.ts";
import { checkIdentity } from "./identity.ts";
import { checkServices } from "./services.ts";
import { checkTests } from "./tests.ts";

/** Runs all rules. `authorityAudience` is the audience of the authority's own API. */
export function checkDocument(
  document: PolicyDocument,
  descriptors: Descriptors | undefined,
  report: Report,
  authorityAudience = DEFAULT_AUTHORITY_AUDIENCE,
): void {
  const methods = methodsOf(document, descriptors);
  checkIdentity(document, authorityAudience, report);
  checkServices(document, methods, descriptors, report);
  checkDurations(document, report);
  checkEntitlements(document, methods, descriptors, report);
  checkExpressions(document, methods, descriptors, report);
  checkTests(document, methods, report);
}
