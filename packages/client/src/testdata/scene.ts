// What the tests share: a real authority, a real grpc-js service that refuses as it is told, and people who vote.
import assert from "node:assert/strict";
import { codeName, type Denial, encodeDenial, parseGrant, type ReceivedStatus } from "@brevet/protocol";
import { type Elevation, ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { ElevationRequiredSchema, type EntitlementOffer, EntitlementOfferSchema } from "@brevet/protocol/brevet/v1/error";
import { startTestAuthority, type TestAuthority } from "@brevet/testing";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Interceptor as ConnectInterceptor, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  type CallOptions,
  Client,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  type Interceptor,
  Metadata,
  type MetadataValue,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceError,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { readError } from "../grpc/errors.ts";
import { type ElevateOptions, elevate } from "../grpc/grpc.ts";
import type { ProgressEvent } from "../grpc/progress.ts";

export const AUDIENCE = "payments-test";
export const REFUND = "test.v1.Ledger/Refund";

const POLICY = `
apiVersion: brevet.dev/v1
audience: ${AUDIENCE}
groups:
  "group:oncall": ["user:ana@test", "user:bo@test"]
guards: ["workload:guard"]
roles: { admin: ["user:admin@test"] }
apply: { quorum: 1 }
services:
  test.v1.Ledger:
    default: authenticated
    methods:
      Refund: { access: elevated }
      Payout: { access: elevated }
      List: { access: elevated }
whenStale: { after: 2s, then: known, atMost: 5m }
mode: enforce
entitlements:
  refund:
    description: Refund
    methods: [${REFUND}, test.v1.Ledger/List]
    requesters: ["user:sam@test"]
    duration: { default: 10m, max: 20m }
    pending: 30m
    startWithin: 15m
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
  payout:
    description: Pay out
    methods: [test.v1.Ledger/Payout]
    requesters: ["user:sam@test"]
    present: grant
    duration: { default: 10m, max: 20m }
    pending: 30m
    startWithin: 15m
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
  glass:
    description: Emergencies
    methods: [${REFUND}]
    requesters: ["user:sam@test"]
    duration: { max: 10m }
    breakGlass: { notify: ["group:oncall"], reviewWithin: 24h }
`;

const bytes = (value: Buffer): Buffer => value;
const methods = {
  Refund: { requestStream: false, responseStream: false },
  Payout: { requestStream: false, responseStream: false },
  Relay: { requestStream: false, responseStream: false },
  List: { requestStream: false, responseStream: true },
  Import: { requestStream: true, responseStream: false },
  Chat: { requestStream: true, responseStream: true },
} as const;

export type Method = keyof typeof methods;

/** A call as the service saw it. */
export interface Seen {
  readonly method: Method;
  readonly metadata: Readonly<Record<string, MetadataValue>>;
  /** Elevations of the grants that came. */
  readonly elevations: readonly string[];
  readonly messages: readonly string[];
}

/** What a call came to. */
export interface Answer {
  readonly code: number;
  readonly message: string;
  readonly status: ReceivedStatus;
  readonly response: string;
}

/** How the service answers a call: a denial, a status, or undefined to run it. */
export type Rule = (seen: Seen, count: number) => Denial | Partial<StatusObject> | undefined;

/** All of it; ended when disposed. */
export class Scene implements AsyncDisposable {
  readonly authority: TestAuthority;
  readonly events: ProgressEvent[] = [];
  readonly lines: { readonly fields: Record<string, unknown>; readonly message: string }[] = [];
  readonly seen: Seen[] = [];
  /** Audiences for which a token was asked. */
  readonly audiences: string[] = [];
  rule: Rule = untilElevated;
  /** Whether the service sends response headers before it refuses. */
  headersFirst = false;
  /** What Relay does on behalf of its caller: a call of its own. */
  relay: ((parent: ServerUnaryCall<Buffer, Buffer>) => Promise<Answer>) | undefined;
  readonly #server = new Server();
  readonly #cleanup = new AsyncDisposableStack();
  readonly #tokens = new Map<string, string>();
  #port = 0;

  private constructor(authority: TestAuthority) {
    this.authority = authority;
  }

  static async open(): Promise<Scene> {
    const scene = new Scene(await startTestAuthority({ policy: POLICY }));
    scene.#cleanup.use(scene.authority);
    scene.#cleanup.defer(() => scene.#server.forceShutdown());
    scene.#server.addService(scene.#definition(), scene.#handlers());
    scene.#port = await new Promise((resolve, reject) => {
      scene.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
    });
    for (const audience of [AUDIENCE, "brevet"]) scene.#tokens.set(audience, await scene.authority.token("user:sam@test", { audience }));
    return scene;
  }

  /** The caller's identity. A function of its own for each scene, so that scenes share no session. */
  readonly identity = (audience: string): string => {
    this.audiences.push(audience);
    return this.#tokens.get(audience) ?? "";
  };

  /** A client whose calls go through elevate(). */
  client(options: Partial<ElevateOptions> = {}): Client {
    const interceptor = elevate({
      authority: this.authority.url,
      audience: AUDIENCE,
      identity: this.identity,
      wait: "20s",
      onProgress: (event) => this.events.push(event),
      logger: { info: this.#log, warn: this.#log },
      ...options,
    });
    return this.plainClient([interceptor]);
  }

  plainClient(interceptors: Interceptor[] = []): Client {
    const client = new Client(`127.0.0.1:${this.#port}`, credentials.createInsecure(), { interceptors });
    this.#cleanup.defer(() => client.close());
    return client;
  }

  readonly #log = (fields: object, message: string): void => {
    this.lines.push({ fields: { ...fields }, message });
  };

  /** The first event of a kind, now or later. */
  async event<K extends ProgressEvent["kind"]>(kind: K, from = 0): Promise<Extract<ProgressEvent, { kind: K }>> {
    return until(() => this.events.slice(from).find((event): event is Extract<ProgressEvent, { kind: K }> => event.kind === kind));
  }

  /** Somebody's client of the authority. */
  async as(principal: string) {
    const token = await this.authority.token(principal);
    const identify: ConnectInterceptor = (next) => (request) => {
      request.header.set("authorization", `Bearer ${token}`);
      return next(request);
    };
    return createClient(ElevationService, createGrpcTransport({ baseUrl: this.authority.url, interceptors: [identify] }));
  }

  async approve(id: string): Promise<void> {
    await (await this.as("user:ana@test")).approve({ id, requestId: requestId() });
  }

  async deny(id: string, comment: string): Promise<void> {
    await (await this.as("user:ana@test")).deny({ id, comment, requestId: requestId() });
  }

  /** The caller's elevations, newest first. */
  async mine(): Promise<Elevation[]> {
    return (await (await this.as("user:sam@test")).list({ filter: { mine: true } })).elevations;
  }

  #definition() {
    const common = { requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes };
    return Object.fromEntries(
      Object.entries(methods).map(([name, kind]) => [name, { path: `/test.v1.Ledger/${name}`, ...kind, ...common }]),
    );
  }

  #handlers() {
    const judge = (method: Method, metadata: Metadata, messages: string[]) => {
      const grants = metadata.get("brevet-grant").flatMap((value) => String(value).split(","));
      const elevations = grants.map((token) => {
        const form = parseGrant(token.trim());
        assert.ok(form.ok, "the grant is well-formed");
        assert.equal(form.claims.aud, AUDIENCE);
        return form.claims.elevation;
      });
      const seen = { method, metadata: metadata.getMap(), elevations, messages };
      this.seen.push(seen);
      const answer = this.rule(seen, this.seen.filter((other) => other.method === method).length);
      return answer === undefined ? undefined : "reason" in answer ? refusal(answer) : answer;
    };
    type Call = {
      metadata: Metadata;
      request: Buffer;
      sendMetadata(metadata: Metadata): void;
      on(event: string, listener: (chunk: Buffer) => void): void;
    };
    type Reply = (error: Partial<StatusObject> | null, value?: Buffer, trailer?: Metadata) => void;
    const unary = (method: Method) => (call: Call, reply: Reply) => {
      const error = judge(method, call.metadata, [call.request.toString()]);
      const trailer = new Metadata();
      trailer.set("brevet-window-ends", "540");
      if (this.headersFirst) call.sendMetadata(new Metadata());
      if (error) reply(error);
      else reply(null, Buffer.from(`done ${call.request.toString()}`), trailer);
    };
    const collected = (call: Call, end: (messages: string[]) => void) => {
      const messages: string[] = [];
      call.on("data", (chunk) => messages.push(chunk.toString()));
      call.on("end", () => end(messages));
    };
    const stream = (
      call: Call & { emit(event: string, error: object): void; write(chunk: Buffer): void; end(): void },
      messages: string[],
    ) => {
      const error = judge(messages.length > 1 ? "Chat" : "List", call.metadata, messages);
      if (error) return call.emit("error", error);
      for (const message of messages) call.write(Buffer.from(`done ${message}`));
      call.end();
    };
    return {
      Refund: unary("Refund"),
      Payout: unary("Payout"),
      Relay: (call: ServerUnaryCall<Buffer, Buffer>, reply: Reply) =>
        void this.relay?.(call).then((answer) => reply(null, Buffer.from(answer.status.reason ?? answer.response))),
      List: (call: Parameters<typeof stream>[0]) => stream(call, [call.request.toString()]),
      Import: (call: Call, reply: Reply) =>
        collected(call, (messages) => {
          const error = judge("Import", call.metadata, messages);
          if (error) reply(error);
          else reply(null, Buffer.from(`done ${messages.join("+")}`));
        }),
      Chat: (call: Parameters<typeof stream>[0]) => collected(call, (messages) => stream(call, messages)),
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }
}

/** Refuses until the call shows a grant. */
export const untilElevated: Rule = ({ method, elevations }) => (elevations.length > 0 ? undefined : required({ method }));

/** A guard's refusal of a method of this audience; `offers` as in the policy unless told. */
export function required(
  options: {
    method?: Method;
    audience?: string;
    offers?: MessageInitShape<typeof EntitlementOfferSchema>[];
    reason?: Denial["reason"];
    metadata?: Record<string, string>;
    named?: string;
  } = {},
): Denial {
  const { method = "Refund", audience = AUDIENCE, reason = "ELEVATION_REQUIRED", named = `test.v1.Ledger/${method}` } = options;
  const offers = options.offers ?? [{ entitlement: method === "Payout" ? "payout" : "refund", approvals: 1 }];
  return {
    reason,
    message: `${named} needs an approved elevation (decision dec_1)`,
    metadata: { decisionId: "dec_1", method: named, principal: "user:sam@test", audience, ...options.metadata },
    offer: create(ElevationRequiredSchema, {
      method: named,
      audience,
      entitlements: offers.map((offer): EntitlementOffer => create(EntitlementOfferSchema, offer)),
    }),
  };
}

function refusal(denial: Denial): Partial<StatusObject> {
  const { code, message, details } = encodeDenial(denial);
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(details));
  return { code: status[codeName(code) as keyof typeof status], details: message, metadata };
}

/** A unary call, and how to cancel it. */
export function call(
  client: Client,
  method: "Refund" | "Payout" | "Relay" = "Refund",
  message = "12.50",
  options: CallOptions = {},
  metadata = new Metadata(),
) {
  let cancel = (): void => {};
  const answer = new Promise<Answer>((resolve) => {
    const done = (error: ServiceError | null, value?: Buffer) => resolve(answerOf(error, value?.toString() ?? ""));
    const running = client.makeUnaryRequest(`/test.v1.Ledger/${method}`, bytes, bytes, Buffer.from(message), metadata, options, done);
    cancel = () => running.cancel();
  });
  return { answer, cancel: () => cancel() };
}

/** A call of another kind, to its end. */
export async function stream(client: Client, method: "List" | "Import" | "Chat", messages: readonly string[]): Promise<Answer> {
  const path = `/test.v1.Ledger/${method}`;
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const received: string[] = [];
  const follow = (reading: ClientReadableStream<Buffer>) => {
    reading.on("data", (chunk: Buffer) => received.push(chunk.toString()));
    reading.on("error", (error: Error) => resolve(answerOf(error as ServiceError, "")));
    reading.on("end", () => resolve(answerOf(null, received.join("+"))));
  };
  const send = (writing: ClientWritableStream<Buffer>) => {
    for (const message of messages) writing.write(Buffer.from(message));
    writing.end();
  };
  if (method === "List") {
    follow(client.makeServerStreamRequest(path, bytes, bytes, Buffer.from(messages[0] ?? ""), new Metadata(), {}));
  } else if (method === "Import") {
    const done = (error: ServiceError | null, value?: Buffer) => resolve(answerOf(error, value?.toString() ?? ""));
    send(client.makeClientStreamRequest(path, bytes, bytes, new Metadata(), {}, done));
  } else {
    const both = client.makeBidiStreamRequest(path, bytes, bytes, new Metadata(), {});
    follow(both);
    send(both);
  }
  return promise;
}

function answerOf(error: ServiceError | null, response: string): Answer {
  const plain = { code: status.OK, message: "", metadata: {}, help: [], fieldViolations: [] };
  return { code: error?.code ?? status.OK, message: error?.details ?? "", status: error === null ? plain : readError(error), response };
}

let requests = 0;

function requestId(): string {
  requests += 1;
  return `test-${process.pid}-${requests}`;
}

/** The value, as soon as there is one; fails after ten seconds. */
export async function until<T>(look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  for (let attempt = 0; attempt < 2000; attempt += 1) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("it never came");
}
