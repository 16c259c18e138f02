// The guards of the revocation benchmark: as many as asked for, each with its own link and a server that streams, in one process.
import { guard } from "@brevet/guard/grpc";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { AUDIENCE, STREAM } from "./elevated.ts";
import { answer } from "./process.ts";

/** What the parent asks: so many guards in all. Those before go on: one that is gone counts until it can no longer permit. */
export interface GuardsQuestion {
  readonly count: number;
  readonly authority: string;
  readonly token: string;
}

/** What it answers. */
export interface GuardsAnswer {
  readonly addresses: readonly string[];
}

const bytes = (value: Buffer) => value;
const watch = { requestStream: false, responseStream: true, requestSerialize: bytes, requestDeserialize: bytes } as const;
const service = { Watch: { path: `/${STREAM}`, ...watch, responseSerialize: bytes, responseDeserialize: bytes } };
const addresses: string[] = [];

answer(async ({ count, authority, token }: GuardsQuestion): Promise<GuardsAnswer> => {
  const more = Array.from({ length: Math.max(0, count - addresses.length) }, () => start(authority, token));
  addresses.push(...(await Promise.all(more)));
  return { addresses };
});

async function start(authority: string, token: string): Promise<string> {
  const logger = { info: () => {}, warn: () => {}, error: console.error };
  const guarded = guard({ authority, audience: AUDIENCE, identity: () => token, logger });
  const server = new Server({ interceptors: [guarded.interceptor] });
  // It says that it is open, and goes on for ever.
  server.addService(service, { Watch: (call: { write(value: Buffer): void }) => call.write(Buffer.from("open")) });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  await guarded.ready();
  return `127.0.0.1:${port}`;
}
