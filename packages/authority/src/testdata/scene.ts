// What the tests of the authority over real sockets share: a policy, people, and clients of its API.
import { catalogue, type ReceivedStatus, readStatus } from "@brevet/protocol";
import { ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { GuardService } from "@brevet/protocol/brevet/v1/guard";
import { LogService } from "@brevet/protocol/brevet/v1/log";
import { PolicyService } from "@brevet/protocol/brevet/v1/policy";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { create, toBinary } from "@bufbuild/protobuf";
import { ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, type GrpcTransportOptions } from "@connectrpc/connect-node";

export const AUDIENCE = "payments-test";
export const REFUND = "payments.v1.Ledger/Refund";

/** A policy of one audience; `issuer` is trusted for it where given. */
export function policyText(
  options: { issuer?: string; audience?: string; accepts?: readonly string[]; spiffe?: string; more?: string } = {},
): string {
  const { issuer, audience = AUDIENCE, spiffe, more = "" } = options;
  const issuers = issuer
    ? `
  issuers:
    - issuer: ${issuer}
      audiences: [${(options.accepts ?? [audience]).join(", ")}]
      principal: "'user:' + claims.sub"
      groups: claims.groups
      mayAssert: ["group:support"]`
    : "";
  const certificates = spiffe ? `\n  clientCertificates: { spiffe: [${spiffe}] }` : "";
  return `
apiVersion: brevet.dev/v1
audience: ${audience}
${issuers + certificates === "" ? "" : `identity:${issuers}${certificates}`}
groups:
  "group:oncall": ["user:ana@test", "user:bo@test"]
guards: ["workload:guard-${audience}", "workload:spiffe://acme.test/guard"]
roles:
  admin: ["user:admin@test"]
  auditor: ["user:audit@test"]
apply: { quorum: 1 }
services:
  payments.v1.Ledger:
    default: forbidden
    methods:
      Refund: { access: elevated }
      Get: { access: authenticated }
whenStale: { after: 2s, then: known, atMost: 5m }
mode: enforce
entitlements:
  refund:
    description: Refund
    methods: [${REFUND}]
    requesters: ["group:support", "user:ana@test", "user:sam@test", "user:rita@test"]
    duration: { default: 10m, max: 20m }
    pending: 30m
    startWithin: 15m
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
${more}`;
}

/** A gRPC transport that sends a token, or none. */
export function transport(url: string, token?: string, options: Omit<GrpcTransportOptions, "baseUrl"> = {}): Transport {
  const identify: Interceptor = (next) => (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  return createGrpcTransport({ baseUrl: url, interceptors: [identify], ...options });
}

/** Clients of all services, as one caller. */
export function clients(over: Transport) {
  return {
    elevations: createClient(ElevationService, over),
    policies: createClient(PolicyService, over),
    guards: createClient(GuardService, over),
    log: createClient(LogService, over),
  };
}

/** What a call was refused with; fails if it was not. */
export async function refusal(call: Promise<unknown>): Promise<ReceivedStatus> {
  try {
    await call;
  } catch (error) {
    const failed = ConnectError.from(error);
    const details = failed.details.flatMap((detail) =>
      "type" in detail ? [{ typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value }] : [],
    );
    const status = create(StatusSchema, { code: failed.code, message: failed.rawMessage, details });
    return readStatus(failed.code, failed.rawMessage, toBinary(StatusSchema, status));
  }
  throw new Error("the call was not refused");
}

/** The gRPC code that the catalogue gives a reason. */
export function codeOf(reason: keyof typeof catalogue): number {
  return catalogue[reason].code;
}

/** A stream that is read piece by piece, and ended with `abort`. */
export class Reading<T> {
  readonly abort = new AbortController();
  readonly #iterator: AsyncIterator<T>;

  constructor(open: (signal: AbortSignal) => AsyncIterable<T>) {
    this.#iterator = open(this.abort.signal)[Symbol.asyncIterator]();
  }

  /** The next message. */
  async next(): Promise<T> {
    const next = await this.#iterator.next();
    if (next.done === true) throw new Error("the stream ended");
    return next.value;
  }

  /** Messages up to and with the one that `done` accepts. */
  async until(done: (message: T) => boolean): Promise<T[]> {
    const messages: T[] = [];
    do messages.push(await this.next());
    while (!done(messages.at(-1) as T));
    return messages;
  }
}

let requests = 0;

/** An idempotency id of its own. */
export function requestId(): string {
  requests += 1;
  return `test-${process.pid}-${requests}`;
}
