// Entitlements: what they cover, who may ask, when.
// Never looks at expressions (expressions.ts), durations (durations.ts) or approvers (approval.ts).
import { isMethodName, MAX_ENTITLEMENT_BYTES } from "@brevet/protocol";
import { elevatedBy, type Methods } from "../compile/methods.ts";
import type { Descriptors } from "../descriptors/descriptors.ts";
import type { EntitlementDocument, PolicyDocument, ScheduleDocument } from "../document/document.ts";
import type { Path, Report } from "../document/report.ts";
import { isTimezone, minuteOfDay } from "../schedule/schedule.ts";
import { checkApproval } from "./approval.ts";
import { checkSelectors, meant } from "./selectors.ts";

/** All entitlements. */
export function checkEntitlements(document: PolicyDocument, methods: Methods, descriptors: Descriptors | undefined, report: Report): void {
  for (const [id, entry] of Object.entries(document.entitlements ?? {})) {
    const at: Path = ["entitlements", id];
    if (id.length > MAX_ENTITLEMENT_BYTES || !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(id))
      report.error(
        at,
        {
          rule: "entitlement-id",
          message: `${id.slice(0, 80)} is no entitlement's id`,
          fix: "small letters, digits and single dashes, at most 64",
        },
        "key",
      );
    checkPatterns(at, entry, methods, report);
    checkStreams(at, entry, methods, descriptors, report);
    checkRequesters(document, at, entry, report);
    checkSelectors(document, entry.delegates, [...at, "delegates"], report);
    if (entry.schedule !== undefined) checkSchedule([...at, "schedule"], entry.schedule, report);
    checkApproval(document, at, entry, report);
  }
}

function checkPatterns(at: Path, entry: EntitlementDocument, methods: Methods, report: Report): void {
  const list: Path = [...at, "methods"];
  if (entry.methods.length === 0)
    report.error(list, { rule: "pattern-matches-nothing", message: "it covers no method", fix: "name methods as package.Service/Method" });
  for (const [index, pattern] of entry.methods.entries()) {
    const path = [...list, index];
    const literal = pattern.endsWith("/*") ? `${pattern.slice(0, -1)}X` : pattern;
    if (!isMethodName(literal)) {
      report.error(path, {
        rule: "pattern-malformed",
        message: `"${pattern}" is no method`,
        fix: "write package.Service/Method or package.Service/*",
      });
    } else if (elevatedBy(pattern, methods).length === 0) checkUncovered(path, pattern, methods, report);
  }
}

function checkUncovered(path: Path, pattern: string, methods: Methods, report: Report): void {
  if (pattern.endsWith("/*")) {
    const known = [...methods.known.keys()].some((name) => name.startsWith(pattern.slice(0, -1)));
    const message = known ? `no method of ${pattern} is elevated` : `no method matches ${pattern}`;
    return report.error(path, {
      rule: "pattern-matches-nothing",
      message,
      fix: known ? "give methods `access: elevated` under services" : guess(pattern, methods, report),
    });
  }
  const rule = methods.rule(pattern);
  if (!rule.listed)
    report.error(path, {
      rule: "unknown-method",
      message: `${pattern} is not listed under services, so it is forbidden`,
      fix: guess(pattern, methods, report),
    });
  else if (rule.access === "forbidden")
    report.error(path, {
      rule: "method-forbidden",
      message: `${pattern} is forbidden: no entitlement opens it`,
      fix: "make it elevated under services, or take it out here",
    });
  else
    report.warning(path, {
      rule: "method-not-elevated",
      message: `${pattern} is ${rule.access}: it needs no entitlement`,
      fix: "make it elevated under services, or take it out here",
    });
}

function guess(pattern: string, methods: Methods, report: Report): string {
  const wild = pattern.endsWith("/*");
  const names = () => [...methods.known.keys()].map((name) => (wild ? `${name.slice(0, name.indexOf("/"))}/*` : name));
  const near = report.guess(pattern, names);
  return near === undefined ? "list it under services" : `did you mean ${near}?`;
}

/** A guard holds a stream's handler until the first message is judged: a client that waits for the server first would hang. */
function checkStreams(at: Path, entry: EntitlementDocument, methods: Methods, descriptors: Descriptors | undefined, report: Report): void {
  if (entry.condition === undefined || !/\brequest\b/.test(entry.condition)) return;
  for (const method of entry.methods.flatMap((pattern) => elevatedBy(pattern, methods)))
    if (descriptors?.method(method)?.methodKind === "bidi_streaming")
      report.warning([...at, "condition"], {
        rule: "condition-holds-stream",
        message: `${method} streams both ways: it starts only when the client has sent its first message`,
        fix: "use it where clients speak first, or take the request out of the condition",
      });
}

function checkRequesters(document: PolicyDocument, at: Path, entry: EntitlementDocument, report: Report): void {
  const path: Path = [...at, "requesters"];
  checkSelectors(document, entry.requesters, path, report);
  const { names, open } = meant(document, entry.requesters);
  if (names.size === 0 && !open)
    report.error(path, {
      rule: "nobody-can-request",
      message: "nobody can ask for this",
      fix: "name principals, or groups that have members",
    });
}

function checkSchedule(at: Path, schedule: ScheduleDocument, report: Report): void {
  const [from, to] = [minuteOfDay(schedule.from), minuteOfDay(schedule.to)];
  const example = 'write "08:00", in quotes';
  if (from === undefined || from === 1440)
    report.error([...at, "from"], { rule: "schedule-malformed", message: `${schedule.from} is no time of day`, fix: example });
  if (to === undefined || to === 0)
    report.error([...at, "to"], {
      rule: "schedule-malformed",
      message: `${schedule.to} is no end of a span`,
      fix: `${example}; midnight is "24:00"`,
    });
  if (schedule.days.length === 0)
    report.error([...at, "days"], { rule: "schedule-empty", message: "it is open on no day", fix: "name days" });
  if (from !== undefined && from === to)
    report.error([...at, "to"], {
      rule: "schedule-empty",
      message: "it ends when it starts",
      fix: 'for the whole day write "00:00" to "24:00"',
    });
  if (from !== undefined && to !== undefined && to > 0 && from > to)
    report.note([...at, "to"], {
      rule: "schedule-overnight",
      message: `it runs from ${schedule.from} to ${schedule.to} on the next day`,
      fix: "swap them if the same day is meant",
    });
  if (isTimezone(schedule.timezone)) return;
  const near = report.guess(schedule.timezone, () => Intl.supportedValuesOf("timeZone"));
  report.error([...at, "timezone"], {
    rule: "unknown-timezone",
    message: `${schedule.timezone} is no time zone`,
    fix: near === undefined ? "write a name such as Europe/Berlin" : `did you mean ${near}?`,
  });
}
