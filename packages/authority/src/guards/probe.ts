// What the authority tells `brevet doctor`: the names that arrived, its time, and what guards of an audience ought to have by now.
// Nothing of an audience that does not know the caller; of issuers only the caller's own.
import type { Clock } from "@brevet/protocol";
import { type GuardServiceProbeResponse, GuardServiceProbeResponseSchema, ProbedIssuerSchema } from "@brevet/protocol/brevet/v1/guard";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { CurrentPolicies } from "../elevation/policies.ts";
import type { AuthenticatedCaller, Identities } from "../identity/identity.ts";
import type { Grants } from "../issuer/grants.ts";

const SOFTWARE = "brevet-authority/0.1.0";

/** What it stands on. */
export interface ProbeOptions {
  readonly clock: Clock;
  readonly policies: CurrentPolicies;
  readonly grants: Pick<Grants, "jwks">;
  readonly identities: Pick<Identities, "publishedKeys">;
}

/** Answers probes. */
export class Probe {
  readonly #options: ProbeOptions;

  constructor(options: ProbeOptions) {
    this.#options = options;
  }

  /** `audience`: whose policy and whose name of the caller are wanted; empty, or one that does not know the caller: neither is told. */
  async answer(
    caller: AuthenticatedCaller,
    { audience, headersSeen }: { readonly audience: string; readonly headersSeen: readonly string[] },
  ): Promise<GuardServiceProbeResponse> {
    const { clock, policies, grants } = this.#options;
    const principal = audience === "" ? undefined : caller.principalFor(audience);
    const answer = create(GuardServiceProbeResponseSchema, {
      headersSeen: [...headersSeen],
      time: timestampFromMs(Math.round(clock.wallMs())),
      audience,
      form: "authority",
      software: SOFTWARE,
      grantKeyIds: kidsOf(await grants.jwks()),
      principal: principal?.name ?? "",
    });
    answer.authorityTime = answer.time ?? timestampFromMs(0);
    if (principal === undefined) return answer;
    answer.policyVersion = policies.current(audience)?.version ?? 0n;
    const issuer = this.#issuer(principal.claims["iss"], audience);
    if (issuer !== undefined) answer.issuer = issuer;
    return answer;
  }

  #issuer(name: unknown, audience: string) {
    const policy = this.#options.policies.current(audience)?.policy;
    const published = policy === undefined ? [] : this.#options.identities.publishedKeys(policy);
    const found = published.find(({ issuer }) => issuer === name);
    return (
      found &&
      create(ProbedIssuerSchema, {
        issuer: found.issuer,
        keyIds: kidsOf(found.jwks),
        ...(found.fetchedMs > 0 && { fetchTime: timestampFromMs(Math.round(found.fetchedMs)) }),
      })
    );
  }
}

function kidsOf(jwks: string): string[] {
  try {
    const { keys } = JSON.parse(jwks) as { keys?: { kid?: string }[] };
    return (keys ?? []).map(({ kid }) => kid ?? "").toSorted();
  } catch {
    // Not fetched yet.
    return [];
  }
}
