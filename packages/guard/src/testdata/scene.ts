// A test authority, a guard and a guarded service, together.
import { type Guard, type GuardOptions, guard } from "../grpc/grpc.ts";
import { AUDIENCE, GUARD_TOKEN, TestAuthority, type TestAuthorityOptions } from "./authority.ts";
import { TestService } from "./service.ts";

/** The policy of the tests. */
export const POLICY = `
apiVersion: brevet.dev/v1
audience: ${AUDIENCE}
groups: { "group:oncall": ["user:ana@acme.test", "user:bo@acme.test"] }
guards: ["workload:guard"]
roles: { admin: ["group:platform"] }
services:
  test.v1.Ledger:
    default: authenticated
    methods:
      Refund: { access: elevated }
      Watch: { access: elevated }
      Import: { access: elevated }
      Chat: { access: elevated }
      Ping: { access: open }
      Hidden: { access: forbidden }
entitlements:
  refunds:
    methods: [test.v1.Ledger/Refund]
    requesters: ["group:support"]
    duration: { default: 15m, max: 1h }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
  streams:
    methods: [test.v1.Ledger/Watch, test.v1.Ledger/Import, test.v1.Ledger/Chat]
    requesters: ["group:support"]
    duration: { default: 15m, max: 1h }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
`;

/** What belongs together; closed together. */
export interface TestScene extends AsyncDisposable {
  readonly authority: TestAuthority;
  readonly guard: Guard;
  readonly service: TestService;
  /** Lines of the guard's log, fields and message. */
  readonly lines: Record<string, unknown>[];
  /** `authorization` of a person, Sam of support unless told. */
  as(principal?: string, claims?: Parameters<TestAuthority["token"]>[1]): Promise<string>;
}

/** Starts all three, and waits until the guard is ready. */
export async function scene(options: Partial<TestAuthorityOptions> & { readonly guard?: Partial<GuardOptions> } = {}): Promise<TestScene> {
  const authority = await TestAuthority.start({ policy: POLICY, ...options });
  const lines: Record<string, unknown>[] = [];
  const write = (fields: object, message: string): void => {
    lines.push({ ...fields, message });
  };
  const logger = { info: write, warn: write, error: write };
  const made = guard({ authority: authority.url, audience: AUDIENCE, identity: () => GUARD_TOKEN, logger, ...options.guard });
  await made.ready(AbortSignal.timeout(10_000));
  const service = await TestService.start([made.interceptor]);
  return {
    authority,
    guard: made,
    service,
    lines,
    as: async (principal, claims) => `Bearer ${await authority.token(principal, claims)}`,
    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]();
      await made.close();
      await authority.stop();
    },
  };
}
