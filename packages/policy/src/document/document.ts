// The policy document as people write it: what each key is, and nothing derived from it.
// Never judges: the shape is read by read.ts, the rules over it are in check/.

/** Length of time as written: a whole number and `s`, `m`, `h` or `d`. */
export type DurationText = string;
/** `user:…`, `workload:…`, `ci:…` or `group:…`. */
export type Selector = string;
/** A CEL expression. */
export type Expression = string;

/** Who may call a method. */
export type Access = "open" | "authenticated" | "elevated" | "forbidden";

/** The whole document of one audience. */
export interface PolicyDocument {
  readonly apiVersion: "brevet.dev/v1";
  readonly audience: string;
  /** File name of the descriptors that travel with the document. */
  readonly descriptors?: string;
  readonly identity?: IdentityDocument;
  /** Members by group; principals only. */
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  /** Who may sync and report for this audience. */
  readonly guards?: readonly Selector[];
  readonly roles?: { readonly admin?: readonly Selector[]; readonly auditor?: readonly Selector[] };
  readonly apply?: { readonly quorum: number };
  /** By `package.Service`. */
  readonly services?: Readonly<Record<string, ServiceDocument>>;
  readonly whenStale?: { readonly after?: DurationText; readonly then?: "known" | "deny"; readonly atMost?: DurationText };
  readonly mode?: "enforce" | "observe";
  readonly entitlements?: Readonly<Record<string, EntitlementDocument>>;
  readonly tests?: readonly TestDocument[];
}

/** Who callers are. */
export interface IdentityDocument {
  readonly issuers?: readonly IssuerDocument[];
  /** Trust domains of SPIFFE certificates. */
  readonly clientCertificates?: { readonly spiffe: readonly string[] };
}

/** One issuer of identity tokens; the expressions are over `claims`. */
export interface IssuerDocument {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly principal: Expression;
  readonly groups?: Expression;
  readonly mayAssert?: readonly string[];
  readonly initiator?: Expression;
}

/** One gRPC service. */
export interface ServiceDocument {
  readonly default?: Access;
  readonly methods?: Readonly<Record<string, MethodDocument>>;
}

/** One method. */
export interface MethodDocument {
  readonly access: Access;
  readonly risk?: "low" | "medium" | "high" | "critical";
  readonly bind?: "payload";
}

/** One entitlement. */
export interface EntitlementDocument {
  readonly description?: string;
  readonly methods: readonly string[];
  readonly requesters: readonly Selector[];
  readonly condition?: Expression;
  readonly present?: "any" | "grant" | "bound";
  readonly duration?: { readonly default?: DurationText; readonly max?: DurationText };
  readonly pending?: DurationText;
  readonly startWithin?: DurationText;
  readonly extend?: { readonly max?: DurationText; readonly approval?: "same" | "none" | "never" };
  readonly reason?: { readonly required?: boolean; readonly pattern?: string };
  readonly schedule?: ScheduleDocument;
  readonly approval?: { readonly automatic?: Expression; readonly stages?: readonly StageDocument[] };
  readonly breakGlass?: { readonly notify: readonly Selector[]; readonly reviewWithin?: DurationText };
  readonly streams?: { readonly onExpiry: "terminate" | "drain"; readonly for?: DurationText };
  readonly delegates?: readonly Selector[];
  readonly cooldown?: DurationText;
}

/** When an entitlement may be asked for and started. */
export interface ScheduleDocument {
  readonly days: readonly Day[];
  readonly from: string;
  readonly to: string;
  readonly timezone: string;
}

/** A day of the week. */
export type Day = "mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun";

/** One stage of the approval. */
export interface StageDocument {
  readonly approvers: readonly Selector[];
  readonly quorum?: number;
  readonly escalate?: { readonly after: DurationText; readonly to: readonly Selector[] };
}

/** One of the document's own tests. */
export interface TestDocument {
  readonly name: string;
  readonly call: {
    readonly principal: string;
    readonly groups?: readonly string[];
    readonly claims?: Readonly<Record<string, unknown>>;
    readonly method: string;
    /** The request as protobuf JSON; field names as in the .proto file or in lowerCamelCase. */
    readonly request?: Readonly<Record<string, unknown>>;
  };
  /** An entitlement that the principal is given for the call. */
  readonly with?: string;
  readonly expect: { readonly decision: "permit" | "deny"; readonly reason?: string };
}
