// Whether an entitlement can be approved at all, by somebody else than who asks.
// Never counts votes: it looks at whom the document knows.
import type { EntitlementDocument, PolicyDocument, StageDocument } from "../document/document.ts";
import type { Path, Report } from "../document/report.ts";
import { kindOfName } from "../principal/principal.ts";
import { checkSelectors, meant } from "./selectors.ts";

/** The approval of one entitlement. */
export function checkApproval(document: PolicyDocument, at: Path, entry: EntitlementDocument, report: Report): void {
  const stages = entry.approval?.stages ?? [];
  if (entry.breakGlass !== undefined) return checkBreakGlass(document, at, entry, report);
  if (stages.length === 0) {
    const path = entry.approval === undefined ? at : [...at, "approval"];
    if (entry.approval?.automatic === undefined)
      report.error(
        path,
        {
          rule: "no-approvers",
          message: "nobody could approve this",
          fix: "add approval.stages with approvers, approval.automatic, or breakGlass",
        },
        "key",
      );
    else
      report.warning([...at, "approval", "automatic"], {
        rule: "automatic-only",
        message: "where the automatic rule is false, nobody can approve",
        fix: "add approval.stages",
      });
    return;
  }
  let checkable = true;
  for (const [index, stage] of stages.entries())
    checkable = checkStage(document, [...at, "approval", "stages", index], stage, report) && checkable;
  if (checkable) checkReach(document, at, entry, stages, report);
}

/** Whether the stage is sound enough to count its people. */
function checkStage(document: PolicyDocument, at: Path, stage: StageDocument, report: Report): boolean {
  const approvers: Path = [...at, "approvers"];
  checkApprovers(document, stage.approvers, approvers, report);
  if (stage.escalate !== undefined) {
    const to: Path = [...at, "escalate", "to"];
    checkApprovers(document, stage.escalate.to, to, report);
    if (stage.escalate.to.length === 0)
      report.error(to, { rule: "no-approvers", message: "it escalates to nobody", fix: "name somebody, or leave escalate out" });
  }
  if (stage.quorum === 0) {
    report.error([...at, "quorum"], {
      rule: "quorum-zero",
      message: "a stage with a quorum of 0 asks nobody",
      fix: "write 1 or more, or approval.automatic for what needs nobody",
    });
    return false;
  }
  const { names, open } = meant(document, stage.approvers);
  if (names.size === 0 && !open) {
    report.error(approvers, { rule: "no-approvers", message: "the approvers are nobody", fix: "name people, or groups that have members" });
    return false;
  }
  if (open && names.size < (stage.quorum ?? 1))
    report.warning(approvers, {
      rule: "approvers-unknown",
      message: `whether ${stage.quorum ?? 1} can approve is not known: the groups' members are known from claims only`,
      fix: "list the members under groups",
    });
  return true;
}

function checkApprovers(document: PolicyDocument, selectors: readonly string[], at: Path, report: Report): void {
  checkSelectors(document, selectors, at, report);
  for (const [index, selector] of selectors.entries()) {
    const kind = kindOfName(selector);
    if (kind === "workload" || kind === "ci")
      report.error([...at, index], {
        rule: "approver-not-a-person",
        message: `${selector} is not a person`,
        fix: "name people; for what needs nobody, write approval.automatic",
      });
  }
}

/** Quorums over all stages: a person counts once, and never the one who asks. */
function checkReach(
  document: PolicyDocument,
  at: Path,
  entry: EntitlementDocument,
  stages: readonly StageDocument[],
  report: Report,
): void {
  const needed = stages.reduce((sum, stage) => sum + (stage.quorum ?? 1), 0);
  const askers = meant(document, entry.requesters);
  const short = (without: string | undefined): Path | undefined => {
    const all = new Set<string>();
    let open = false;
    for (const [index, stage] of stages.entries()) {
      const known = meant(document, [...stage.approvers, ...(stage.escalate?.to ?? [])]);
      const people = [...known.names].filter((name) => name.startsWith("user:") && name !== without);
      if (!known.open && people.length < (stage.quorum ?? 1))
        return [...at, "approval", "stages", index, stage.quorum === undefined ? "approvers" : "quorum"];
      for (const name of people) all.add(name);
      open ||= known.open;
    }
    return !open && all.size < needed ? [...at, "approval", "stages"] : undefined;
  };
  const never = short(undefined);
  if (never !== undefined) {
    report.error(never, {
      rule: "quorum-unreachable",
      message: `fewer people can approve than the quorum asks for (${needed} in all)`,
      fix: "lower the quorum, or add approvers",
    });
    return;
  }
  const stuck = [...askers.names].filter((name) => short(name) !== undefined);
  const [first] = stuck;
  if (first === undefined) return;
  const path = short(first) ?? at;
  if (!askers.open && stuck.length === askers.names.size)
    report.error(path, {
      rule: "self-approval",
      message: `only those who ask could approve: nobody's own vote counts (${first})`,
      fix: "add an approver who does not ask",
    });
  else
    report.warning(path, {
      rule: "quorum-unreachable-for",
      message: `when ${first} asks, too few others can approve`,
      fix: "add approvers, or take the requester out",
    });
}

function checkBreakGlass(document: PolicyDocument, at: Path, entry: EntitlementDocument, report: Report): void {
  if (entry.approval !== undefined)
    report.error(
      [...at, "approval"],
      { rule: "break-glass-contradiction", message: "break-glass is active at once: it has no approval", fix: "take one of the two out" },
      "key",
    );
  if (entry.extend !== undefined)
    report.error(
      [...at, "extend"],
      { rule: "break-glass-contradiction", message: "break-glass is never extended", fix: "take extend out" },
      "key",
    );
  const notify: Path = [...at, "breakGlass", "notify"];
  checkSelectors(document, entry.breakGlass?.notify, notify, report);
  if (entry.breakGlass?.notify.length === 0)
    report.error(notify, { rule: "break-glass-unseen", message: "nobody would be told, and nobody would review", fix: "name who is told" });
}
