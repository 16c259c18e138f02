// desk.proto's messages on the runtime of google-protobuf, read and written as the code of protoc-gen-js does.
import jspb from "google-protobuf";
import timestamps from "google-protobuf/google/protobuf/timestamp_pb.js";

// Of version 4, which the published types do not know yet.
declare module "google-protobuf" {
  interface BinaryReader {
    readStringRequireUtf8(): string;
    readPackableInt32Into(into: number[]): void;
    readPackableInt64StringInto(into: string[]): void;
    readPackableEnumInto(into: number[]): void;
  }
}

type Reader = jspb.BinaryReader;
type Writer = jspb.BinaryWriter;

/** desk.v1.Party. */
export class JspbParty {
  name = "";
  limitCents = "0";
  boss: JspbParty | undefined;

  static read(this: void, message: JspbParty, reader: Reader): JspbParty {
    while (reader.nextField() && !reader.isEndGroup()) {
      switch (reader.getFieldNumber()) {
        case 1:
          message.name = reader.readStringRequireUtf8();
          break;
        case 2:
          message.limitCents = reader.readInt64String();
          break;
        case 3:
          message.boss = new JspbParty();
          reader.readMessage(message.boss, JspbParty.read);
          break;
        default:
          reader.skipField();
      }
    }
    return message;
  }

  static write(this: void, message: JspbParty, writer: Writer): void {
    if (message.name !== "") writer.writeString(1, message.name);
    if (message.limitCents !== "0") writer.writeInt64String(2, message.limitCents);
    if (message.boss !== undefined) writer.writeMessage(3, message.boss, JspbParty.write);
  }
}

/** desk.v1.Order. */
export class JspbOrder {
  amountCents = "0";
  serial = "0";
  kind = 0;
  digest: Uint8Array = new Uint8Array(0);
  readonly quantities = new Map<string, number>();
  /** The oneof: at most one is set. */
  payment: { card?: string; voucher?: string; account?: JspbParty } = {};
  discount: number | undefined;
  customer: JspbParty | undefined;
  due: timestamps.Timestamp | undefined;
  readonly lines: number[] = [];
  readonly steps: string[] = [];
  readonly kinds: number[] = [];
  rush = false;
  weight = 0;
  currency = "";
  change = "0";
  checksum = 0;
  readonly parties = new Map<string, JspbParty>();

  static deserializeBinary(this: void, bytes: Uint8Array): JspbOrder {
    const message = new JspbOrder();
    const reader = new jspb.BinaryReader(bytes);
    while (reader.nextField() && !reader.isEndGroup()) readField(message, reader);
    return message;
  }

  serializeBinary(): Uint8Array {
    const writer = new jspb.BinaryWriter();
    if (this.amountCents !== "0") writer.writeInt64String(1, this.amountCents);
    if (this.serial !== "0") writer.writeUint64String(2, this.serial);
    if (this.kind !== 0) writer.writeEnum(3, this.kind);
    if (this.digest.length > 0) writer.writeBytes(4, this.digest);
    for (const [key, value] of this.quantities)
      writer.writeMessage(5, value, (each: number, entry: Writer) => {
        entry.writeString(1, key);
        entry.writeInt32(2, each);
      });
    const { card, voucher, account } = this.payment;
    if (card !== undefined) writer.writeString(6, card);
    if (voucher !== undefined) writer.writeInt64String(7, voucher);
    if (account !== undefined) writer.writeMessage(8, account, JspbParty.write);
    if (this.discount !== undefined) writer.writeInt32(9, this.discount);
    if (this.customer !== undefined) writer.writeMessage(10, this.customer, JspbParty.write);
    if (this.due !== undefined) writer.writeMessage(11, this.due, timestamps.Timestamp.serializeBinaryToWriter);
    if (this.lines.length > 0) writer.writePackedInt32(12, this.lines);
    if (this.steps.length > 0) writer.writeRepeatedInt64String(13, this.steps);
    if (this.kinds.length > 0) writer.writePackedEnum(14, this.kinds);
    if (this.rush) writer.writeBool(15, this.rush);
    if (this.weight !== 0) writer.writeDouble(16, this.weight);
    if (this.currency !== "") writer.writeString(17, this.currency);
    if (this.change !== "0") writer.writeSint64String(18, this.change);
    if (this.checksum !== 0) writer.writeFixed32(19, this.checksum);
    for (const [key, value] of this.parties)
      writer.writeMessage(20, value, (each: JspbParty, entry: Writer) => {
        entry.writeString(1, key);
        entry.writeMessage(2, each, JspbParty.write);
      });
    return writer.getResultBuffer();
  }
}

function readField(message: JspbOrder, reader: Reader): void {
  switch (reader.getFieldNumber()) {
    case 1:
      message.amountCents = reader.readInt64String();
      break;
    case 2:
      message.serial = reader.readUint64String();
      break;
    case 3:
      message.kind = reader.readEnum();
      break;
    case 4:
      message.digest = reader.readBytes();
      break;
    case 5:
      readEntry(reader, message.quantities, 0, () => reader.readInt32());
      break;
    case 6:
      message.payment = { card: reader.readStringRequireUtf8() };
      break;
    case 7:
      message.payment = { voucher: reader.readInt64String() };
      break;
    case 8:
      message.payment = { account: readParty(reader) };
      break;
    case 9:
      message.discount = reader.readInt32();
      break;
    case 10:
      message.customer = readParty(reader);
      break;
    case 11:
      message.due = new timestamps.Timestamp();
      reader.readMessage(message.due, timestamps.Timestamp.deserializeBinaryFromReader);
      break;
    case 12:
      reader.readPackableInt32Into(message.lines);
      break;
    case 13:
      reader.readPackableInt64StringInto(message.steps);
      break;
    case 14:
      reader.readPackableEnumInto(message.kinds);
      break;
    case 15:
      message.rush = reader.readBool();
      break;
    case 16:
      message.weight = reader.readDouble();
      break;
    case 17:
      message.currency = reader.readStringRequireUtf8();
      break;
    case 18:
      message.change = reader.readSint64String();
      break;
    case 19:
      message.checksum = reader.readFixed32();
      break;
    case 20:
      readEntry(reader, message.parties, new JspbParty(), () => readParty(reader));
      break;
    default:
      reader.skipField();
  }
}

function readParty(reader: Reader): JspbParty {
  const party = new JspbParty();
  reader.readMessage(party, JspbParty.read);
  return party;
}

function readEntry<T>(reader: Reader, into: Map<string, T>, missing: T, read: () => T): void {
  const entry = { key: "", value: missing };
  reader.readMessage(entry, () => {
    while (reader.nextField() && !reader.isEndGroup()) {
      if (reader.getFieldNumber() === 1) entry.key = reader.readStringRequireUtf8();
      else if (reader.getFieldNumber() === 2) entry.value = read();
      else reader.skipField();
    }
  });
  into.set(entry.key, entry.value);
}
