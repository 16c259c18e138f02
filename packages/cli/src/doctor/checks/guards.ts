// Whether guards have what the authority has: keys, policy, the link. Pure.
import { formatDuration } from "@brevet/protocol";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Evidence } from "../evidence.ts";
import { type Finding, ok, problem, unknown } from "../finding.ts";

/** Heartbeats come every quarter minute at the latest. */
const SILENT_MS = 60_000;

/** Keys of grants and of the caller's issuer, at each guard against the authority and the issuer itself. */
export function checkKeys({ targets, probe, issuerKeyIds }: Evidence): Finding[] {
  const found: Finding[] = [];
  const authority = probe.kind === "answer" ? probe.value.value : undefined;
  for (const { target, probe: asked } of targets) {
    if (asked.kind !== "answer") continue;
    const { grantKeyIds, issuer } = asked.value;
    const missing = (authority?.grantKeyIds ?? []).filter((kid) => !grantKeyIds.includes(kid));
    if (missing.length > 0)
      found.push(
        problem(
          `grant keys at ${target}`,
          `its guard lacks ${missing.join(", ")} of the authority: grants signed with it end as GRANT_KEY_UNKNOWN`,
          "see that the guard is linked (`brevet guards`); it gets keys with the link",
        ),
      );
    else if (authority !== undefined) found.push(ok(`grant keys at ${target}`, "are the authority's"));
    const wanted =
      issuerKeyIds?.issuer === issuer?.issuer ? issuerKeyIds : authority?.issuer?.issuer === issuer?.issuer ? authority?.issuer : undefined;
    if (issuer === undefined || wanted === undefined) continue;
    const lost = wanted.keyIds.filter((kid) => !issuer.keyIds.includes(kid));
    const fetched = issuer.fetchTime === undefined ? "" : `, fetched ${new Date(timestampMs(issuer.fetchTime)).toISOString()}`;
    found.push(
      lost.length === 0
        ? ok(`issuer's keys at ${target}`, `are those of ${issuer.issuer}`)
        : problem(
            `issuer's keys at ${target}`,
            `its guard's are older than the issuer's: it lacks ${lost.join(", ")} of ${issuer.issuer}${fetched}. Tokens signed with it end as IDENTITY_KEY_UNKNOWN`,
            "the authority fetches issuers' keys and sends them on: see that it reaches the issuer, and that the guard is linked (`brevet guards`)",
          ),
    );
  }
  return found;
}

/** The policy version in force at each guard, against the current one. */
export function checkPolicyLag({ targets, guards, probe, audience, nowMs }: Evidence): Finding[] {
  if (audience === "") return [unknown("policy at guards", "name the deployment with --audience")];
  const current = probe.kind === "answer" ? probe.value.value.policyVersion : 0n;
  if (current === 0n)
    return [unknown("policy at guards", `the authority told no version of ${audience}: it does not know you there, or is not reached`)];
  const found = targets.flatMap(({ target, probe: asked }) =>
    asked.kind === "answer" ? [lagOf(`policy at ${target}`, asked.value.policyVersion, current)] : [],
  );
  if (guards.kind !== "answer") return found;
  for (const { instance, guard, connected, acknowledgement, lastSeen } of guards.value) {
    const name = `guard ${guard?.name ?? ""} ${instance}`;
    if (!connected) {
      const sinceMs = lastSeen === undefined ? 0 : nowMs - timestampMs(lastSeen);
      if (sinceMs > SILENT_MS)
        found.push(
          problem(
            name,
            `is not linked, last seen ${formatDuration(sinceMs)} ago: if it still runs, it decides by what it knew then (POLICY_STALE after the policy's limit)`,
            "see its log for why the link is down; one that was stopped is forgotten by itself",
          ),
        );
      continue;
    }
    if (acknowledgement !== undefined) found.push(lagOf(`policy at ${name}`, acknowledgement.policyVersion, current));
  }
  return found;
}

function lagOf(check: string, version: bigint, current: bigint): Finding {
  if (version === current) return ok(check, `version ${version} is the current one`);
  if (version === 0n)
    return problem(
      check,
      "no policy is in force there: calls end as UNAVAILABLE (POLICY_UNAVAILABLE)",
      "see the guard's log: it is not linked, or cannot enforce the newest version",
    );
  return problem(
    check,
    `version ${version} is in force, and ${current} is current: it permits and refuses by old rules`,
    "see that the guard is linked (`brevet guards`); its log says why it does not take the newer one",
  );
}
