// What guards saw of calls in the last day: callers without credentials, deadlines that no approval fits into. And whether a protected method
// is protected at all. Pure.
import { codeName, formatDuration } from "@brevet/protocol";
import { Reason } from "@brevet/protocol/brevet/v1/reason";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Evidence, OWN_HEADER, type TargetEvidence } from "../evidence.ts";
import { type Finding, ok, problem, unknown } from "../finding.ts";
import type { WireAnswer } from "../wire.ts";

/** What a person takes where nobody has decided yet. */
const A_PERSON_MS = 60_000;
const AWAITING: ReadonlySet<Reason> = new Set([Reason.ELEVATION_REQUIRED, Reason.ELEVATION_PENDING]);

/** Callers that send no identity at all. */
export function checkCredentials({ decisions, audience }: Evidence): Finding[] {
  const check = "callers without credentials";
  if (audience === "" || decisions.kind !== "answer") return [unknown(check, "takes --audience and the role admin or auditor there")];
  const others = decisions.value.filter(({ headersSeen }) => !headersSeen.includes(OWN_HEADER));
  const missing = others.filter(({ reason }) => reason === Reason.IDENTITY_MISSING);
  if (missing.length === 0) return [ok(check, `none among the ${others.length} decisions of the last day that you may read`)];
  const byMethod = Map.groupBy(missing, ({ method }) => method);
  return [...byMethod].map(([method, records]) => {
    const count = records.reduce((sum, each) => sum + Number(each.count), 0);
    const names = [...new Set(records.flatMap(({ headersSeen }) => headersSeen))].toSorted();
    return problem(
      check,
      `${count} call${count === 1 ? "" : "s"} of ${method || "unlisted methods"} came without \`authorization\` (metadata that came: ${names.join(", ") || "none"}): IDENTITY_MISSING`,
      "give that client an identity (the client library's `identity`), or see whether something on the way takes `authorization` off: brevet doctor --target ADDRESS from where it runs",
    );
  });
}

/** Deadlines that are shorter than the approvals that the calls need. */
export function checkDeadlines({ decisions, approvalsMs, audience }: Evidence): Finding[] {
  const check = "deadlines";
  if (audience === "" || decisions.kind !== "answer") return [unknown(check, "takes --audience, and decisions that you may read")];
  const took = approvalsMs.kind === "answer" ? approvalsMs.value : [];
  const found: Finding[] = [];
  const awaiting = decisions.value.filter(({ reason, deadline }) => AWAITING.has(reason) && deadline !== undefined);
  for (const [method, records] of Map.groupBy(awaiting, (each) => each.method)) {
    const measured = took.filter((each) => each.method === method).map(({ tookMs }) => tookMs);
    const needMs = measured.length === 0 ? A_PERSON_MS : median(measured);
    const short = records.filter(({ deadline }) => deadline !== undefined && durationMs(deadline) < needMs);
    if (short.length === 0) continue;
    const shortestMs = Math.min(...short.map(({ deadline }) => (deadline === undefined ? Infinity : durationMs(deadline))));
    const count = short.reduce((sum, each) => sum + Number(each.count), 0);
    const basis =
      measured.length === 0
        ? "a person takes a minute at least"
        : `approvals took ${formatDuration(needMs)} (median of ${measured.length})`;
    found.push(
      problem(
        check,
        `${count} call${count === 1 ? "" : "s"} of ${method} needed an approval and came with a deadline of ${formatDuration(shortestMs)} or more; ${basis}: a wait inside that deadline ends as DEADLINE_EXCEEDED`,
        "wait apart from the call's deadline (the client library does, see `wait`), or ask beforehand: brevet request METHOD --wait",
      ),
    );
  }
  return found.length > 0 ? found : [ok(check, `none too short among ${awaiting.length} refused calls that had one`)];
}

/** A method that should be refused without an elevation, called with its headers only. */
export function checkMethod({ targets, policy, audience }: Evidence): Finding[] {
  return targets.flatMap(({ target, method }) =>
    method === undefined ? [] : [protection(target, method, accessOf(policy, audience, method.name))],
  );
}

function protection(
  target: string,
  { name, anonymous, known }: NonNullable<TargetEvidence["method"]>,
  access: string | undefined,
): Finding {
  const check = `${name} at ${target}`;
  if (anonymous.kind === "unreachable") return unknown(check, "the service was not reached");
  const refused = [anonymous, ...(known === undefined ? [] : [known])].map(reasonOf);
  const [first, second] = refused;
  if (first !== undefined)
    return ok(
      check,
      `a guard refuses it: ${first} without an identity${second === undefined ? (known === undefined ? "" : "; with yours it would run, or waits for its request") : `, ${second} with yours`}`,
    );
  if (access === "open") return ok(check, "is open by the policy, and not refused");
  return problem(
    check,
    `is not refused without an identity (${shown(anonymous)}): no guard stands in front of it here, so it runs without an elevation`,
    "put the guard's interceptor first in the server's `interceptors`, or the proxy in front; close the port that goes round it",
  );
}

function reasonOf(answer: WireAnswer): string | undefined {
  return answer.kind === "status" ? answer.status.reason : undefined;
}

function shown(answer: WireAnswer): string {
  if (answer.kind === "status") return codeName(answer.status.code);
  return answer.kind === "silent" ? "it waits for the request" : answer.kind;
}

function accessOf(policy: Evidence["policy"], audience: string, method: string): string | undefined {
  if (policy.kind !== "answer" || policy.value === undefined || audience === "") return undefined;
  const [, name = ""] = method.split("/");
  return new RegExp(`\\b${name}:\\s*\\{[^}]*access:\\s*(\\w+)`).exec(policy.value.document)?.[1];
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
