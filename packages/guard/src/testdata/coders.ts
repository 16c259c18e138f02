// The libraries that code messages, each with its own kind of message, for desk.v1.Order. Protobuf-ES is the one that the others are compared with.
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { loadSync, type Options } from "@grpc/proto-loader";
import timestamps from "google-protobuf/google/protobuf/timestamp_pb.js";
import { JspbOrder, JspbParty } from "./desk-jspb.ts";
import { type MessageFns, Order as PlainOrder, type Party as PlainParty } from "./gen/desk.ts";
import { type Kind, type Order, OrderSchema, type Party, PartySchema } from "./gen/desk_pb.ts";

/** One library, or one way to set it up. Messages are of its own kind. */
export interface Coder {
  readonly name: string;
  /** False: longs become JavaScript numbers, and large ones lose digits in the hands of the library's user. */
  readonly exact: boolean;
  serialize(this: void, message: unknown): Buffer;
  deserialize(this: void, bytes: Buffer): unknown;
  /** The order as a user of the library writes it. */
  write(this: void, order: Order): unknown;
  /** What a user of the library reads, without unknown fields. @throws Error where it reads two things at once. */
  read(this: void, message: unknown): Order;
}

function coder<T>(
  name: string,
  of: { serialize(m: T): Uint8Array; deserialize(bytes: Buffer): T; write(order: Order): T; read(m: T): Order },
): Coder {
  return {
    name,
    exact: !name.includes("longs: Number"),
    serialize: (message) => Buffer.from(of.serialize(message as T)),
    deserialize: (bytes) => of.deserialize(bytes),
    write: (order) => of.write(order),
    read: (message) => of.read(message as T),
  };
}

const protobufEs = coder<Order>("Protobuf-ES", {
  serialize: (order) => toBinary(OrderSchema, order),
  deserialize: (bytes) => fromBinary(OrderSchema, bytes),
  write: (order) => order,
  read: known,
});

/** The order without the fields that its type does not know. */
export function known(order: Order): Order {
  return fromBinary(OrderSchema, toBinary(OrderSchema, order, { writeUnknownFields: false }), { readUnknownFields: false });
}

const plainOrder: MessageFns<PlainOrder> = PlainOrder;
const tsProto = coder<PlainOrder>("ts-proto", {
  serialize: (order) => plainOrder.encode(order).finish(),
  deserialize: (bytes) => plainOrder.decode(bytes),
  write: ({ payment, quantities, parties, digest, kind, kinds, customer, due, discount, ...rest }) => ({
    ...plainOrder.decode(new Uint8Array(0)),
    ...rest,
    kind: kind as PlainOrder["kind"],
    kinds: kinds as PlainOrder["kinds"],
    digest: Buffer.from(digest),
    quantities: { ...quantities },
    parties: Object.fromEntries(Object.entries(parties).map(([key, party]) => [key, plainParty(party)])),
    customer: customer && plainParty(customer),
    due: due && { seconds: due.seconds, nanos: due.nanos },
    discount,
    card: payment.case === "card" ? payment.value : undefined,
    voucher: payment.case === "voucher" ? payment.value : undefined,
    account: payment.case === "account" ? plainParty(payment.value) : undefined,
  }),
  read: (order) =>
    orderOf({
      ...order,
      customer: order.customer && partyOf(order.customer),
      account: order.account && partyOf(order.account),
      parties: Object.entries(order.parties).map(([key, party]) => [key, partyOf(party)]),
      quantities: Object.entries(order.quantities),
    }),
});

function plainParty({ name, limitCents, boss }: Party): PlainParty {
  return { name, limitCents, boss: boss && plainParty(boss) };
}

const googleProtobuf = coder<JspbOrder>("google-protobuf", {
  serialize: (order) => order.serializeBinary(),
  deserialize: JspbOrder.deserializeBinary,
  write: (order) => {
    const { payment, quantities, parties, due, customer } = order;
    const message = new JspbOrder();
    message.amountCents = String(order.amountCents);
    message.serial = String(order.serial);
    message.kind = order.kind;
    message.digest = order.digest;
    for (const [key, value] of Object.entries(quantities)) message.quantities.set(key, value);
    if (payment.case === "card") message.payment = { card: payment.value };
    if (payment.case === "voucher") message.payment = { voucher: String(payment.value) };
    if (payment.case === "account") message.payment = { account: jspbParty(payment.value) };
    message.discount = order.discount;
    message.customer = customer && jspbParty(customer);
    if (due !== undefined) {
      message.due = new timestamps.Timestamp();
      message.due.setSeconds(Number(due.seconds));
      message.due.setNanos(due.nanos);
    }
    message.lines.push(...order.lines);
    message.steps.push(...order.steps.map(String));
    message.kinds.push(...order.kinds);
    message.rush = order.rush;
    message.weight = order.weight;
    message.currency = order.currency;
    message.change = String(order.change);
    message.checksum = order.checksum;
    for (const [key, party] of Object.entries(parties)) message.parties.set(key, jspbParty(party));
    return message;
  },
  read: (order) =>
    orderOf({
      ...Object.fromEntries(Object.entries(order)),
      ...order.payment,
      account: order.payment.account && partyOf(order.payment.account),
      customer: order.customer && partyOf(order.customer),
      due: order.due && { seconds: order.due.getSeconds(), nanos: order.due.getNanos() },
      quantities: [...order.quantities],
      parties: [...order.parties].map(([key, party]) => [key, partyOf(party)]),
    }),
});

function jspbParty({ name, limitCents, boss }: Party): JspbParty {
  const party = new JspbParty();
  party.name = name;
  party.limitCents = String(limitCents);
  party.boss = boss && jspbParty(boss);
  return party;
}

const PROTO = fileURLToPath(new URL("desk.proto", import.meta.url));

type Loose = Readonly<Record<string, unknown>>;

/** @grpc/proto-loader with these options, as its users call it: through the definition that it loads. */
export function protoLoader(options: Options): Coder {
  const definition = loadSync(PROTO, options)["desk.v1.Desk"];
  if (definition === undefined || !("Book" in definition)) throw new Error("no service was loaded");
  const { requestSerialize, requestDeserialize } = definition.Book;
  const name = (camel: string) => (options.keepCase === true ? camel.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) : camel);
  const long = (value: bigint) => (options.longs === Number && Number.isSafeInteger(Number(value)) ? Number(value) : String(value));
  const kind = (value: number) => (options.enums === String ? (["KIND_UNSPECIFIED", "KIND_SALE", "KIND_REFUND"][value] ?? value) : value);
  const bytes = (value: Uint8Array) =>
    options.bytes === String ? Buffer.from(value).toString("base64") : options.bytes === Array ? [...value] : Buffer.from(value);
  const party = (value: Party): Loose => ({
    name: value.name,
    [name("limitCents")]: long(value.limitCents),
    ...(value.boss && { boss: party(value.boss) }),
  });
  const partyFrom = (value: Loose): Party =>
    partyOf({ name: value.name ?? "", limitCents: value[name("limitCents")], boss: value.boss && partyFrom(value.boss as Loose) });
  return coder<object>(`proto-loader ${words(options)}`, {
    serialize: requestSerialize,
    deserialize: requestDeserialize,
    write: ({ payment, due, ...order }) => ({
      [name("amountCents")]: long(order.amountCents),
      serial: long(order.serial),
      kind: kind(order.kind),
      digest: bytes(order.digest),
      quantities: order.quantities,
      ...(payment.case === "card" && { card: payment.value }),
      ...(payment.case === "voucher" && { voucher: long(payment.value) }),
      ...(payment.case === "account" && { account: party(payment.value) }),
      ...(order.discount !== undefined && { discount: order.discount }),
      ...(order.customer && { customer: party(order.customer) }),
      ...(due && { due: { seconds: long(due.seconds), nanos: due.nanos } }),
      lines: order.lines,
      steps: order.steps.map(long),
      kinds: order.kinds.map(kind),
      rush: order.rush,
      weight: order.weight,
      currency: order.currency,
      change: long(order.change),
      checksum: order.checksum,
      parties: Object.fromEntries(Object.entries(order.parties).map(([key, value]) => [key, party(value)])),
    }),
    read: (message) => {
      const order = message as Loose;
      const numbers = (order.kinds ?? []) as unknown[];
      return orderOf({
        ...order,
        amountCents: order[name("amountCents")],
        kind: numberOf(order.kind),
        kinds: numbers.map(numberOf),
        digest: typeof order.digest === "string" ? Buffer.from(order.digest, "base64") : Uint8Array.from((order.digest ?? []) as number[]),
        customer: order.customer && partyFrom(order.customer as Loose),
        account: order.account && partyFrom(order.account as Loose),
        quantities: Object.entries(order.quantities ?? {}),
        parties: Object.entries(order.parties ?? {}).map(([key, value]) => [key, partyFrom(value as Loose)]),
      });
    },
  });
}

function words(options: Options): string {
  return `(${Object.entries(options)
    .map(([option, value]) => `${option}: ${typeof value === "function" ? value.name : String(value)}`)
    .join(", ")})`;
}

function numberOf(kind: unknown): number {
  if (kind === undefined || kind === null) return 0;
  return typeof kind === "number" ? kind : ["KIND_UNSPECIFIED", "KIND_SALE", "KIND_REFUND"].indexOf(kind as string);
}

function partyOf({ name, limitCents, boss }: { readonly [name in "name" | "limitCents" | "boss"]?: unknown }): Party {
  return create(PartySchema, {
    name: name as string,
    limitCents: big(limitCents),
    ...(boss ? { boss: partyOf(boss) } : {}),
  });
}

/** Any library's order, its maps as entries; what is missing has its default. */
function orderOf(from: Loose): Order {
  const paid = (["card", "voucher", "account"] as const).filter((each) => from[each] !== undefined && from[each] !== null);
  if (paid.length > 1) throw new Error(`paid in ${paid.length} ways: ${paid.join(", ")}`);
  const due = from.due as Loose | null | undefined;
  const order = create(OrderSchema, {
    amountCents: big(from.amountCents),
    serial: big(from.serial),
    kind: (from.kind ?? 0) as Kind,
    digest: Uint8Array.from((from.digest ?? []) as Uint8Array),
    quantities: Object.fromEntries(from.quantities as [string, number][]),
    payment:
      paid[0] === "card"
        ? { case: "card", value: from.card as string }
        : paid[0] === "voucher"
          ? { case: "voucher", value: big(from.voucher) }
          : paid[0] === "account"
            ? { case: "account", value: from.account as Party }
            : { case: undefined },
    ...(typeof from.discount === "number" && { discount: from.discount }),
    ...(from.customer ? { customer: from.customer as Party } : {}),
    ...(due && { due: { seconds: big(due.seconds), nanos: (due.nanos ?? 0) as number } }),
    lines: [...((from.lines ?? []) as number[])],
    steps: ((from.steps ?? []) as unknown[]).map(big),
    kinds: [...((from.kinds ?? []) as Kind[])],
    rush: (from.rush ?? false) as boolean,
    weight: (from.weight ?? 0) as number,
    currency: (from.currency ?? "") as string,
    change: big(from.change),
    checksum: (from.checksum ?? 0) as number,
    parties: Object.fromEntries(from.parties as [string, Party][]),
  });
  return known(order);
}

/** From bigint, number, text, or Long. */
function big(value: unknown): bigint {
  return value === undefined || value === null ? 0n : BigInt((value as { toString(): string }).toString());
}

const EACH: readonly Options[] = [
  {},
  { keepCase: true },
  { longs: String },
  { longs: Number },
  { enums: String },
  { bytes: String },
  { bytes: Array },
  { defaults: true },
  { arrays: true },
  { objects: true },
  { oneofs: true },
  { keepCase: true, longs: String, enums: String, bytes: Array, defaults: true, oneofs: true },
  { longs: Number, enums: String, bytes: String, defaults: true, arrays: true, objects: true, oneofs: true },
];

/** All of them: proto-loader with each of its options alone, and with many together as its own documentation has them. */
export const CODERS: readonly Coder[] = [protobufEs, tsProto, googleProtobuf, ...EACH.map(protoLoader)];
