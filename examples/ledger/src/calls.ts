// What the command-line client can do: one call of the ledger each, its result printed as JSON.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { create, type DescMessage, type MessageInitShape, type MessageShape, toJsonString } from "@bufbuild/protobuf";
import { Metadata, type requestCallback } from "@grpc/grpc-js";
import {
  FollowRequestSchema,
  FollowResponseSchema,
  GetEntryRequestSchema,
  GetEntryResponseSchema,
  ImportRequestSchema,
  ImportResponseSchema,
  Ledger,
  ListEntriesRequestSchema,
  ListEntriesResponseSchema,
  MigrateRequestSchema,
  MigrateResponseSchema,
  ReconcileRequestSchema,
  ReconcileResponseSchema,
  RefundRequestSchema,
  RefundResponseSchema,
} from "./gen/payments/v1/ledger_pb.ts";
import { clientClass } from "./grpc.ts";
import { cents, readCharges, readRows } from "./statement.ts";

/** A grpc-js client of the ledger. */
export const LedgerClient = clientClass(Ledger);
export type LedgerClient = InstanceType<typeof LedgerClient>;

/** What a command was given. */
export interface Arguments {
  readonly charge: string;
  readonly amount: string;
  readonly currency: string;
  readonly account: string;
  readonly to: string;
  readonly dryRun: boolean;
  readonly words: readonly string[];
  readonly print: (line: string) => void;
  /** Ends a follow. */
  readonly signal: AbortSignal;
}

/** By name. They throw the call's ServiceError, and Error for what is wrong with their arguments. */
export const commands: Readonly<Record<string, (client: LedgerClient, given: Arguments) => Promise<void>>> = {
  async refund(client, { charge, amount, currency, print }) {
    const request = create(RefundRequestSchema, { charge, amountCents: cents(amount), currency });
    print(toJsonString(RefundResponseSchema, await answer((done) => client.refund(request, new Metadata(), done))));
  },

  async get(client, { words: [id = ""], print }) {
    const request = create(GetEntryRequestSchema, { id });
    print(toJsonString(GetEntryResponseSchema, await answer((done) => client.getEntry(request, new Metadata(), done))));
  },

  async list(client, { account, print }) {
    for await (const message of client.listEntries(create(ListEntriesRequestSchema, { account })))
      print(toJsonString(ListEntriesResponseSchema, message));
  },

  async follow(client, { account, print, signal }) {
    const call = client.follow(create(FollowRequestSchema, { account }));
    signal.addEventListener("abort", () => call.cancel(), { once: true });
    try {
      for await (const message of call) print(toJsonString(FollowResponseSchema, message));
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  },

  async import(client, { words: [file = ""], print }) {
    const charges = readCharges(readFileSync(file, "utf8"));
    const response = await answer<MessageShape<typeof ImportResponseSchema>>((done) => {
      const call = client.import(new Metadata(), done);
      void send(call, ImportRequestSchema, charges);
    });
    print(toJsonString(ImportResponseSchema, response));
  },

  async reconcile(client, { words: [file = ""], print }) {
    const lines = readRows(readFileSync(file, "utf8"), ["id", "amount_cents"]);
    const call = client.reconcile();
    void send(
      call,
      ReconcileRequestSchema,
      lines.map(({ id, amount_cents }) => ({ id, amountCents: cents(amount_cents) })),
    );
    for await (const message of call) print(toJsonString(ReconcileResponseSchema, message));
  },

  async migrate(client, { to, dryRun, print }) {
    const request = create(MigrateRequestSchema, { targetFormat: to, dryRun });
    print(toJsonString(MigrateResponseSchema, await answer((done) => client.migrate(request, new Metadata(), done))));
  },
};

function answer<T>(start: (done: requestCallback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, response) => {
      if (error !== null) reject(error);
      else if (response === undefined) reject(new Error("the call ended without an answer"));
      else resolve(response);
    });
  });
}

/** Sends all, no faster than the ledger takes them. What goes wrong shows in the call's own answer. */
async function send<D extends DescMessage>(
  call: { write(message: MessageShape<D>): boolean; end(): void } & NodeJS.EventEmitter,
  schema: D,
  messages: readonly MessageInitShape<D>[],
): Promise<void> {
  for (const message of messages) {
    if (!call.write(create(schema, message))) await Promise.race([once(call, "drain"), once(call, "close")]).catch(() => {});
  }
  call.end();
}
