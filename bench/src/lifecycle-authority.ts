// The authority of the lifecycle benchmark, in a process of its own.
import { startAuthority } from "@brevet/authority";
import { pino } from "pino";
import { policyText } from "./elevated.ts";
import { answer } from "./process.ts";

/** What the parent asks, once. */
export interface LifecycleQuestion {
  readonly data: string;
}

/** Where it is, and tokens of a requester and an approver. */
export interface LifecycleAnswer {
  readonly url: string;
  readonly requester: string;
  readonly approver: string;
}

answer(async ({ data }: LifecycleQuestion): Promise<LifecycleAnswer> => {
  const authority = await startAuthority({
    data,
    listen: { host: "127.0.0.1", port: 0 },
    admin: false,
    policies: [{ file: "bench.yaml", text: policyText() }],
    dev: true,
    logger: pino({ level: "error" }),
  });
  if (authority.dev === undefined) throw new Error("needs a development authority");
  return {
    url: authority.url,
    requester: await authority.dev.token("user:sam@example.com", { audience: "brevet", groups: ["group:callers"], ttl: 3600 }),
    approver: await authority.dev.token("user:ana@example.com", { audience: "brevet", ttl: 3600 }),
  };
});
