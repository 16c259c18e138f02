// Whether authority and services are reached at all, and whether their certificates hold. Pure.
import { formatDuration } from "@brevet/protocol";
import type { Evidence, TargetEvidence } from "../evidence.ts";
import { type Finding, ok, problem, unknown, warning } from "../finding.ts";
import type { Certificate, WireAnswer } from "../wire.ts";

const SOON_MS = 14 * 24 * 3_600_000;

/** What keeps a certificate from being trusted, and what to do, by Node's code. */
const CERTIFICATES: Readonly<Record<string, readonly [says: string, fix: string]>> = {
  ERR_TLS_CERT_ALTNAME_INVALID: ["is for another name", "call the server by a name in its certificate, or have one made for this name"],
  DEPTH_ZERO_SELF_SIGNED_CERT: ["is self-signed, and not trusted here", "trust it with --ca FILE (--target-ca FILE for a service)"],
  SELF_SIGNED_CERT_IN_CHAIN: [
    "comes from an authority that is not trusted here",
    "trust that authority with --ca FILE (--target-ca FILE for a service)",
  ],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: [
    "comes from an authority that is not trusted here, or the server leaves out the chain",
    "trust that authority with --ca FILE, or have the server send the chain",
  ],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: [
    "comes from an authority that is not trusted here, or the server leaves out the chain",
    "trust that authority with --ca FILE, or have the server send the chain",
  ],
};

/** The authority. */
export function checkAuthority({ authority, authorityReach, nowMs }: Evidence): Finding[] {
  return [reached("authority", authority, authorityReach), ...certificateOf("authority", authorityReach.certificate, nowMs)];
}

/** The services. */
export function checkTargets({ targets, nowMs }: Evidence): Finding[] {
  if (targets.length === 0) return [unknown("service", "name one with --target host:port to see what arrives there")];
  return targets.flatMap((each) => [targetReached(each), ...certificateOf(`service ${each.target}`, each.certificate, nowMs)]);
}

/** Whether the authority, or a service, could not be reached. */
export function isUnreachable({ authorityReach, targets }: Evidence): boolean {
  return authorityReach.kind === "unreachable" || targets.some(({ probe }) => probe.kind === "unreachable");
}

function targetReached({ target, probe }: TargetEvidence): Finding {
  if (probe.kind === "no-token") return unknown(`service ${target}`, probe.why);
  if (probe.kind !== "answer") return reached(`service ${target}`, target, probe);
  return ok(`service ${target}`, `a guard answers (${probe.value.form}, ${probe.value.instance}, ${probe.value.software})`);
}

function reached(check: string, where: string, answer: WireAnswer): Finding {
  switch (answer.kind) {
    case "unreachable":
      return problem(
        check,
        `${where} was not reached: ${answer.cause}. Calls end as UNAVAILABLE${check === "authority" ? "; guards go on with what they know, requests and approvals stand still (AUTHORITY_UNREACHABLE)" : ""}`,
        fixFor(answer.cause, where),
      );
    case "http":
      return problem(
        check,
        `${where} answers HTTP ${answer.httpStatus}, and not gRPC: something else stands there, or a gateway refuses in plain HTTP`,
        "correct the address, or have the gateway pass gRPC (HTTP/2, trailers) through",
      );
    case "silent":
      return problem(check, `${where} took the call and did not answer in time`, "look at its log and its load");
    default:
      return ok(check, `${where} answers`);
  }
}

function fixFor(cause: string, where: string): string {
  if (cause === "ENOTFOUND" || cause === "EAI_AGAIN") return `the name in ${where} does not resolve: correct it, or the DNS`;
  if (cause === "ECONNREFUSED") return `nothing listens at ${where}: start it, or correct the address`;
  if (/CERT|SIGNATURE|SELF_SIGNED/.test(cause)) return "see the certificate below";
  return `see that ${where} is up and that no firewall stands between; plaintext and TLS on the wrong port look like this too`;
}

function certificateOf(name: string, certificate: Certificate | undefined, nowMs: number): Finding[] {
  if (certificate === undefined) return [];
  const { fromMs, toMs, problem: wrong, subject } = certificate;
  const check = `certificate of ${name}`;
  if (nowMs > toMs)
    return [
      problem(
        check,
        `${subject} expired ${formatDuration(nowMs - toMs)} ago by this machine's clock: no client connects (UNAVAILABLE)`,
        "renew it; if a clock is off as well, set that right first",
      ),
    ];
  if (nowMs < fromMs)
    return [
      problem(
        check,
        `${subject} becomes valid in ${formatDuration(fromMs - nowMs)} by this machine's clock: no client connects (UNAVAILABLE)`,
        "a clock is off, or it was made for later: compare the clocks first",
      ),
    ];
  if (wrong !== undefined) {
    const [says, fix] = CERTIFICATES[wrong] ?? [`is not trusted: ${wrong}`, "have a certificate made that clients trust"];
    return [problem(check, `${subject} ${says}: no client connects (UNAVAILABLE)`, fix)];
  }
  if (toMs - nowMs < SOON_MS) return [warning(check, `${subject} expires in ${formatDuration(toMs - nowMs)}`, "renew it")];
  return [ok(check, `${subject} holds for ${formatDuration(toMs - nowMs)}`)];
}
