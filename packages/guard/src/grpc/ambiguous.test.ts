// What a caller could show the guard and the handler as two different requests: none of it is permitted, whichever library reads it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileCondition } from "@brevet/policy";
import { create, equals, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { CODERS, type Coder, known } from "../testdata/coders.ts";
import { type Kind, OrderSchema, type PartySchema } from "../testdata/gen/desk_pb.ts";

const principal = { name: "user:sam@acme.test", kind: "user" as const, groups: new Set<string>(), claims: {} };
const compiled = compileCondition("size(request.currency) >= 0", { requestTypes: new Map([["desk.v1.Desk/Book", OrderSchema]]) });
assert.ok(compiled.ok);
const { condition } = compiled;

/** Whether a condition that looks at the request could be judged at all. */
function judged(request: Uint8Array): boolean {
  return condition.evaluate({ request, principal }) === "true";
}

type Bytes = readonly number[];
type Some = fc.Arbitrary<Bytes>;

function varint(value: bigint): Bytes {
  const bytes: number[] = [];
  for (let rest = BigInt.asUintN(64, value); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
}

/** The same number in `length` bytes, or in as many as it needs if they are more. */
function padded(bytes: Bytes, length: number): Bytes {
  if (bytes.length >= length) return bytes;
  return [...bytes.map((byte) => byte | 128), ...Array.from({ length: length - bytes.length - 1 }, () => 128), 0];
}

const tag = (number: number, wire: number) => varint(BigInt(number * 8 + wire));
const framed = (bytes: Bytes) => [...varint(BigInt(bytes.length)), ...bytes];
const join = (...parts: Some[]): Some => fc.tuple(...parts).map((each) => each.flat());
const several = (of: Some): Some => fc.array(of, { maxLength: 3 }).map((each) => each.flat());
const maybe = (of: Some): Some => fc.oneof({ weight: 8, arbitrary: of }, fc.constant([]));
const text = (...of: string[]): Some => fc.constantFrom(...of).map((each) => [...Buffer.from(each)]);
const any = (minLength: number, maxLength: number): Some => fc.uint8Array({ minLength, maxLength }).map((each) => [...each]);

/** Rarely in more bytes than it needs, up to one more than any number may have. */
const room = fc.oneof({ weight: 40, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 2, max: 11 }) });
const inSome = (bytes: fc.Arbitrary<Bytes>): Some => fc.tuple(bytes, room).map(([each, length]) => padded(each, length));
const long = inSome(
  fc
    .oneof(
      fc.bigInt({ min: 0n, max: 130n }),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.constantFrom(2n ** 31n, 2n ** 32n, 2n ** 33n + 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 2n ** 31n),
    )
    .map(varint),
);
const int = inSome(fc.oneof(fc.integer(), fc.integer({ min: -2, max: 3 })).map((each) => varint(BigInt(each))));
const bool = inSome(fc.constantFrom<Bytes>([0], [1]));
const words = fc.oneof(
  { weight: 8, arbitrary: fc.string({ maxLength: 4, unit: "grapheme" }).map((each): Bytes => [...Buffer.from(each)]) },
  fc.constantFrom<Bytes>([0xc1, 0x85], [0xef, 0xbb, 0xbf, 0x41], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]),
);
const keys = fc.oneof(words, text("__proto__", "constructor", "toString", "hasOwnProperty", "valueOf", "a", "7"));

const head = (number: number, wire: number): Some => inSome(fc.constant(tag(number, wire)));
const plain = (number: number, wire: number, of: Some): Some => join(head(number, wire), of);
const length = (of: Some): Some => fc.tuple(of, room).map(([bytes, width]) => [...padded(varint(BigInt(bytes.length)), width), ...bytes]);
const part = (number: number, of: Some): Some => join(head(number, 2), length(of));
const entries = (number: number, value: Some): Some => part(number, join(maybe(part(1, keys)), maybe(value)));
const run = (number: number, of: Some): Some => fc.oneof(plain(number, 0, of), part(number, several(of)));

/** Fields that nobody knows; what is in them looks like one that all know, to whoever is off by some bytes. */
const unknown = fc.oneof(
  part(100, join(any(0, 3), plain(1, 0, long))),
  plain(100, 0, long),
  plain(21, 5, any(4, 4)),
  plain(21, 1, any(8, 8)),
);
const person = (...more: Some[]) => several(fc.oneof(part(1, words), plain(2, 0, long), unknown, ...more));
const party = person(part(3, person()));

/** Fields in the form of their types. */
const typed = fc.oneof(
  ...[1, 2, 7, 13, 18].map((number) => plain(number, 0, long)),
  ...[3, 9].map((number) => plain(number, 0, int)),
  plain(15, 0, bool),
  plain(16, 1, any(8, 8)),
  plain(19, 5, any(4, 4)),
  part(4, any(0, 5)),
  ...[6, 17].map((number) => part(number, words)),
  ...[8, 10].map((number) => part(number, party)),
  part(11, several(fc.oneof(plain(1, 0, long), plain(2, 0, int)))),
  ...[12, 14].map((number) => run(number, int)),
  run(13, long),
  entries(5, plain(2, 0, int)),
  entries(20, part(2, party)),
  unknown,
);

/** Fields in any form. */
const field = fc.oneof({ weight: 12, arbitrary: fc.integer({ min: 1, max: 20 }) }, fc.constantFrom(0, 21, 100, 536_870_911));
const { wild } = fc.letrec<{ wild: Bytes; message: Bytes }>((tie) => ({
  message: several(tie("wild")),
  wild: fc.oneof(
    { depthSize: "small" },
    fc.tuple(field, long).map(([no, bytes]) => [...tag(no, 0), ...bytes]),
    fc.tuple(field, any(8, 8)).map(([no, bytes]) => [...tag(no, 1), ...bytes]),
    fc.tuple(field, any(4, 4)).map(([no, bytes]) => [...tag(no, 5), ...bytes]),
    fc.tuple(field, fc.oneof(words, several(long))).map(([no, bytes]) => [...tag(no, 2), ...framed(bytes)]),
    fc.tuple(field, tie("message")).map(([no, bytes]) => [...tag(no, 2), ...framed(bytes)]),
    fc.tuple(field, tie("message")).map(([no, bytes]) => [...tag(no, 3), ...bytes, ...tag(no, 4)]),
  ),
}));
const message = fc.array(fc.oneof({ weight: 20, arbitrary: typed }, wild), { maxLength: 5 }).map((each): Bytes => each.flat());

/** Mostly as generated; else cut off somewhere, with one byte changed, or with one more. */
const request = fc.tuple(message, fc.nat(), fc.nat(19), fc.nat(255)).map(([all, where, how, byte]) => {
  const at = where % (all.length + 1);
  if (how === 0) return Uint8Array.from(all.slice(0, at));
  if (how === 1) return Uint8Array.from(all.map((each, i) => (i === at ? byte : each)));
  return Uint8Array.from(how === 2 ? [...all.slice(0, at), byte, ...all.slice(at)] : all);
});

const readers = CODERS.filter(({ exact }) => exact);

/** Whether the coder reads the same from the bytes as the guard does. */
function readsTheSame(coder: Coder, bytes: Uint8Array): boolean {
  const [theirs, ours] = [coder.read(coder.deserialize(Buffer.from(bytes))), known(fromBinary(OrderSchema, bytes))];
  // No NaN equals another.
  if (!Number.isNaN(ours.weight)) return equals(OrderSchema, theirs, ours);
  return Number.isNaN(theirs.weight) && equals(OrderSchema, { ...theirs, weight: 0 }, { ...ours, weight: 0 });
}

test("whatever can be judged, every library reads as the guard does", { timeout: 120_000 }, () => {
  let [all, some] = [0, 0];
  fc.assert(
    fc.property(request, (bytes) => {
      all += 1;
      if (!judged(bytes)) return;
      some += 1;
      for (const coder of readers) assert.ok(readsTheSame(coder, bytes), `${coder.name}: ${Buffer.from(bytes).toString("hex")}`);
    }),
    { numRuns: 2000 },
  );
  assert.ok(some > all / 5, `only ${some} of ${all} requests could be judged`);
});

/** Each has a reader that it misleads; once none is left, it need not be refused any more. */
const MISLEADING: readonly [why: string, reader: RegExp, bytes: string][] = [
  ["true or false in six bytes, and an amount in what is unknown", /proto-loader/, "78 80 80 80 80 80 00 a2 06 04 00 08 90 4e"],
  ["an empty text, its length in six bytes", /proto-loader/, "8a 01 80 80 80 80 80 00 a2 06 04 00 08 90 4e"],
  ["text that begins with a byte order mark", /google-protobuf/, "8a 01 04 ef bb bf 41"],
  ["the key __proto__", /ts-proto/, "2a 0d 0a 09 5f 5f 70 72 6f 74 6f 5f 5f 10 05"],
  ["the key __proto__ of a message", /ts-proto/, "a2 01 10 0a 09 5f 5f 70 72 6f 74 6f 5f 5f 12 03 0a 01 61"],
  ["an entry whose message is left out", /ts-proto|proto-loader/, "a2 01 03 0a 01 61"],
];

for (const [why, reader, hex] of MISLEADING)
  test(`what misleads some library is no request to judge: ${why}`, () => {
    const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
    assert.equal(judged(bytes), false);
    const misled = readers.filter((coder) => {
      try {
        return !readsTheSame(coder, bytes);
      } catch {
        return true;
      }
    });
    assert.ok(misled.length > 0 && misled.every(({ name }) => reader.test(name)), misled.map(({ name }) => name).join());
  });

test("whatever a library writes can be judged", { timeout: 120_000 }, () => {
  const int64 = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.bigInt({ min: -2n, max: 2n }));
  const int32 = fc.oneof(fc.integer(), fc.integer({ min: -2, max: 2 }));
  const line = fc.string({ maxLength: 4, unit: "grapheme" }).filter((each) => each.isWellFormed() && !each.startsWith("\uFEFF"));
  const key = fc.oneof(line, fc.constantFrom("constructor", "toString", "7"));
  const some = { requiredKeys: [] };
  const leaf = fc.record({ name: line, limitCents: int64 }, some);
  const person: fc.Arbitrary<MessageInitShape<typeof PartySchema>> = fc.record({ name: line, limitCents: int64, boss: leaf }, some);
  const init = fc.record(
    {
      amountCents: int64,
      serial: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      kind: int32.map((each) => each as Kind),
      digest: fc.uint8Array({ maxLength: 4 }),
      quantities: fc.dictionary(key, int32, { maxKeys: 3 }),
      payment: fc.oneof(
        fc.record({ case: fc.constant("card" as const), value: line }),
        fc.record({ case: fc.constant("voucher" as const), value: int64 }),
        fc.record({ case: fc.constant("account" as const), value: person }),
      ),
      discount: int32,
      customer: person,
      due: fc.record({ seconds: fc.bigInt({ min: -(2n ** 40n), max: 2n ** 40n }), nanos: fc.nat(999_999_999) }, some),
      lines: fc.array(int32, { maxLength: 3 }),
      steps: fc.array(int64, { maxLength: 3 }),
      kinds: fc.array(
        int32.map((each) => each as Kind),
        { maxLength: 3 },
      ),
      rush: fc.boolean(),
      weight: fc.double(),
      currency: line,
      change: int64,
      checksum: fc.nat(2 ** 32 - 1),
      parties: fc.dictionary(key, person, { maxKeys: 3 }),
    },
    some,
  );
  fc.assert(
    fc.property(init, (fields) => {
      const order = create(OrderSchema, fields);
      for (const coder of CODERS) {
        const bytes = coder.serialize(coder.write(order));
        assert.ok(judged(bytes), `${coder.name}: ${bytes.toString("hex")}`);
      }
    }),
    { numRuns: 300 },
  );
});

test("a request of many levels is no request to judge where some libraries would not read it", () => {
  const nested = (levels: number) => {
    let party: number[] = [];
    for (let i = 0; i < levels; i += 1) party = [...tag(3, 2), ...framed(party)];
    return Uint8Array.from([...tag(10, 2), ...framed(party)]);
  };
  for (const coder of CODERS) assert.ok(coder.deserialize(Buffer.from(nested(60))) !== undefined, coder.name);
  assert.equal(judged(nested(60)), true);
  for (const levels of [65, 100, 2000]) assert.equal(judged(nested(levels)), false, `${levels}`);
});
