// A test authority, a guard and a guarded service, together.
import { type Guard, type GuardOptions, guard } from "../grpc/grpc.ts";
import { GUARD_TOKEN, TestAuthority, type TestAuthorityOptions } from "./authority.ts";
import { AUDIENCE, DESCRIPTORS, POLICY } from "./facts.ts";
import { TestService } from "./service.ts";

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
  const authority = await TestAuthority.start({ policy: POLICY, descriptors: DESCRIPTORS, ...options });
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
