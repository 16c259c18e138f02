// An authority for tests: a real gRPC server that speaks Sync, Start and nothing else, with a clock of its own.
import { once } from "node:events";
import { createServer, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import type { GrantClaims, SigningKey } from "@brevet/protocol";
import {
  type Elevation,
  ElevationSchema,
  ElevationService,
  type ElevationServiceStartRequest,
  ElevationState,
} from "@brevet/protocol/brevet/v1/elevation";
import {
  type DecisionBatch,
  type GuardAcknowledgement,
  type GuardHello,
  GuardService,
  type GuardServiceSyncRequest,
  type GuardServiceSyncResponse,
  GuardServiceSyncResponseSchema,
} from "@brevet/protocol/brevet/v1/guard";
import { LogService } from "@brevet/protocol/brevet/v1/log";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import type { JWTPayload } from "jose";
import { Outbox } from "../link/outbox.ts";
import {
  AUDIENCE,
  type ElevationFields,
  EPOCH,
  elevationOf,
  GRANT_ISSUER,
  grantOf,
  ISSUER,
  jwksOf,
  makeKeys,
  SAM,
  type TestKeys,
  tokenOf,
} from "./facts.ts";

export const GUARD_TOKEN = "the-guards-own-token";

/** What a test may set. */
export interface TestAuthorityOptions {
  readonly policy: string;
  readonly descriptors?: Uint8Array;
  /** The authority's clock, ahead of this machine's. */
  readonly offsetMs?: number;
  readonly port?: number;
  /** Keys of an authority before. */
  readonly keys?: TestKeys;
}

type SyncBody = MessageInitShape<typeof GuardServiceSyncResponseSchema>["message"];

/** The authority; closed when disposed. */
export class TestAuthority implements AsyncDisposable {
  readonly keys: TestKeys;
  readonly hellos: GuardHello[] = [];
  readonly acknowledgements: GuardAcknowledgement[] = [];
  readonly decisions: DecisionBatch[] = [];
  readonly starts: ElevationServiceStartRequest[] = [];
  readonly elevations = new Map<string, Elevation>();
  readonly port: number;
  /** Answers Start; by default the window starts. */
  onStart: (request: ElevationServiceStartRequest) => Promise<Elevation> = (request) => Promise.resolve(this.#startWindow(request));
  revision = 10n;
  epoch = EPOCH;
  sendTimeSamples = true;
  /** Time that passed for it, and not for this process: as if this machine had slept. */
  aheadMs = 0;
  /** Signed note that a stream shows when it has caught up, and the key that is named for it. */
  checkpoint = "";
  verifierKey = "";
  checkpointsAsked = 0;
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #streams = new Set<Outbox<GuardServiceSyncResponse>>();
  readonly #deaf = new Set<Outbox<GuardServiceSyncResponse>>();
  readonly #waiting = new Set<() => void>();
  readonly #offsetMs: number;
  #policy: { document: string; descriptors: Uint8Array; version: bigint };
  #peopleJwks: string;
  #grantKeys: readonly SigningKey[];

  private constructor(options: TestAuthorityOptions, keys: TestKeys, server: Http2Server) {
    this.keys = keys;
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    this.#offsetMs = options.offsetMs ?? 0;
    this.#policy = { document: options.policy, descriptors: options.descriptors ?? new Uint8Array(0), version: 1n };
    this.#peopleJwks = keys.peopleJwks;
    this.#grantKeys = [keys.grants];
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
    });
  }

  static async start(options: TestAuthorityOptions): Promise<TestAuthority> {
    const keys = options.keys ?? (await makeKeys());
    let authority: TestAuthority | undefined;
    const handler = connectNodeAdapter({
      routes(router) {
        router.service(GuardService, { sync: (requests, context) => authority?.sync(requests, context.requestHeader) ?? nothing() });
        router.service(LogService, {
          getCheckpoint() {
            if (authority === undefined) throw new ConnectError("not yet", Code.Unavailable);
            authority.checkpointsAsked += 1;
            return { checkpoint: authority.checkpoint, verifierKey: authority.verifierKey };
          },
        });
        router.service(ElevationService, {
          async start(request) {
            if (authority === undefined) throw new ConnectError("not yet", Code.Unavailable);
            authority.starts.push(request);
            return { elevation: await authority.onStart(request) };
          },
        });
      },
    });
    const server = createServer(handler);
    server.listen(options.port ?? 0, "127.0.0.1");
    await once(server, "listening");
    authority = new TestAuthority(options, keys, server);
    return authority;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Its clock. */
  nowMs(): number {
    return Date.now() + this.#offsetMs + this.aheadMs;
  }

  async *sync(requests: AsyncIterable<GuardServiceSyncRequest>, headers: Headers): AsyncGenerator<GuardServiceSyncResponse> {
    if (headers.get("authorization") !== `Bearer ${GUARD_TOKEN}`) throw new ConnectError("who are you", Code.Unauthenticated);
    const out = new Outbox<GuardServiceSyncResponse>();
    this.#streams.add(out);
    void this.#listen(requests, out);
    try {
      yield* out;
    } finally {
      this.#streams.delete(out);
    }
  }

  async #listen(requests: AsyncIterable<GuardServiceSyncRequest>, out: Outbox<GuardServiceSyncResponse>): Promise<void> {
    try {
      for await (const { message } of requests) {
        const receivedMs = this.nowMs();
        if (this.#deaf.has(out)) continue;
        if (message.case === "hello") this.#greet(message.value, out);
        else if (message.case === "acknowledgement") this.acknowledgements.push(message.value);
        else if (message.case === "decisions") {
          const { sequence } = message.value;
          this.decisions.push(message.value);
          out.push(() => this.#response({ case: "decisionsTaken", value: { sequence } }));
        } else if (message.case === "timeProbe" && this.sendTimeSamples) {
          const { sent } = message.value;
          out.push(() =>
            this.#response({
              case: "timeSample",
              value: { sent, received: timestampFromMs(receivedMs), answered: timestampFromMs(this.nowMs()) },
            }),
          );
        }
        for (const wake of this.#waiting) wake();
      }
    } catch {
      // The guard is gone.
    }
    out.end();
  }

  #greet(hello: GuardHello, out: Outbox<GuardServiceSyncResponse>): void {
    this.hellos.push(hello);
    const resumed = hello.after?.epoch === this.epoch && hello.after.revision <= this.revision;
    const send = (body: SyncBody) => out.push(() => this.#response(body));
    send({ case: "welcome", value: { issuer: GRANT_ISSUER, publicUrl: "https://brevet.test", resumed } });
    send({ case: "policy", value: { audience: AUDIENCE, ...this.#policy } });
    send({ case: "keys", value: this.#keySet() });
    for (const elevation of this.elevations.values())
      if (!resumed || elevation.revision > (hello.after?.revision ?? 0n)) send({ case: "elevation", value: elevation });
    send({ case: "caughtUp", value: { checkpoint: this.checkpoint } });
  }

  /** Changes an elevation, or makes one ACTIVE for an hour, and tells the guards. */
  elevate(fields: ElevationFields = {}): Elevation {
    const elevation = this.make(fields);
    this.elevations.set(elevation.id, elevation);
    this.tell({ case: "elevation", value: elevation });
    return elevation;
  }

  /** An elevation that nobody is told of yet. */
  make(fields: ElevationFields): Elevation {
    this.revision += 1n;
    return elevationOf(fields, this.nowMs(), this.revision);
  }

  #startWindow({ id, payloadDigest }: ElevationServiceStartRequest): Elevation {
    const elevation = this.elevations.get(id);
    if (elevation === undefined) throw new ConnectError("no such elevation", Code.NotFound);
    this.revision += 1n;
    const now = this.nowMs();
    const started = create(ElevationSchema, {
      ...elevation,
      state: ElevationState.ACTIVE,
      windowStart: elevation.windowStart ?? timestampFromMs(now),
      windowEnd: elevation.windowEnd ?? timestampFromMs(now + 3_600_000),
      revision: this.revision,
    });
    if (payloadDigest.length > 0) started.payloadUseTime = timestampFromMs(now);
    this.elevations.set(id, started);
    this.tell({ case: "elevation", value: started });
    return started;
  }

  applyPolicy(document: string): void {
    this.revision += 1n;
    this.#policy = { ...this.#policy, document, version: this.#policy.version + 1n };
    this.tell({ case: "policy", value: { audience: AUDIENCE, ...this.#policy } });
  }

  /** The issuer's keys from now on; empty: they could not be had. */
  setPeopleKeys(jwks: string): void {
    this.#peopleJwks = jwks;
    this.tell({ case: "keys", value: this.#keySet() });
  }

  setGrantKeys(keys: readonly SigningKey[]): void {
    this.#grantKeys = keys;
    this.tell({ case: "keys", value: this.#keySet() });
  }

  /** Sends to every guard. */
  tell(body: SyncBody): void {
    for (const out of this.#streams) out.push(() => this.#response(body));
  }

  /** A token of a person for the service. */
  token(principal = SAM, claims: JWTPayload = {}): Promise<string> {
    return tokenOf(this.keys, this.nowMs(), principal, claims);
  }

  /** A grant of an elevation. */
  grant(elevation: Elevation, claims: Partial<GrantClaims> = {}): string {
    return grantOf(this.keys, this.nowMs(), elevation, claims);
  }

  /** Resolves when `condition` holds after a message of a guard. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      let wake: (() => void) | undefined;
      await new Promise<void>((resolve) => {
        wake = resolve;
        this.#waiting.add(resolve);
      });
      if (wake !== undefined) this.#waiting.delete(wake);
    }
  }

  /** Every guard enforces what was told up to now. */
  settled(): Promise<void> {
    const { revision } = this;
    this.tell({ case: undefined });
    return this.until(() => this.acknowledgements.some(({ position }) => (position?.revision ?? 0n) >= revision));
  }

  /** Its connections stand, and nothing comes over them any more: new ones work. */
  deafen(): void {
    for (const out of this.#streams) this.#deaf.add(out);
    this.#streams.clear();
  }

  /** Its streams end; guards come again. */
  drop(): void {
    for (const session of this.#sessions) session.destroy();
  }

  /** Gone at once, as if killed. */
  async stop(): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    for (const out of this.#streams) out.end();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, "close");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #keySet() {
    return { grantJwks: jwksOf(this.#grantKeys), issuers: [{ issuer: ISSUER, jwks: this.#peopleJwks, development: true }] };
  }

  #response(message: SyncBody): GuardServiceSyncResponse {
    const time = timestampFromMs(this.nowMs());
    return create(GuardServiceSyncResponseSchema, {
      position: { epoch: this.epoch, revision: this.revision },
      time,
      ...(message && { message }),
    });
  }
}

async function* nothing(): AsyncGenerator<GuardServiceSyncResponse> {}
