// What the policy of world.ts says, in the model's words. Kept by hand, so that the model does not read what it is to check.

export interface Told {
  readonly requesters: readonly string[];
  readonly max: number;
  readonly cooldown: number;
  readonly stages: readonly {
    readonly people: readonly string[];
    readonly quorum: number;
    /** Who may vote too, so many minutes later. */
    readonly later?: { readonly after: number; readonly people: readonly string[] };
  }[];
  readonly extend?: { readonly max: number; readonly approval: "same" | "none" };
  readonly glass: boolean;
  /** Who may review a break-glass use. */
  readonly reviewers?: readonly string[];
}

const [ANA, BO, CY, RITA, SAM, SRE] = [
  "user:ana@test",
  "user:bo@test",
  "user:cy@test",
  "user:rita@test",
  "user:sam@test",
  "user:sre@test",
] as const;

/** Who is approved by the policy. */
export const AUTOMATIC: readonly string[] = ["ci:run"];

/** Everybody, whoever may do what. */
export const PEOPLE: readonly string[] = [ANA, BO, CY, RITA, SAM, SRE, "user:admin@test", "ci:run", "workload:guard"];

export type EntitlementName = "refund" | "pair" | "slow" | "glass";

export const ENTITLEMENTS: Readonly<Record<EntitlementName, Told>> = {
  refund: {
    requesters: [RITA, SAM, "ci:run"],
    max: 20,
    cooldown: 5,
    stages: [
      { people: [ANA, BO, RITA], quorum: 1 },
      { people: [BO, CY], quorum: 1 },
    ],
    extend: { max: 40, approval: "same" },
    glass: false,
  },
  pair: {
    requesters: [RITA, SAM],
    max: 30,
    cooldown: 20,
    stages: [{ people: [ANA, BO, RITA, CY], quorum: 2 }],
    extend: { max: 60, approval: "none" },
    glass: false,
  },
  slow: {
    requesters: [RITA, SAM],
    max: 20,
    cooldown: 5,
    stages: [
      { people: [ANA], quorum: 1, later: { after: 10, people: [BO, CY] } },
      { people: [CY], quorum: 1, later: { after: 5, people: [ANA, BO] } },
    ],
    extend: { max: 40, approval: "same" },
    glass: false,
  },
  glass: { requesters: [SAM, SRE], max: 10, cooldown: 0, stages: [], glass: true, reviewers: ["user:admin@test", BO, CY] },
};
