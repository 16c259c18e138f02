// Finds why calls fail: gathers what can be seen from here, and names each fault with what it does to calls and how to mend it.
// Changes nothing, runs no method, and shows no token.
import { checkCredentials, checkDeadlines, checkMethod } from "./checks/calls.ts";
import { checkClocks } from "./checks/clock.ts";
import { checkKeys, checkPolicyLag } from "./checks/guards.ts";
import { checkHeaders } from "./checks/headers.ts";
import { checkIdentity } from "./checks/identity.ts";
import { checkAuthority, checkTargets, isUnreachable } from "./checks/reach.ts";
import { gather, type Wanted } from "./evidence.ts";
import type { Finding } from "./finding.ts";

/** What was found, in the order in which one thing rests on another. */
export interface Diagnosis {
  readonly findings: readonly Finding[];
  readonly unreachable: boolean;
}

/** Looks, and judges. Never rejects for what it finds. */
export async function diagnose(wanted: Wanted): Promise<Diagnosis> {
  const evidence = await gather(wanted);
  const findings = [
    ...checkAuthority(evidence),
    ...checkTargets(evidence),
    ...checkClocks(evidence),
    ...(await checkIdentity(evidence)),
    ...checkHeaders(evidence),
    ...checkKeys(evidence),
    ...checkPolicyLag(evidence),
    ...checkMethod(evidence),
    ...checkDeadlines(evidence),
    ...checkCredentials(evidence),
  ];
  return { findings, unreachable: isUnreachable(evidence) };
}
