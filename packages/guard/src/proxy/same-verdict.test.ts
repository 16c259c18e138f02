// The direct proof that no form decides by itself: the same calls through both, at the same instant, and the answers compared in pairs.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  answersOf,
  type GuardForm,
  type GuardScene,
  guardScene,
  prepare,
  refusalOf,
  serve,
  type VerdictAnswer,
  verdictCases,
} from "@brevet/testing/guard-conformance";
import { guard } from "../grpc/grpc.ts";
import { proxy } from "./proxy.ts";

const interceptor: GuardForm = {
  name: "interceptor",
  async start({ services, guard: options }) {
    const guarding = guard(options);
    const server = await serve(services, [guarding.interceptor]);
    return {
      address: server.address,
      ready: (signal) => guarding.ready(signal),
      status: () => guarding.status(),
      async close() {
        await server[Symbol.asyncDispose]();
        await guarding.close();
      },
    };
  },
};

const sidecar: GuardForm = {
  name: "proxy",
  async start({ services, guard: options }) {
    const bare = await serve(services);
    const standing = await proxy({ ...options, listen: "127.0.0.1:0", upstream: bare.address });
    return {
      address: standing.address,
      ready: (signal) => standing.ready(signal),
      status: () => standing.status(),
      async close() {
        await bare[Symbol.asyncDispose]();
        await standing.close();
      },
    };
  },
};

let started: Promise<{ first: GuardScene; second: GuardScene }> | undefined;

/** Two guards of one authority, on one clock. */
function both(): Promise<{ first: GuardScene; second: GuardScene }> {
  started ??= guardScene(interceptor).then(async (first) => ({ first, second: await guardScene(sidecar, { beside: first }) }));
  return started;
}

after(async () => {
  const scenes = await started;
  await scenes?.second[Symbol.asyncDispose]();
  await scenes?.first[Symbol.asyncDispose]();
});

for (const [index, one] of verdictCases.entries())
  test(`interceptor and proxy say the same: ${one.name}`, async () => {
    const { first, second } = await both();
    const headers = prepare(one, index, first);
    await first.authority.settled();
    // One after the other: what is used up by the first, such as an approval for one request, is prepared again for the second.
    const answers = await answersOf(one, headers, first);
    const again = prepare(one, index, first);
    await first.authority.settled();
    assert.deepEqual((await answersOf(one, again, second)).map(comparable), answers.map(comparable));
    assert.ok(answers.length > 0);
  });

/** All of an answer that is not an id, an instant, or a server's own mark. */
function comparable({ kind, answer, handled }: VerdictAnswer) {
  const { code, message, messages, trailersOnly, trailers, reset } = answer;
  const refused = trailers["grpc-status-details-bin"] !== undefined;
  return {
    kind,
    handled,
    code,
    reset,
    trailersOnly,
    trailers: Object.keys(trailers)
      .filter((name) => name !== "date")
      .toSorted(),
    ...(refused ? { refusal: refusalOf(answer) } : { message, messages }),
  };
}
