// A server of the call benchmark: answers 100 bytes to any request, plain, guarded, or with what a user would write by hand with jose.
import { fromFile, guard } from "@brevet/guard/grpc";
import { type Metadata, Server, ServerCredentials, ServerInterceptingCall, type ServerInterceptor, status } from "@grpc/grpc-js";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import { AUDIENCE } from "./elevated.ts";
import { answer } from "./process.ts";

/** What the parent asks. */
export type ServerQuestion =
  | {
      readonly kind: "start";
      readonly form: "plain" | "guarded" | "jose";
      readonly authority: string;
      readonly identityFile: string;
      readonly jwks: string;
    }
  | { readonly kind: "cpu" };

/** What it answers. */
export interface ServerAnswer {
  readonly address: string;
  readonly cpuMicros: number;
}

const bytes = (value: Buffer) => value;
const service = {
  Call: {
    path: "/bench.v1.Bench/Call",
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  },
} as const;
const reply = Buffer.alloc(100, 7);
let address = "";

answer(async (question: ServerQuestion): Promise<ServerAnswer> => {
  if (question.kind === "start") {
    const server = new Server({ interceptors: await interceptors(question) });
    server.addService(service, { Call: (_call: unknown, callback: (error: null, value: Buffer) => void) => callback(null, reply) });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    address = `127.0.0.1:${port}`;
  }
  const { user, system } = process.cpuUsage();
  return { address, cpuMicros: user + system };
});

async function interceptors(question: ServerQuestion & { kind: "start" }): Promise<ServerInterceptor[]> {
  if (question.form === "plain") return [];
  if (question.form === "jose") return [verifyEveryCall(question.jwks)];
  const logger = { info: () => {}, warn: () => {}, error: console.error };
  const guarded = guard({ authority: question.authority, audience: AUDIENCE, identity: fromFile(question.identityFile), logger });
  await guarded.ready();
  return [guarded.interceptor];
}

/** A verification of the identity token on each call, as one would write it without Brevet. */
function verifyEveryCall(jwks: string): ServerInterceptor {
  const keys = createLocalJWKSet(JSON.parse(jwks) as JSONWebKeySet);
  return (_method, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata: Metadata, proceed) {
            const token = String(metadata.get("authorization")[0] ?? "").slice("Bearer ".length);
            jwtVerify(token, keys, { audience: AUDIENCE }).then(
              () => proceed(metadata),
              () => call.sendStatus({ code: status.UNAUTHENTICATED, details: "no" }),
            );
          },
        }),
    });
}
