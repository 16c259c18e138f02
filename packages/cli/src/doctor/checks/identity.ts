// Whether whoever asks has an identity that authority and service take. Pure but for the look into the tokens, which are never shown.
import { catalogue, type ReceivedStatus } from "@brevet/protocol";
import { inspectToken } from "../../token/inspect.ts";
import type { Evidence } from "../evidence.ts";
import { type Finding, ok, problem, unknown } from "../finding.ts";

/** See the head of this file. */
export async function checkIdentity(evidence: Evidence): Promise<Finding[]> {
  const { hasIdentity, authorityToken, serviceToken, authorityAudience, audience, targets, probe } = evidence;
  if (!hasIdentity)
    return [
      problem(
        "identity",
        "none is configured: every call from here ends as UNAUTHENTICATED (IDENTITY_MISSING)",
        "--token-file FILE, BREVET_TOKEN_FILE or BREVET_TOKEN; where the authority runs with --dev, --as user:you@example.com",
      ),
    ];
  const found = [await tokenFinding("token for the authority", authorityToken, authorityAudience, evidence.nowMs)];
  if (probe.kind === "refused") found.push(refusal("identity at the authority", probe.status));
  if (audience === "") return [...found, unknown("token for the service", "name the deployment with --audience")];
  found.push(await tokenFinding("token for the service", serviceToken, audience, evidence.nowMs));
  for (const { target, probe: asked } of targets) {
    if (asked.kind === "status" && asked.status.reason !== undefined) found.push(refusal(`identity at ${target}`, asked.status));
    if (asked.kind === "answer") {
      const { principal, audience: guarded } = asked.value;
      found.push(
        guarded === audience
          ? ok(`identity at ${target}`, `is ${principal}`)
          : problem(
              `audience of ${target}`,
              `its guard guards ${guarded}, and you ask for ${audience}: tokens and elevations for the one are no good at the other`,
              `ask for --audience ${guarded}, or correct the guard's audience`,
            ),
      );
    }
  }
  return found;
}

async function tokenFinding(check: string, token: string | undefined, audience: string, nowMs: number): Promise<Finding> {
  if (token === undefined)
    return problem(check, "could not be had", "see that the token file is there and can be read, or that the authority answers");
  const report = await inspectToken(token, { jwks: undefined, audience, issuer: undefined, nowMs });
  const failed = report.checks.find(({ outcome }) => outcome === "failed");
  if (failed === undefined || report.reason === undefined) return ok(check, `is for ${audience} and has not expired`);
  return problem(check, `${report.reason}: ${failed.name} ${failed.detail}`, fixOf(report.reason, audience));
}

function refusal(check: string, { reason = "IDENTITY_MISSING", message }: ReceivedStatus): Finding {
  return problem(check, message.startsWith(reason) ? message : `${reason}: ${message}`, fixOf(reason, ""));
}

function fixOf(reason: keyof typeof catalogue, audience: string): string {
  if (reason === "IDENTITY_AUDIENCE_MISMATCH" && audience !== "")
    return `get a token whose \`aud\` has ${audience}: one token is good for one audience only`;
  return catalogue[reason].callerRemedy;
}
