// What a caller could show the guard and the handler as two different requests: none of it is permitted, whichever library reads it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileCondition } from "@brevet/policy";
import { equals, fromBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { CODERS, known } from "../testdata/coders.ts";
import { OrderSchema } from "../testdata/gen/desk_pb.ts";

const principal = { name: "user:sam@acme.test", kind: "user" as const, groups: new Set<string>(), claims: {} };

/** Whether a condition that looks at the request could be judged at all. */
function judged(request: Uint8Array): boolean {
  const compiled = compileCondition("size(request.currency) >= 0", { requestTypes: new Map([["desk.v1.Desk/Book", OrderSchema]]) });
  assert.ok(compiled.ok);
  return compiled.condition.evaluate({ request, principal }) === "true";
}

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = BigInt.asUintN(64, value); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
}

const tag = (number: number, wire: number) => varint(BigInt(number * 8 + wire));
const framed = (bytes: readonly number[]) => [...varint(BigInt(bytes.length)), ...bytes];

const value = fc.oneof(
  fc.bigInt({ min: 0n, max: 130n }),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(2n ** 31n, 2n ** 32n, 2n ** 33n + 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 2n ** 31n),
);
/** Now and then in more bytes than it needs. */
const number = fc
  .tuple(value, fc.nat(4))
  .map(([each, more]) =>
    more > 0 ? varint(each) : varint(each).flatMap((byte, i, all) => (i < all.length - 1 ? [byte] : [byte | 128, 0])),
  );
const text = fc.oneof(
  fc.string({ maxLength: 4, unit: "grapheme" }).map((each) => [...Buffer.from(each)]),
  fc.uint8Array({ maxLength: 5 }).map((each) => [...each]),
  fc.constantFrom([0xc1, 0x85], [0xef, 0xbb, 0xbf, 0x41], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]),
);
const field = fc.oneof({ weight: 12, arbitrary: fc.integer({ min: 1, max: 20 }) }, fc.constantFrom(0, 21, 100, 536_870_911));
const some = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map((each) => [...each]);

const { message } = fc.letrec<{ record: number[]; message: number[] }>((tie) => ({
  message: fc.array(tie("record"), { maxLength: 5 }).map((records) => records.flat()),
  record: fc.oneof(
    { depthSize: "small" },
    fc.tuple(field, number).map(([no, bytes]) => [...tag(no, 0), ...bytes]),
    fc.tuple(field, some(8)).map(([no, bytes]) => [...tag(no, 1), ...bytes]),
    fc.tuple(field, some(4)).map(([no, bytes]) => [...tag(no, 5), ...bytes]),
    fc.tuple(field, text).map(([no, bytes]) => [...tag(no, 2), ...framed(bytes)]),
    fc.tuple(field, fc.array(number, { maxLength: 3 })).map(([no, numbers]) => [...tag(no, 2), ...framed(numbers.flat())]),
    fc.tuple(field, tie("message")).map(([no, bytes]) => [...tag(no, 2), ...framed(bytes)]),
    fc.tuple(field, tie("message")).map(([no, bytes]) => [...tag(no, 3), ...bytes, ...tag(no, 4)]),
  ),
}));
/** Mostly as generated; else cut off somewhere, or with one byte changed. */
const bytes = fc.tuple(message, fc.nat(), fc.nat(8), fc.nat(255)).map(([all, where, how, byte]) => {
  const at = all.length === 0 ? 0 : where % all.length;
  return Uint8Array.from(how === 0 ? all.slice(0, at) : how === 1 ? all.map((each, i) => (i === at ? byte : each)) : all);
});

for (const coder of CODERS.filter(({ exact }) => exact))
  test(`whatever can be judged, ${coder.name} reads as the guard does`, () => {
    fc.assert(
      fc.property(bytes, (request) => {
        if (!judged(request)) return;
        const read = coder.read(coder.deserialize(Buffer.from(request)));
        assert.ok(equals(OrderSchema, read, known(fromBinary(OrderSchema, request))), Buffer.from(request).toString("hex"));
      }),
      { numRuns: 1000 },
    );
  });

test("whatever a library writes can be judged", () => {
  const init = fc.record({
    amountCents: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    serial: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    kind: fc.integer(),
    digest: fc.uint8Array({ maxLength: 4 }),
    currency: fc.string({ maxLength: 4 }),
    lines: fc.array(fc.integer(), { maxLength: 3 }),
    discount: fc.option(fc.integer(), { nil: undefined }),
    rush: fc.boolean(),
  });
  fc.assert(
    fc.property(init, (fields) => {
      const order = Object.assign(fromBinary(OrderSchema, new Uint8Array(0)), fields);
      for (const coder of CODERS) assert.ok(judged(coder.serialize(coder.write(order))), coder.name);
    }),
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
