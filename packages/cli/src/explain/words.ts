// An explanation as a person reads it. Owns the order of the lines; the facts are the catalogue's, the pasted text's and the authority's.
import { catalogue, codeName, formatDuration, type ReasonName } from "@brevet/protocol";
import { type CallerReport } from "@brevet/protocol/brevet/v1/elevation";
import { type DecisionRecord, type PolicyServiceExplainResponse } from "@brevet/protocol/brevet/v1/policy";
import { ReasonSchema } from "@brevet/protocol/brevet/v1/reason";
import { durationMs, type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { table } from "../output/output.ts";
import type { Foreign } from "./foreign.ts";

/** A reason: what it means, why it comes, what helps. Placeholders in the remedies are filled from what the error named. */
export function reasonLines(reason: ReasonName, named: Readonly<Record<string, string>>): string[] {
  const entry = catalogue[reason];
  return [
    `${reason} (${codeName(entry.code)})`,
    `  ${entry.what}`,
    "Why it comes:",
    ...entry.causes.map((cause) => `  - ${cause}`),
    "What helps:",
    `  caller:   ${filled(entry.callerRemedy, named)}`,
    `  operator: ${filled(entry.operatorRemedy, named)}`,
    `Retry: ${entry.retry}`,
  ];
}

/** What the details of the error said. */
export function namedLines(named: Readonly<Record<string, string>>): string[] {
  const rows = Object.entries(named).filter(([, value]) => value !== "");
  return rows.length === 0 ? [] : ["It names:", ...indented(table(rows))];
}

/** A status that is not Brevet's. */
export function foreignLines({ says, causes, next }: Foreign, title: string): string[] {
  return [
    `${title}: no reason of Brevet's stands in it`,
    `  ${says}`,
    "Why it comes, most likely:",
    ...causes.map((cause) => `  - ${cause}`),
    "What helps:",
    `  ${next}`,
  ];
}

/** What the authority has on a decision, or would decide. */
export function explanationLines(answer: PolicyServiceExplainResponse): string[] {
  const { decision, caller, permitted, explanation, nearestMiss, matchedRule, differences, remedy } = answer;
  const halves =
    decision === undefined && caller === undefined
      ? []
      : [
          "Guard's half:",
          ...indented(
            decision === undefined ? "not recorded one by one: refusals without an identity are only counted" : guardHalf(decision),
          ),
          "Caller's half:",
          ...indented(caller === undefined ? "not reported" : callerHalf(caller)),
          ...(differences.length === 0 ? [] : ["Where they differ:", ...differences.map((each) => `  - ${each}`)]),
        ];
  return [
    permitted ? "Permitted" : `Refused: ${reasonName(answer.reason)}`,
    ...(explanation === "" ? [] : indented(explanation)),
    ...(matchedRule === "" ? [] : [`Rule: ${matchedRule}`]),
    ...(nearestMiss === "" ? [] : [`Nearest miss: ${nearestMiss}`]),
    ...halves,
    ...(remedy === "" ? [] : ["What helps:", ...indented(remedy)]),
  ];
}

/** `ELEVATION_REQUIRED` for its number. */
export function reasonName(reason: number): string {
  return ReasonSchema.values.find(({ number }) => number === reason)?.localName ?? `REASON_${reason}`;
}

function guardHalf(decision: DecisionRecord): string {
  const { count, lastTime, deadline } = decision;
  return table(
    present([
      ["decision", decision.decisionId],
      ["when", `${time(decision.time)}${count > 1n ? `, ${count} times until ${time(lastTime)}` : ""}`],
      ["guard", [decision.guard?.name ?? "", decision.instance].filter(Boolean).join(" ")],
      ["audience", decision.audience],
      ["method", decision.method],
      ["who", decision.principal || "nobody: no valid identity"],
      ["outcome", outcomeOf(decision)],
      ["elevation", decision.elevation],
      ["policy version", decision.policyVersion === 0n ? "" : String(decision.policyVersion)],
      ["metadata seen", decision.headersSeen.join(", ")],
      ["deadline left", deadline === undefined ? "" : formatDuration(durationMs(deadline))],
      ["trace", decision.traceId],
    ]),
  );
}

function outcomeOf({ permitted, observed, reason, callStatus }: DecisionRecord): string {
  if (observed) return `permitted only because the policy observes; enforced it would be ${reasonName(reason)}`;
  return permitted ? `permitted; the call ended as ${codeName(callStatus)}` : reasonName(reason);
}

function callerHalf(caller: CallerReport): string {
  return table(
    present([
      ["when", `${time(caller.callerTime)} on the caller's clock`],
      ["method", caller.method],
      ["received", `${codeName(caller.code)}${caller.reason === "" ? "" : ` ${caller.reason}`}`],
      ["metadata sent", caller.headersSent.join(", ")],
      ["deadline given", caller.deadline === undefined ? "none" : formatDuration(durationMs(caller.deadline))],
      ["trace", caller.traceId],
    ]),
  );
}

function present(rows: readonly (readonly [string, string])[]): (readonly [string, string])[] {
  return rows.filter(([, value]) => value !== "");
}

function indented(text: string): string[] {
  return text.split("\n").map((line) => `  ${line}`);
}

function time(timestamp: Timestamp | undefined): string {
  return timestamp === undefined ? "at an unknown time" : timestampDate(timestamp).toISOString();
}

function filled(remedy: string, { method, elevation }: Readonly<Record<string, string>>): string {
  return remedy.replaceAll(/\bMETHOD\b/g, () => method || "METHOD").replaceAll(/\bELEVATION\b/g, () => elevation || "ELEVATION");
}
