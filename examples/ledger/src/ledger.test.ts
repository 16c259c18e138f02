import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import {
  ChannelCredentials,
  Client,
  type ClientReadableStream,
  Metadata,
  ServerCredentials,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import { Book, MAX_IMPORT } from "./book.ts";
import { LedgerClient } from "./calls.ts";
import {
  type Entry,
  EntryKind,
  FollowRequestSchema,
  type FollowResponse,
  GetEntryRequestSchema,
  type GetEntryResponse,
  ImportRequestSchema,
  type ImportResponse,
  Ledger,
  ListEntriesRequestSchema,
  MigrateRequestSchema,
  type MigrateResponse,
  ReconcileRequestSchema,
  type ReconcileResponse,
  RefundRequestSchema,
  type RefundResponse,
} from "./gen/payments/v1/ledger_pb.ts";
import { createLedgerServer, type LedgerServer } from "./ledger.ts";
import { selfSigned } from "./testdata/certificate.ts";

const none = () => new Metadata();

interface Running extends AsyncDisposable {
  readonly book: Book;
  readonly server: LedgerServer;
  readonly client: LedgerClient;
  readonly address: string;
}

async function start(): Promise<Running> {
  const book = new Book(":memory:");
  const server = createLedgerServer({ book });
  const address = `127.0.0.1:${await server.listen("127.0.0.1:0", ServerCredentials.createInsecure())}`;
  const client = new LedgerClient(address, ChannelCredentials.createInsecure());
  return {
    book,
    server,
    client,
    address,
    async [Symbol.asyncDispose]() {
      client.close();
      await server.drain(200);
      book[Symbol.dispose]();
    },
  };
}

let ledger: Running;
before(async () => {
  ledger = await start();
  ledger.server.serving();
  ledger.book.charge([
    { account: "acme", amountCents: 1000n, currency: "EUR" },
    { account: "globex", amountCents: 500n, currency: "USD" },
  ]);
});
after(() => ledger[Symbol.asyncDispose]());

type Done<T> = (error: ServiceError | null, response?: T) => void;

/** The answer of a call, or its error. */
function outcome<T>(call: (done: Done<T>) => void): Promise<{ error?: ServiceError; response?: T }> {
  return new Promise((resolve) => {
    call((error, response) => resolve(error === null ? (response === undefined ? {} : { response }) : { error }));
  });
}

async function all<T>(stream: ClientReadableStream<T>): Promise<T[]> {
  const messages: T[] = [];
  for await (const message of stream) messages.push(message as T);
  return messages;
}

/** Entries as they come, one at a time. */
function entriesOf(stream: ClientReadableStream<FollowResponse>): () => Promise<Entry | undefined> {
  const iterator = stream[Symbol.asyncIterator]();
  return async () => ((await iterator.next()).value as FollowResponse | undefined)?.entry;
}

test("a refund is booked, and read back as it was answered", async () => {
  const { client } = ledger;
  const refunded = await outcome<RefundResponse>((done) =>
    client.refund(create(RefundRequestSchema, { charge: "ent_1", amountCents: 250n, currency: "EUR" }), none(), done),
  );
  const entry = refunded.response?.entry;
  assert.equal(entry?.kind, EntryKind.REFUND);
  assert.equal(entry.account, "acme");
  assert.equal(entry.charge, "ent_1");
  const read = await outcome<GetEntryResponse>((done) => client.getEntry(create(GetEntryRequestSchema, { id: entry.id }), none(), done));
  assert.deepEqual(read.response?.entry, entry);
});

test("rules that are not met come back as codes with a message that says why", async () => {
  const { client } = ledger;
  const refund = async (charge: string, amountCents: bigint, currency: string) =>
    (await outcome((done) => client.refund(create(RefundRequestSchema, { charge, amountCents, currency }), none(), done))).error;
  assert.equal((await refund("ent_99", 1n, "EUR"))?.code, status.NOT_FOUND);
  assert.equal((await refund("ent_1", 0n, "EUR"))?.code, status.INVALID_ARGUMENT);
  const tooMuch = await refund("ent_2", 501n, "USD");
  assert.equal(tooMuch?.code, status.FAILED_PRECONDITION);
  assert.match(tooMuch.details, /500 of 500 cents of ent_2 are left to refund, not 501/);
  const read = await outcome((done) => client.getEntry(create(GetEntryRequestSchema, { id: "nothing" }), none(), done));
  assert.equal(read.error?.code, status.NOT_FOUND);
});

test("a list has all entries of the account, oldest first, however many pages they fill", async () => {
  await using own = await start();
  own.book.charge(
    Array.from({ length: 950 }, (_, index) => ({
      account: index % 2 === 0 ? "even" : "odd",
      amountCents: BigInt(index + 1),
      currency: "EUR",
    })),
  );
  const amounts = async (account: string) =>
    (await all(own.client.listEntries(create(ListEntriesRequestSchema, { account })))).map((message) => Number(message.entry?.amountCents));
  const every = await amounts("");
  assert.deepEqual(
    every,
    Array.from({ length: 950 }, (_, index) => index + 1),
  );
  assert.deepEqual(
    await amounts("even"),
    every.filter((amount) => amount % 2 === 1),
  );
  assert.deepEqual(await amounts("nobody"), []);
});

test("a follow sees what is booked later, of its account only", async () => {
  await using own = await start();
  own.book.charge([{ account: "acme", amountCents: 1n, currency: "EUR" }]);
  const call = own.client.follow(create(FollowRequestSchema, { account: "acme" }));
  const next = entriesOf(call);
  assert.equal((await next())?.id, "ent_1");
  own.book.charge([{ account: "other", amountCents: 2n, currency: "EUR" }]);
  own.book.refund({ charge: "ent_1", amountCents: 1n, currency: "EUR" });
  assert.equal((await next())?.id, "ent_3");
  call.on("error", () => {});
  call.cancel();
});

test("a follow is told UNAVAILABLE when the ledger drains", async () => {
  await using own = await start();
  own.book.charge([{ account: "acme", amountCents: 1n, currency: "EUR" }]);
  const call = own.client.follow(create(FollowRequestSchema, {}));
  const next = entriesOf(call);
  assert.equal((await next())?.id, "ent_1");
  const ended = assert.rejects(next(), { code: status.UNAVAILABLE });
  await own[Symbol.asyncDispose]();
  await ended;
});

function importAll(client: LedgerClient, amounts: readonly bigint[]) {
  return outcome<ImportResponse>((done) => {
    const call = client.import(none(), done);
    for (const amountCents of amounts) call.write(create(ImportRequestSchema, { account: "bulk", amountCents, currency: "EUR" }));
    call.end();
  });
}

test("an import books all or nothing", async () => {
  const before = ledger.book.size;
  const refused = await importAll(ledger.client, [1n, 2n, -3n]);
  assert.equal(refused.error?.code, status.INVALID_ARGUMENT);
  assert.match(refused.error.details, /charge 3: amount_cents is -3/);
  assert.equal((await importAll(ledger.client, [])).error?.code, status.INVALID_ARGUMENT);
  assert.equal(
    (
      await importAll(
        ledger.client,
        Array.from({ length: MAX_IMPORT + 1 }, () => 1n),
      )
    ).error?.code,
    status.RESOURCE_EXHAUSTED,
  );
  assert.equal(ledger.book.size, before);
  assert.equal((await importAll(ledger.client, [1n, 2n, 3n])).response?.imported, 3);
  assert.equal(ledger.book.size, before + 3);
});

test("an import that its caller cancels books nothing", async () => {
  const before = ledger.book.size;
  const cancelled = await outcome<ImportResponse>((done) => {
    const call = ledger.client.import(none(), done);
    call.write(create(ImportRequestSchema, { account: "bulk", amountCents: 1n, currency: "EUR" }), () => call.cancel());
  });
  assert.equal(cancelled.error?.code, status.CANCELLED);
  // A call that is answered after the cancelled one on the same connection proves that the server has seen it.
  await outcome((done) => ledger.client.getEntry(create(GetEntryRequestSchema, { id: "ent_1" }), none(), done));
  assert.equal(ledger.book.size, before);
});

test("a reconciliation answers each line, in order", async () => {
  const call = ledger.client.reconcile();
  const lines: [string, bigint][] = [
    ["ent_1", 1000n],
    ["ent_2", 499n],
    ["ent_404", 1n],
  ];
  for (const [id, amountCents] of lines) call.write(create(ReconcileRequestSchema, { id, amountCents }));
  call.end();
  const answers = (await all<ReconcileResponse>(call)).map(({ id, matches, difference }) => [id, matches, difference]);
  assert.deepEqual(answers, [
    ["ent_1", true, ""],
    ["ent_2", false, "the book has 500, the statement 499"],
    ["ent_404", false, "not in the book"],
  ]);
});

test("a reconciliation answers before the caller has sent all, and keeps up with many lines", async () => {
  const call = ledger.client.reconcile();
  call.write(create(ReconcileRequestSchema, { id: "ent_1", amountCents: 1000n }));
  const [first] = (await once(call, "data")) as [ReconcileResponse];
  assert.equal(first.matches, true);
  for (let line = 0; line < 2_000; line += 1) call.write(create(ReconcileRequestSchema, { id: "ent_2", amountCents: 500n }));
  call.end();
  assert.equal((await all(call)).length, 2_000);
});

test("a migration says first what it would do, does it once, and refuses what it does not know", async () => {
  await using own = await start();
  own.book.charge([{ account: "acme", amountCents: 1n, currency: "EUR" }]);
  const migrate = (targetFormat: string, dryRun: boolean) =>
    outcome<MigrateResponse>((done) => own.client.migrate(create(MigrateRequestSchema, { targetFormat, dryRun }), none(), done));
  assert.equal((await migrate("chained", true)).response?.rewritten, 1);
  assert.equal((await migrate("chained", false)).response?.rewritten, 1);
  assert.equal((await migrate("chained", false)).error?.code, status.FAILED_PRECONDITION);
  assert.equal((await migrate("xml", false)).error?.code, status.INVALID_ARGUMENT);
});

test("a broken book is INTERNAL to the caller, and tells them nothing more", async (context) => {
  context.mock.method(console, "error", () => {});
  await using own = await start();
  own.book[Symbol.dispose]();
  const { error } = await outcome((done) => own.client.getEntry(create(GetEntryRequestSchema, { id: "ent_1" }), none(), done));
  assert.equal(error?.code, status.INTERNAL);
  assert.equal(error.details, "the ledger could not answer; see its log");
});

test("health is NOT_SERVING until the ledger says that it serves, and while it drains", async (context) => {
  await using own = await start();
  const client = new Client(own.address, ChannelCredentials.createInsecure());
  context.after(() => client.close());
  const { Check: check, Watch: watch } = healthService;
  assert.ok(check !== undefined && watch !== undefined);
  const health = async (service: string) =>
    (
      await outcome<object>((done) =>
        client.makeUnaryRequest(check.path, check.requestSerialize, check.responseDeserialize, { service }, done),
      )
    ).response;
  assert.deepEqual(await health(""), { status: "NOT_SERVING" });
  own.server.serving();
  assert.deepEqual(await health(""), { status: "SERVING" });
  assert.deepEqual(await health(Ledger.typeName), { status: "SERVING" });
  assert.equal(await health("unknown.Service"), undefined);
  const watching = client.makeServerStreamRequest(watch.path, watch.requestSerialize, watch.responseDeserialize, {
    service: "",
  });
  watching.on("error", () => {});
  assert.deepEqual(await once(watching, "data"), [{ status: "SERVING" }]);
  const [[last]] = await Promise.all([once(watching, "data"), own.server.drain(200)]);
  assert.deepEqual(last, { status: "NOT_SERVING" });
});

/** Asks one question of the reflection service, as grpcurl does, and returns the answer's bytes. */
async function reflect(client: Client, version: string, request: Uint8Array): Promise<Uint8Array> {
  const bytes = (value: Uint8Array) => Buffer.from(value);
  const call = client.makeBidiStreamRequest(`/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`, bytes, bytes);
  call.write(request);
  call.end();
  const [answer] = await all<Uint8Array>(call);
  assert.ok(answer !== undefined);
  return answer;
}

/** Field `field` of a message, each time it is there. Enough protobuf to read reflection's answers without its code. */
function field(message: Uint8Array, number: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [at, type] = reader.tag();
    if (at === number) found.push(reader.bytes());
    else reader.skip(type, at);
  }
  return found;
}

test("reflection tells the service, and the types that a refusal's details have", async (context) => {
  const client = new Client(ledger.address, ChannelCredentials.createInsecure());
  context.after(() => client.close());
  for (const version of ["v1", "v1alpha"]) {
    const listed = await reflect(client, version, new BinaryWriter().tag(7, WireType.LengthDelimited).string("").finish());
    const names = field(field(listed, 6)[0] ?? new Uint8Array(), 1).map((service) => String(Buffer.from(field(service, 1)[0] ?? [])));
    assert.ok(names.includes("payments.v1.Ledger"), names.join());
    for (const symbol of ["payments.v1.Ledger", "google.rpc.ErrorInfo", "brevet.v1.ElevationRequired", "google.rpc.Status"]) {
      const answer = await reflect(client, version, new BinaryWriter().tag(4, WireType.LengthDelimited).string(symbol).finish());
      const files = field(field(answer, 4)[0] ?? new Uint8Array(), 1).map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
      const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: await withImports(client, version, files) }));
      assert.ok(registry.get(symbol) !== undefined, symbol);
    }
  }
});

/** The files and all that they import, asked for by name where the answer had them not. */
async function withImports(client: Client, version: string, files: FileDescriptorProto[]): Promise<FileDescriptorProto[]> {
  const known = new Map(files.map((file) => [file.name, file]));
  for (const file of known.values()) {
    for (const name of file.dependency.filter((dependency) => !known.has(dependency))) {
      const answer = await reflect(client, version, new BinaryWriter().tag(3, WireType.LengthDelimited).string(name).finish());
      for (const bytes of field(field(answer, 4)[0] ?? new Uint8Array(), 1)) {
        const imported = fromBinary(FileDescriptorProtoSchema, bytes);
        known.set(imported.name, imported);
      }
    }
  }
  return [...known.values()];
}

test("over TLS a client that trusts the certificate is served, and one that does not is not", async (context) => {
  const { cert, key } = await selfSigned();
  using book = new Book(":memory:");
  const server = createLedgerServer({ book });
  const credentials = ServerCredentials.createSsl(null, [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }]);
  const address = `localhost:${await server.listen("127.0.0.1:0", credentials)}`;
  context.after(() => server.drain(200));
  const code = async (client: LedgerClient) => {
    const { error } = await outcome((done) => client.getEntry(create(GetEntryRequestSchema, { id: "ent_1" }), none(), done));
    client.close();
    return error?.code;
  };
  assert.equal(await code(new LedgerClient(address, ChannelCredentials.createSsl(Buffer.from(cert)))), status.NOT_FOUND);
  assert.equal(await code(new LedgerClient(address, ChannelCredentials.createSsl())), status.UNAVAILABLE);
  assert.equal(await code(new LedgerClient(address, ChannelCredentials.createInsecure())), status.UNAVAILABLE);
});
