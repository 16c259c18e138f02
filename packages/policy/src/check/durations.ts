// Lengths of time: none absurd, none contradicting another.
// Never reads a clock.
import { REMEMBER_ENDED_MS } from "@brevet/protocol";
import { DEFAULT_PENDING_MS } from "../compile/entitlement.ts";
import type { EntitlementDocument, PolicyDocument } from "../document/document.ts";
import { durationMs } from "../document/duration.ts";
import type { Path, Report } from "../document/report.ts";

const LONGEST_MS = 30 * 86_400_000;

/** Durations of the whole document. */
export function checkDurations(document: PolicyDocument, report: Report): void {
  const stale = document.whenStale;
  within(stale?.after, ["whenStale", "after"], report);
  within(stale?.atMost, ["whenStale", "atMost"], report);
  const [after, atMost] = [ms(stale?.after) ?? 60_000, ms(stale?.atMost) ?? 15 * 60_000];
  if (stale !== undefined && stale.then !== "deny" && after > atMost)
    report.error(["whenStale", stale.atMost === undefined ? "after" : "atMost"], {
      rule: "stale-limits",
      message: "a guard would have to stop before it counts as stale",
      fix: "make atMost at least as long as after",
    });
  for (const [id, entry] of Object.entries(document.entitlements ?? {})) checkEntitlement(["entitlements", id], entry, report);
}

function checkEntitlement(at: Path, entry: EntitlementDocument, report: Report): void {
  const { duration, extend } = entry;
  within(duration?.default, [...at, "duration", "default"], report);
  within(duration?.max, [...at, "duration", "max"], report);
  within(entry.pending, [...at, "pending"], report);
  within(entry.startWithin, [...at, "startWithin"], report);
  within(extend?.max, [...at, "extend", "max"], report);
  within(entry.breakGlass?.reviewWithin, [...at, "breakGlass", "reviewWithin"], report);
  within(entry.streams?.for, [...at, "streams", "for"], report);
  // Guards forget what ended by then.
  if ((ms(entry.streams?.for) ?? 0) > REMEMBER_ENDED_MS)
    report.error([...at, "streams", "for"], {
      rule: "absurd-duration",
      message: `${entry.streams?.for} is longer than 24h, and streams would outlive all that is known of their elevation`,
      fix: "drain for less, or ask for a longer window",
    });
  within(entry.cooldown, [...at, "cooldown"], report, 0);
  for (const [index, stage] of (entry.approval?.stages ?? []).entries()) {
    const after: Path = [...at, "approval", "stages", index, "escalate", "after"];
    within(stage.escalate?.after, after, report);
    if ((ms(stage.escalate?.after) ?? 0) >= (ms(entry.pending) ?? DEFAULT_PENDING_MS))
      report.warning(after, {
        rule: "escalation-too-late",
        message: `it never escalates: nobody waits for votes longer than ${entry.pending ?? "1h"} (pending)`,
        fix: "make after shorter than pending",
      });
  }
  const [normal, longest, whole] = [ms(duration?.default), ms(duration?.max), ms(extend?.max)];
  if (normal !== undefined && longest !== undefined && normal > longest)
    report.error([...at, "duration", "default"], {
      rule: "default-exceeds-max",
      message: `the default ${duration?.default} is longer than the max ${duration?.max}`,
      fix: "shorten the default, or lengthen the max",
    });
  if (whole !== undefined && longest !== undefined && whole < longest)
    report.error([...at, "extend", "max"], {
      rule: "extend-below-max",
      message: `extend.max ${extend?.max} is the whole window from its first start, and shorter than duration.max ${duration?.max}`,
      fix: "make extend.max at least as long as duration.max",
    });
  if (entry.streams?.for !== undefined && entry.streams.onExpiry === "terminate")
    report.warning([...at, "streams", "for"], {
      rule: "drain-time-unused",
      message: "streams that are terminated are not drained",
      fix: "write onExpiry: drain, or leave `for` out",
    });
}

function within(text: string | undefined, at: Path, report: Report, leastMs = 1): void {
  const length = ms(text);
  if (length === undefined || (length >= leastMs && length <= LONGEST_MS)) return;
  const message = length > LONGEST_MS ? `${text} is longer than 30d` : `${text} is no length of time to allow`;
  report.error(at, {
    rule: "absurd-duration",
    message,
    fix: length > LONGEST_MS ? "shorten it: nothing temporary takes longer" : "write more than 0",
  });
}

function ms(text: string | undefined): number | undefined {
  return text === undefined ? undefined : durationMs(text);
}
