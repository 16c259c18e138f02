// People of a scene, with real clients of their own in this process: they ask, approve, and call the guarded ledger.
import assert from "node:assert/strict";
import { newId, readStatus, STATUS_DETAILS_TRAILER } from "@brevet/protocol";
import { type Elevation, ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { credentials, Metadata } from "@grpc/grpc-js";
import { LedgerClient } from "../examples/ledger/src/calls.ts";
import { RefundRequestSchema } from "../examples/ledger/src/gen/payments/v1/ledger_pb.ts";
import { REFUND, type Scene } from "./scene.ts";

export const ANA = "user:ana@acme.test";
const SUPPORT = ["group:support"];

/** The authority's API for one person. */
export async function as(scene: Scene, principal: string, groups: readonly string[] = []): Promise<Client<typeof ElevationService>> {
  const token = await scene.token(principal, "brevet", groups);
  const transport = createGrpcTransport({
    baseUrl: scene.url,
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  return createClient(ElevationService, transport);
}

/** Asks for a refund's elevation, and has it approved. Its window starts with the first call; at once where `waiting`. */
export async function approved(scene: Scene, principal: string, durationMs: number, waiting = false): Promise<Elevation> {
  const ask = {
    requestId: newId("req"),
    audience: "payments-prod",
    method: REFUND,
    reason: "OPS-1",
    duration: durationFromMs(durationMs),
    waiting,
  };
  const id = (await (await as(scene, principal, SUPPORT)).request(ask)).elevation?.id ?? "";
  const { elevation } = await (await as(scene, ANA)).approve({ requestId: newId("req"), id });
  assert.ok(elevation !== undefined);
  return elevation;
}

/** When a window ends, on the authority's clock, which is this machine's true one. */
export async function endOf(scene: Scene, id: string): Promise<number> {
  const { elevation } = await (await as(scene, ANA)).get({ id });
  assert.ok(elevation?.windowEnd !== undefined, "its window has not started");
  return timestampMs(elevation.windowEnd);
}

/** One call of the guarded ledger: what came of it, and when, on this process's clock. */
export interface Refunded {
  readonly startedMs: number;
  readonly endedMs: number;
  /** "permit", or the reason of the refusal, or the status that the call ended with. */
  readonly verdict: string;
}

/** Somebody who calls the ledger with an identity and nothing else. */
export class Teller implements Disposable {
  readonly principal: string;
  readonly #client: InstanceType<typeof LedgerClient>;
  readonly #metadata = new Metadata();
  readonly #charge: string;

  private constructor(scene: Scene, principal: string, token: string) {
    this.principal = principal;
    this.#charge = scene.charge;
    this.#client = new LedgerClient(scene.address, credentials.createInsecure());
    this.#metadata.set("authorization", `Bearer ${token}`);
  }

  static async hire(scene: Scene, principal: string): Promise<Teller> {
    return new Teller(scene, principal, await scene.token(principal, "payments-prod", SUPPORT));
  }

  /** Refunds a cent. */
  refund(): Promise<Refunded> {
    const startedMs = Date.now();
    const request = create(RefundRequestSchema, { charge: this.#charge, amountCents: 1n, currency: "EUR" });
    return new Promise((resolve) => {
      this.#client.refund(request, this.#metadata, (error) => {
        const endedMs = Date.now();
        if (error === null) return resolve({ startedMs, endedMs, verdict: "permit" });
        const [details] = error.metadata.get(STATUS_DETAILS_TRAILER);
        const { reason } = readStatus(error.code, error.details, Buffer.isBuffer(details) ? details : undefined);
        resolve({ startedMs, endedMs, verdict: reason ?? `${error.code} ${error.details}` });
      });
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** Calls one after the other until `done`, and answers with all that came of it. */
export async function keepCalling(teller: Teller, done: (latest: Refunded) => boolean): Promise<Refunded[]> {
  const all: Refunded[] = [];
  for (;;) {
    const one = await teller.refund();
    all.push(one);
    if (done(one)) return all;
    // Room for others: many calls a second are enough.
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
