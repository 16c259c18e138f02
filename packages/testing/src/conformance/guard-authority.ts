// A scripted authority for the guard suite: a real gRPC server that says exactly what a test wants said, on a clock that tests move.
// Speaks Sync and Start, and nothing else. Never decides anything.
import { once } from "node:events";
import { createServer, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { type Clock, ERROR_DOMAIN, type ReasonName } from "@brevet/protocol";
import {
  type Elevation,
  ElevationSchema,
  ElevationService,
  type ElevationServiceStartRequest,
  ElevationState,
} from "@brevet/protocol/brevet/v1/elevation";
import {
  type GuardHello,
  GuardService,
  type GuardServiceSyncRequest,
  type GuardServiceSyncResponse,
  GuardServiceSyncResponseSchema,
} from "@brevet/protocol/brevet/v1/guard";
import type { DecisionRecord } from "@brevet/protocol/brevet/v1/policy";
import { ErrorInfoSchema } from "@brevet/protocol/google/rpc/error_details";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { DurationSchema, durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { type ElevationFields, EPOCH, elevationOf, Facts, GRANT_ISSUER, ISSUER, jwksOf } from "./guard-facts.ts";
import { Signals } from "./guard-signals.ts";
import { AUDIENCE } from "./guard-world.ts";

export const GUARD_TOKEN = "the-guards-own-token";
export const PUBLIC_URL = "https://brevet.test";

type SyncBody = MessageInitShape<typeof GuardServiceSyncResponseSchema>["message"];

/** What it starts with. */
export interface ScriptedAuthorityOptions {
  readonly policy: string;
  readonly descriptors?: Uint8Array;
  /** Its own. */
  readonly clock: Clock;
}

/** One guard's stream. */
interface Linked {
  readonly hello: GuardHello;
  acknowledged: bigint;
  /** `make` runs when the message is sent: times in it are those of sending. */
  push(make: () => GuardServiceSyncResponse): void;
  end(): void;
}

/** The authority; gone when disposed. */
export class ScriptedAuthority implements AsyncDisposable {
  readonly facts: Facts;
  /** First uses that it was told of. */
  readonly starts: ElevationServiceStartRequest[] = [];
  /** What guards reported. */
  readonly decisions: DecisionRecord[] = [];
  /** Answers to first uses; throws what the guard is to see. */
  onStart: (request: ElevationServiceStartRequest) => Promise<Elevation> | Elevation = (request) => this.startWindow(request);
  /** Takes calls and answers nothing, as if the network were cut. */
  silent = false;
  readonly #clock: Clock;
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #linked = new Set<Linked>();
  readonly #elevations = new Map<string, Elevation>();
  readonly #signals = new Signals();
  readonly #policy: { document: string; descriptors: Uint8Array; version: bigint };
  #peopleJwks: string;
  #revision = 10n;

  private constructor(options: ScriptedAuthorityOptions, facts: Facts, server: Http2Server) {
    this.facts = facts;
    this.#clock = options.clock;
    this.#server = server;
    this.#policy = { document: options.policy, descriptors: options.descriptors ?? new Uint8Array(0), version: 1n };
    this.#peopleJwks = facts.peopleJwks;
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
    });
  }

  static async start(options: ScriptedAuthorityOptions): Promise<ScriptedAuthority> {
    const facts = new Facts(options.clock);
    const started = Promise.withResolvers<ScriptedAuthority>();
    const server = createServer(
      connectNodeAdapter({
        routes(router) {
          router.service(GuardService, {
            async *sync(requests, context) {
              const authority = await started.promise;
              if (context.requestHeader.get("authorization") !== `Bearer ${GUARD_TOKEN}`)
                throw new ConnectError("not a guard", Code.Unauthenticated);
              yield* authority.#sync(requests);
            },
          });
          router.service(ElevationService, {
            async start(request) {
              const authority = await started.promise;
              authority.starts.push(request);
              return { elevation: await authority.onStart(request) };
            },
          });
        },
      }),
    );
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const authority = new ScriptedAuthority(options, facts, server);
    started.resolve(authority);
    return authority;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Makes an elevation, ACTIVE for an hour unless the fields say otherwise, or changes the one with that id, and tells the guards. */
  elevate(fields: ElevationFields): Elevation {
    const elevation = this.make(fields);
    this.#elevations.set(elevation.id, elevation);
    this.#tell({ case: "elevation", value: elevation });
    return elevation;
  }

  /** An elevation that no guard is told of. */
  make(fields: ElevationFields): Elevation {
    this.#revision += 1n;
    return elevationOf(fields, this.#clock.wallMs(), this.#revision);
  }

  /** The answer to a first use unless a test gives another: the window starts, and the approval of a payload is used up. */
  startWindow({ id, payloadDigest }: ElevationServiceStartRequest): Elevation {
    const known = this.#elevations.get(id);
    if (known === undefined) throw new ConnectError("no such elevation", Code.NotFound);
    if (payloadDigest.length > 0 && known.payloadUseTime !== undefined) throw refusal("GRANT_PAYLOAD_MISMATCH");
    this.#revision += 1n;
    const nowMs = this.#clock.wallMs();
    const started = create(ElevationSchema, {
      ...known,
      state: ElevationState.ACTIVE,
      windowStart: known.windowStart ?? timestampFromMs(nowMs),
      windowEnd: known.windowEnd ?? timestampFromMs(nowMs + durationMs(known.duration ?? create(DurationSchema))),
      revision: this.#revision,
      ...(payloadDigest.length > 0 && { payloadUseTime: timestampFromMs(nowMs) }),
    });
    this.#elevations.set(id, started);
    this.#tell({ case: "elevation", value: started });
    return started;
  }

  /** Another version of the policy. */
  applyPolicy(document: string): void {
    this.#revision += 1n;
    this.#policy.document = document;
    this.#policy.version += 1n;
    this.#tell({ case: "policy", value: { audience: AUDIENCE, ...this.#policy } });
  }

  /** The keys of the issuer of identities from now on; empty: they could not be had. */
  setPeopleKeys(jwks: string): void {
    this.#revision += 1n;
    this.#peopleJwks = jwks;
    this.#tell({ case: "keys", value: this.#keySet() });
  }

  /** Resolves once a guard reported such a decision. */
  reported(is: (decision: DecisionRecord) => boolean): Promise<void> {
    return this.#signals.until(() => this.decisions.some(is), "a guard's report of a decision");
  }

  /** Resolves when every guard enforces all that was told, and has heard of this very instant. */
  async settled(): Promise<void> {
    // Twice: answers to what a guard asked before it acknowledged the first arrive before the second.
    for (let round = 0; round < 2; round += 1) {
      this.#revision += 1n;
      const upTo = this.#revision;
      this.#tell({ case: undefined });
      await this.#signals.until(
        () => this.#linked.size > 0 && [...this.#linked].every(({ acknowledged }) => acknowledged >= upTo),
        "every guard to acknowledge",
      );
    }
  }

  /** Gone at once, as if killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    for (const guard of this.#linked) guard.end();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, "close");
  }

  async *#sync(requests: AsyncIterable<GuardServiceSyncRequest>): AsyncGenerator<GuardServiceSyncResponse> {
    const waiting: (() => GuardServiceSyncResponse)[] = [];
    let wake = Promise.withResolvers<void>();
    let ended = false;
    const listening = this.#listen(requests, {
      push(make) {
        waiting.push(make);
        wake.resolve();
      },
      end() {
        ended = true;
        wake.resolve();
      },
    });
    for (;;) {
      const make = waiting.shift();
      if (make !== undefined) yield make();
      else if (ended) break;
      else {
        await wake.promise;
        wake = Promise.withResolvers<void>();
      }
    }
    await listening;
  }

  async #listen(requests: AsyncIterable<GuardServiceSyncRequest>, out: Pick<Linked, "push" | "end">): Promise<void> {
    let guard: Linked | undefined;
    const send = (body: SyncBody): void => this.#send(out, body);
    try {
      for await (const { message } of requests) {
        const received = timestampFromMs(this.#clock.wallMs());
        if (message.case === "hello") {
          guard = { ...out, hello: message.value, acknowledged: 0n };
          this.#greet(guard);
        } else if (message.case === "timeProbe") {
          const { sent } = message.value;
          this.#push(out, () => ({
            case: "timeSample",
            value: { sent, received, answered: timestampFromMs(this.#clock.wallMs()) },
          }));
        } else if (message.case === "decisions") {
          this.decisions.push(...message.value.decisions);
          this.#signals.changed();
          send({ case: "decisionsTaken", value: { sequence: message.value.sequence } });
        } else if (message.case === "acknowledgement" && guard !== undefined) {
          guard.acknowledged = message.value.position?.revision ?? 0n;
          this.#signals.changed();
        }
      }
    } catch {
      // The guard is gone.
    }
    if (guard !== undefined) this.#linked.delete(guard);
    this.#signals.changed();
    out.end();
  }

  #greet(guard: Linked): void {
    this.#linked.add(guard);
    const send = (body: SyncBody): void => this.#send(guard, body);
    send({ case: "welcome", value: { issuer: GRANT_ISSUER, publicUrl: PUBLIC_URL, resumed: false } });
    send({ case: "policy", value: { audience: AUDIENCE, ...this.#policy } });
    send({ case: "keys", value: this.#keySet() });
    for (const elevation of this.#elevations.values()) send({ case: "elevation", value: elevation });
    send({ case: "caughtUp", value: { checkpoint: "" } });
  }

  #keySet() {
    return { grantJwks: jwksOf([this.facts.grantKey]), issuers: [{ issuer: ISSUER, jwks: this.#peopleJwks, development: true }] };
  }

  #tell(body: SyncBody): void {
    for (const guard of this.#linked) this.#send(guard, body);
  }

  #send(out: Pick<Linked, "push">, body: SyncBody): void {
    this.#push(out, () => body);
  }

  #push(out: Pick<Linked, "push">, make: () => SyncBody): void {
    if (this.silent) return;
    const position = { epoch: EPOCH, revision: this.#revision };
    out.push(() => {
      const message = make();
      return create(GuardServiceSyncResponseSchema, {
        position,
        time: timestampFromMs(this.#clock.wallMs()),
        ...(message && { message }),
      });
    });
  }
}

/** As the authority refuses. */
function refusal(reason: ReasonName): ConnectError {
  const info = { desc: ErrorInfoSchema, value: { reason, domain: ERROR_DOMAIN } };
  return new ConnectError(reason, Code.FailedPrecondition, undefined, [info]);
}
