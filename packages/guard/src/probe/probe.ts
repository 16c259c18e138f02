// What a guard tells `brevet doctor` of itself and of the call that asks: names of metadata that arrived, its clock, its policy, its keys.
// Never a value of any metadata, and nothing of other callers. Decides nothing: who asks has been identified.
import type { PrincipalFacts } from "@brevet/policy";
import type { TimeEstimate } from "@brevet/protocol";
import { GuardServiceProbeResponseSchema, ProbedIssuerSchema } from "@brevet/protocol/brevet/v1/guard";
import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Knowledge } from "../core/knowledge.ts";

const MOST_NAMES = 64;
const MOST_NAME = 256;

/** The guard, and what it knows. */
export interface Probed {
  readonly audience: string;
  readonly form: string;
  readonly instance: string;
  readonly software: string;
  readonly knowledge: Knowledge | undefined;
  /** Its estimate of the authority's time. */
  readonly now: TimeEstimate | undefined;
  /** The machine's wall clock, as it is. */
  readonly wallMs: number;
}

/** The serialised answer for a caller. */
export function probeAnswer(
  { audience, form, instance, software, knowledge, now, wallMs }: Probed,
  caller: { readonly principal: PrincipalFacts | undefined; readonly headersSeen: readonly string[] },
): Uint8Array {
  const { principal, headersSeen } = caller;
  const known = now !== undefined && Number.isFinite(now.errorMs);
  const answer = create(GuardServiceProbeResponseSchema, {
    headersSeen: headersSeen
      .slice(0, MOST_NAMES)
      .map((name) => name.slice(0, MOST_NAME))
      .toSorted(),
    time: timestampFromMs(Math.round(wallMs)),
    audience,
    form,
    instance,
    software,
    policyVersion: knowledge?.policy?.version ?? 0n,
    ...(known && { authorityTime: timestampFromMs(Math.round(now.authorityMs)), clockError: durationFromMs(Math.ceil(now.errorMs)) }),
    ...(knowledge !== undefined && knowledge.heardMs > 0 && { heardTime: timestampFromMs(Math.round(knowledge.heardMs)) }),
    grantKeyIds: [...(knowledge?.keys.grants.keys() ?? [])].toSorted(),
    principal: principal?.name ?? "",
  });
  const name = principal?.claims["iss"];
  const issuer = typeof name === "string" ? knowledge?.keys.issuers.get(name) : undefined;
  if (issuer !== undefined) {
    const keyIds = (issuer.keys?.jwks().keys ?? []).map(({ kid }) => kid ?? "").toSorted();
    answer.issuer = create(ProbedIssuerSchema, {
      issuer: issuer.issuer,
      keyIds,
      ...(issuer.fetchedMs > 0 && { fetchTime: timestampFromMs(Math.round(issuer.fetchedMs)) }),
    });
  }
  return toBinary(GuardServiceProbeResponseSchema, answer);
}
