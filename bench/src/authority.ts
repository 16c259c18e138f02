// The authority of a benchmark, in a process of its own.
import { type Authority, startAuthority } from "@brevet/authority";
import { pino } from "pino";
import { descriptors, policyText } from "./elevated.ts";
import { answer } from "./process.ts";

/** What the parent asks: to start, and then for tokens of made-up people. */
export type AuthorityQuestion =
  | { readonly kind: "start"; readonly data: string }
  | { readonly kind: "token"; readonly principal: string; readonly audience: string; readonly groups: readonly string[] };

/** Where it is, and tokens of a requester and an approver for it. */
export interface AuthorityAnswer {
  readonly url: string;
  /** Of made-up people's tokens. */
  readonly issuer: string;
  readonly requester: string;
  readonly approver: string;
}

let started: Authority | undefined;

answer(async (question: AuthorityQuestion): Promise<AuthorityAnswer | string> => {
  if (question.kind === "token") {
    if (started?.dev === undefined) throw new Error("start it first");
    return started.dev.token(question.principal, { audience: question.audience, groups: question.groups, ttl: 3600 });
  }
  const { data } = question;
  const authority = await startAuthority({
    data,
    listen: { host: "127.0.0.1", port: 0 },
    admin: false,
    policies: [{ file: "bench.yaml", text: policyText(), descriptors: descriptors() }],
    dev: true,
    logger: pino({ level: "error" }),
  });
  started = authority;
  if (authority.dev === undefined) throw new Error("needs a development authority");
  return {
    url: authority.url,
    issuer: authority.dev.issuer,
    requester: await authority.dev.token("user:sam@example.com", { audience: "brevet", groups: ["group:callers"], ttl: 3600 }),
    approver: await authority.dev.token("user:ana@example.com", { audience: "brevet", ttl: 3600 }),
  };
});
