// Which metadata is lost between here and the guard: names sent against names seen. Pure.
import type { Evidence, TargetEvidence } from "../evidence.ts";
import { type Finding, ok, problem, unknown } from "../finding.ts";

const CREDENTIALS: readonly string[] = ["authorization", "brevet-grant"];

/** See the head of this file. */
export function checkHeaders({ targets }: Evidence): Finding[] {
  return targets.flatMap((each) => headersOf(each));
}

function headersOf({ target, sent, probe }: TargetEvidence): Finding[] {
  const seen = seenAt(probe);
  const check = `metadata to ${target}`;
  if (seen === undefined) return probe.kind === "unreachable" ? [] : [unknown(check, `no guard says what arrived there${noProbe(probe)}`)];
  const lost = sent.filter((name) => !seen.includes(name));
  const shown = `sent ${sent.join(", ")}; seen ${seen.join(", ") || "none of it"}`;
  if (lost.length === 0) return [ok(check, shown)];
  return lost.map((name) => {
    const says = `${name} is taken off on the way (${shown})`;
    const fix = `see what stands between: a gateway or mesh that consumes ${name}, or an allow-list of headers; let it pass ${name}${CREDENTIALS.includes(name) ? ", which is what callers prove themselves with" : ""}`;
    if (name === "authorization") return problem(check, `${says}: every call ends as UNAUTHENTICATED (IDENTITY_MISSING)`, fix);
    if (name === "brevet-grant")
      return problem(check, `${says}: where a grant is demanded, calls end as PERMISSION_DENIED (ELEVATION_REQUIRED)`, fix);
    return problem(check, says, fix);
  });
}

/** A guard that refuses for want of an identity says what arrived, too. */
function seenAt(probe: TargetEvidence["probe"]): readonly string[] | undefined {
  if (probe.kind === "answer") return probe.value.headersSeen;
  const text = probe.kind === "status" ? probe.status.metadata.headersSeen : undefined;
  return text?.split(",").filter((name) => name !== "");
}

function noProbe(probe: TargetEvidence["probe"]): string {
  if (probe.kind !== "status" || probe.status.code !== 12) return "";
  return ": no guard stands there, or it is one of a grpc-js server without `guard.addProbe(server)`";
}
