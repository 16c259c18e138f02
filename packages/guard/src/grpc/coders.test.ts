// Conditions read wire bytes: whichever library coded a request, as the caller's or as the handler's, the verdict is the same, and the
// handler gets what was sent. What libraries would read differently is refused.
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, equals, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, file_google_protobuf_timestamp } from "@bufbuild/protobuf/wkt";
import { CODERS, type Coder, known } from "../testdata/coders.ts";
import { type DeskAnswer, DeskCaller, type DeskMethod, startDesk } from "../testdata/desk.ts";
import { AUDIENCE } from "../testdata/facts.ts";
import { file_desk, OrderSchema } from "../testdata/gen/desk_pb.ts";
import { scene, type TestScene } from "../testdata/scene.ts";

const POLICY = `
apiVersion: brevet.dev/v1
audience: ${AUDIENCE}
descriptors: desk.binpb
groups: { "group:oncall": ["user:ana@acme.test", "user:bo@acme.test"], "group:support": ["user:rae@acme.test"] }
guards: ["workload:guard"]
roles: { admin: ["group:platform"] }
services: { desk.v1.Desk: { default: elevated } }
entitlements:
  orders:
    methods: [desk.v1.Desk/*]
    requesters: ["group:support"]
    duration: { default: 15m, max: 1h }
    approval: { stages: [{ approvers: ["group:oncall"], quorum: 1 }] }
`;
const DESCRIPTORS = toBinary(
  FileDescriptorSetSchema,
  create(FileDescriptorSetSchema, { file: [file_google_protobuf_timestamp.proto, file_desk.proto] }),
);

type Init = Omit<MessageInitShape<typeof OrderSchema>, "$typeName" | "kind" | "kinds"> & { kind?: number; kinds?: number[] };

/** A condition, orders that meet it, and orders that do not. */
const CASES: readonly [condition: string, permitted: readonly Init[], refused: readonly Init[]][] = [
  [
    "request.amount_cents <= 500",
    [{ amountCents: 500n }, {}, { amountCents: -1n }, { amountCents: -(2n ** 63n) }],
    [{ amountCents: 501n }, { amountCents: 2n ** 63n - 1n }, { amountCents: 2n ** 32n }],
  ],
  [
    "request.serial > 9007199254740992u",
    [{ serial: 2n ** 53n + 1n }, { serial: 2n ** 64n - 1n }],
    [{ serial: 2n ** 53n }, { serial: 1n }, {}],
  ],
  ["request.kind == desk.v1.Kind.KIND_REFUND", [{ kind: 2 }], [{ kind: 1 }, {}, { kind: 7 }, { kind: -2 }]],
  ["request.kind != desk.v1.Kind.KIND_SALE", [{ kind: 2 }, { kind: 7 }, { kind: -1 }, {}], [{ kind: 1 }]],
  [String.raw`request.digest == b"\x00\xff\x80"`, [{ digest: Uint8Array.of(0, 255, 128) }], [{ digest: Uint8Array.of(0, 255) }, {}]],
  [
    `size(request.quantities) == 2 && request.quantities["a"] == -3`,
    [{ quantities: { a: -3, "": 0 } }],
    [{ quantities: { a: -3 } }, { quantities: { a: 3, b: 1 } }],
  ],
  [
    `has(request.card) && request.card == ""`,
    [{ payment: { case: "card", value: "" } }],
    [{}, { payment: { case: "voucher", value: 0n } }],
  ],
  [
    "has(request.voucher) && request.voucher <= 5",
    [{ payment: { case: "voucher", value: 0n } }, { payment: { case: "voucher", value: 5n } }],
    [{}, { payment: { case: "voucher", value: 6n } }, { payment: { case: "card", value: "1" } }],
  ],
  [
    "request.account.limit_cents == 7",
    [{ payment: { case: "account", value: { limitCents: 7n } } }],
    [{ payment: { case: "account", value: {} } }, { payment: { case: "voucher", value: 7n } }],
  ],
  ["has(request.discount)", [{ discount: 0 }, { discount: -5 }], [{}]],
  ["has(request.customer)", [{ customer: {} }, { customer: { name: "x" } }], [{}]],
  [
    `request.customer.boss.name == "Zoë 東京 😀"`,
    [{ customer: { boss: { name: "Zoë 東京 😀" } } }],
    [{ customer: { name: "Zoë 東京 😀" } }, {}],
  ],
  [
    `has(request.due) && request.due < timestamp("2026-01-01T00:00:00Z")`,
    [{ due: { seconds: 1_767_225_599n, nanos: 999_999_999 } }, { due: {} }, { due: { seconds: -1n } }],
    [{ due: { seconds: 1_767_225_600n } }, {}],
  ],
  ["request.lines.all(line, line > 0)", [{ lines: [1, 2, 300] }, {}], [{ lines: [1, -2] }, { lines: [0] }]],
  ["request.steps.exists(step, step == -2)", [{ steps: [1n, -2n] }], [{ steps: [1n] }, {}]],
  ["size(request.kinds) == 2", [{ kinds: [1, 7] }, { kinds: [0, 0] }], [{ kinds: [1] }, {}]],
  ["request.rush", [{ rush: true }], [{}]],
  ["request.weight < 0.0", [{ weight: -0.25 }, { weight: -Infinity }], [{ weight: 0.25 }, {}, { weight: Number.NaN }]],
  [`request.currency in ["EUR", "USD"]`, [{ currency: "EUR" }], [{ currency: "eur" }, {}]],
  ["request.change == -3", [{ change: -3n }], [{ change: 3n }, {}]],
  ["request.checksum == 4294967295u", [{ checksum: 4_294_967_295 }], [{ checksum: 1 }, {}]],
  [
    `request.parties.exists(key, request.parties[key].limit_cents > 5)`,
    [{ parties: { a: { limitCents: 1n }, b: { limitCents: 6n } } }],
    [{ parties: { a: { limitCents: 5n } } }, {}],
  ],
];

/** Bytes that no library above writes by itself, and all read the same: condition, bytes, whether they are permitted. */
const BY_HAND: readonly [why: string, condition: string, bytes: string, permitted: boolean][] = [
  ["a number twice: the last counts", "request.amount_cents <= 500", "08f503 08f403", true],
  ["a number twice: the last counts", "request.amount_cents <= 500", "08f403 08f503", false],
  ["a oneof's member twice: the last counts", "has(request.voucher) && request.voucher <= 5", "3809 3805", true],
  ["a default written out", "request.amount_cents <= 500", "0800", true],
  ["a default written out behind a value", "request.rush", "7801 7800", false],
  ["unpacked what is declared packed", "request.lines.all(line, line > 0)", "6001 6002 60ac02", true],
  ["packed and unpacked in turn", "request.lines.all(line, line > 0)", "620101 60ffffffffffffffffff01", false],
  ["packed what is declared unpacked", "request.steps.exists(step, step == -2)", "6a0b01feffffffffffffffff01", true],
  [
    "fields from last to first",
    `request.customer.boss.name == "Zoë 東京 😀"`,
    "9d0101000000 5214 1a12 0a10 5a6fc3ab20e69db1e4baac20f09f9880",
    true,
  ],
  ["unknown fields, inside too", "request.amount_cents <= 500", "a2060178 08f403 5204a2060178 a106ffffffffffffffff", true],
  [
    "a key twice in a map: the last counts",
    `request.parties.exists(key, request.parties[key].limit_cents > 5)`,
    "a201070a016112021006 a201070a016112021005",
    false,
  ],
  ["a key that every object has", "request.amount_cents <= 500", "08f403 2a0f0a0b636f6e7374727563746f721005", true],
];

/** Conditions are told apart by who calls: each caller's elevation has one of its own. */
const caller = (condition: string) => `user:${conditions.indexOf(condition)}@acme.test`;
const conditions = CASES.map(([condition]) => condition);

/** A guard that knows one elevation for each condition; `as` signs in who has it. */
async function deskScene(): Promise<TestScene & { readonly bearer: (condition: string) => string }> {
  const at = await scene({ policy: POLICY, descriptors: DESCRIPTORS });
  for (const condition of conditions)
    at.authority.elevate({
      principal: caller(condition),
      entitlement: "orders",
      methods: ["Book", "Follow", "Talk"].map((name) => `desk.v1.Desk/${name}`),
      condition,
    });
  await at.authority.settled();
  const tokens = new Map<string, string>();
  for (const condition of conditions) tokens.set(condition, await at.as(caller(condition)));
  return Object.assign(at, { bearer: (condition: string) => tokens.get(condition) ?? "" });
}

const reasonOf = ({ code, message }: DeskAnswer) => (code === 0 ? "permit" : (/^[A-Z_]+/.exec(message)?.[0] ?? String(code)));

/** Sends every case from one coder to another, and checks verdict and what arrives. */
async function sendAll(
  at: Awaited<ReturnType<typeof deskScene>>,
  from: Coder,
  to: Coder,
  method: DeskMethod,
  compress = false,
): Promise<void> {
  using behind = await startDesk(at.guard.interceptor, to);
  using client = new DeskCaller(behind.port, from, compress);
  for (const [condition, permitted, refused] of CASES)
    for (const [expected, orders] of [
      ["permit", permitted],
      ["CONDITION_NOT_MET", refused],
    ] as const)
      for (const init of orders) {
        const order = create(OrderSchema, init as MessageInitShape<typeof OrderSchema>);
        const before = behind.arrived.length;
        const answer = await client.call(method, at.bearer(condition), from.write(order));
        const what = `${condition} on ${toText(order)} from ${from.name} to ${to.name}`;
        assert.equal(reasonOf(answer), expected, `${what}: ${answer.message}`);
        const [arrived, ...more] = behind.arrived.slice(before);
        if (expected !== "permit") {
          assert.equal(arrived, undefined, `${what}: the handler ran`);
          continue;
        }
        assert.ok(arrived !== undefined && more.length === 0, `${what}: the handler did not run once`);
        assert.deepEqual(arrived.bytes, from.serialize(from.write(order)), `${what}: other bytes arrived`);
        assert.deepEqual(arrived.message, to.deserialize(arrived.bytes));
        if (to.exact) assert.ok(equals(OrderSchema, to.read(arrived.message), order), `${what}: the handler read something else`);
      }
}

function toText(order: object): string {
  return JSON.stringify(order, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
}

const [protobufEs = never()] = CODERS;

function never(): never {
  throw new Error("there are no coders");
}

for (const coder of CODERS) {
  test(`callers: the verdict is the same from ${coder.name}`, { timeout: 120_000 }, async () => {
    await using at = await deskScene();
    await sendAll(at, coder, protobufEs, "Book");
  });

  test(`handlers: the verdict is the same for ${coder.name}, and they get what was sent`, { timeout: 120_000 }, async () => {
    await using at = await deskScene();
    await sendAll(at, protobufEs, coder, "Follow");
    using behind = await startDesk(at.guard.interceptor, coder);
    using client = new DeskCaller(behind.port, protobufEs);
    for (const [why, condition, hex, permitted] of BY_HAND) {
      const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
      const answer = await client.call("Book", at.bearer(condition), bytes);
      assert.equal(reasonOf(answer), permitted ? "permit" : "CONDITION_NOT_MET", `${why}: ${answer.message}`);
      if (!permitted) continue;
      const last = behind.arrived.at(-1);
      assert.deepEqual(last?.bytes, bytes, why);
      assert.ok(equals(OrderSchema, coder.read(last?.message), known(fromBinary(OrderSchema, bytes))), why);
    }
  });
}

test("each library to each other, compressed on the way", { timeout: 120_000 }, async () => {
  await using at = await deskScene();
  const kinds = [0, 1, 2, 3, 15].map((index) => CODERS[index] ?? never());
  for (const from of kinds) for (const to of kinds) if (from !== to) await sendAll(at, from, to, "Book", true);
});

for (const coder of CODERS)
  test(`streams: each message is judged, whichever library codes it: ${coder.name}`, { timeout: 120_000 }, async () => {
    await using at = await deskScene();
    using behind = await startDesk(at.guard.interceptor, coder);
    using client = new DeskCaller(behind.port, coder);
    for (const [condition, permitted, refused] of CASES) {
      const [good, bad] = [permitted, refused].map((orders) =>
        orders.map((init) => coder.write(create(OrderSchema, init as MessageInitShape<typeof OrderSchema>))),
      );
      const before = behind.arrived.length;
      const answer = await client.talk(at.bearer(condition), [...(good ?? []), bad?.[0], good?.[0]]);
      assert.equal(reasonOf(answer), "CONDITION_NOT_MET", `${condition}: ${answer.message}`);
      const arrived = behind.arrived.slice(before);
      assert.deepEqual(
        arrived.map(({ bytes }) => bytes),
        good?.map((message) => coder.serialize(message)),
        `${condition}: others reached the handler`,
      );
      assert.equal(answer.responses, good?.length);
    }
  });
