import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, test } from "node:test";
import { status } from "@grpc/grpc-js";
import * as fc from "fast-check";
import { Book, MAX_IMPORT, type Outcome } from "./book.ts";
import { EntryKind } from "./gen/payments/v1/ledger_pb.ts";

const folder = mkdtempSync(join(tmpdir(), "ledger-book-"));
after(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const newFile = () => join(folder, `${(files += 1)}.db`);

const eur = (account: string, amountCents: bigint) => ({ account, amountCents, currency: "EUR" });

function value<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? "" : outcome.message);
  return outcome.value;
}

function codeOf(outcome: Outcome<unknown>): string {
  return outcome.ok ? "OK" : (status[outcome.code] ?? "");
}

test("a refund never exceeds what is left of its charge", () => {
  using book = new Book(newFile());
  const [charge] = value(book.charge([eur("acme", 1000n)]));
  const refund = (amountCents: bigint) => book.refund({ charge: charge?.id ?? "", amountCents, currency: "EUR" });
  assert.equal(value(refund(600n)).account, "acme");
  assert.equal(codeOf(refund(401n)), "FAILED_PRECONDITION");
  assert.equal(value(refund(400n)).kind, EntryKind.REFUND);
  assert.equal(codeOf(refund(1n)), "FAILED_PRECONDITION");
  assert.equal(book.size, 3);
});

test("whatever is tried, refunds of a charge never add up to more than the charge", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 1n, max: 500n }), fc.array(fc.bigInt({ min: -5n, max: 300n }), { maxLength: 8 }), (amount, tries) => {
      using book = new Book(":memory:");
      const [charge] = value(book.charge([eur("acme", amount)]));
      let refunded = 0n;
      for (const amountCents of tries) {
        const outcome = book.refund({ charge: charge?.id ?? "", amountCents, currency: "EUR" });
        assert.equal(outcome.ok, amountCents > 0n && refunded + amountCents <= amount);
        if (outcome.ok) refunded += amountCents;
      }
    }),
    { numRuns: 60 },
  );
});

test("a refund names a charge that is in the book, in its currency, and an amount", () => {
  using book = new Book(newFile());
  value(book.charge([eur("acme", 1000n)]));
  const { id } = value(book.refund({ charge: "ent_1", amountCents: 100n, currency: "EUR" }));
  const attempts: [string, bigint, string, string][] = [
    ["ent_99", 100n, "EUR", "NOT_FOUND"],
    ["ent_01", 100n, "EUR", "NOT_FOUND"],
    ["'; DROP TABLE entries", 100n, "EUR", "NOT_FOUND"],
    [id, 100n, "EUR", "FAILED_PRECONDITION"],
    ["ent_1", 100n, "USD", "FAILED_PRECONDITION"],
    ["ent_1", 100n, "eur", "INVALID_ARGUMENT"],
    ["ent_1", 0n, "EUR", "INVALID_ARGUMENT"],
    ["ent_1", -100n, "EUR", "INVALID_ARGUMENT"],
    ["ent_1", 2n ** 62n, "EUR", "INVALID_ARGUMENT"],
    ["", 100n, "EUR", "INVALID_ARGUMENT"],
  ];
  for (const [charge, amountCents, currency, expected] of attempts) {
    assert.equal(codeOf(book.refund({ charge, amountCents, currency })), expected, `${charge} ${amountCents} ${currency}`);
  }
  assert.equal(book.size, 2);
});

test("charges are booked all or none", () => {
  using book = new Book(newFile());
  assert.equal(codeOf(book.charge([eur("acme", 1n), eur("acme", 0n)])), "INVALID_ARGUMENT");
  assert.equal(codeOf(book.charge([eur("acme", 1n), eur(" ", 1n)])), "INVALID_ARGUMENT");
  assert.equal(codeOf(book.charge([])), "INVALID_ARGUMENT");
  assert.equal(codeOf(book.charge(Array.from({ length: MAX_IMPORT + 1 }, () => eur("acme", 1n)))), "RESOURCE_EXHAUSTED");
  assert.equal(book.size, 0);
  const ids = value(book.charge([eur("acme", 1n), eur("globex", 2n)])).map((entry) => entry.id);
  assert.deepEqual(ids, ["ent_1", "ent_2"]);
});

test("what was booked is there after reopening, to the millisecond and the cent", () => {
  const file = newFile();
  const written = (() => {
    using book = new Book(file, { nowMs: () => 1_700_000_000_123 });
    value(book.charge([eur("acme", 999_999_999_999_999n)]));
    return value(book.refund({ charge: "ent_1", amountCents: 1n, currency: "EUR" }));
  })();
  using book = new Book(file);
  assert.deepEqual(value(book.entry(written.id)), written);
  assert.equal(book.size, 2);
});

test("pages come oldest first, of one account or all", () => {
  using book = new Book(newFile());
  value(book.charge([eur("acme", 1n), eur("globex", 2n), eur("acme", 3n)]));
  const cents = (after: string, account: string, limit: number) => book.entries(after, account, limit).map((entry) => entry.amountCents);
  assert.deepEqual(cents("", "", 2), [1n, 2n]);
  assert.deepEqual(cents("ent_2", "", 2), [3n]);
  assert.deepEqual(cents("", "acme", 10), [1n, 3n]);
  assert.deepEqual(cents("", "nobody", 10), []);
});

test("watchers hear of changes, not of refusals, and not after they left", () => {
  using book = new Book(newFile());
  let heard = 0;
  const watch = book.watch(() => (heard += 1));
  value(book.charge([eur("acme", 5n)]));
  book.refund({ charge: "ent_1", amountCents: 6n, currency: "EUR" });
  assert.equal(heard, 1);
  watch[Symbol.dispose]();
  value(book.charge([eur("acme", 5n)]));
  assert.equal(heard, 1);
});

test("a migration rewrites every entry, and later entries follow it", () => {
  const file = newFile();
  {
    using book = new Book(file);
    value(book.charge([eur("acme", 5n), eur("acme", 6n)]));
    assert.equal(value(book.migrate("chained", true)), 2);
    assert.equal(book.format, "plain");
    assert.equal(value(book.migrate("chained", false)), 2);
    assert.equal(book.format, "chained");
    assert.equal(codeOf(book.migrate("chained", false)), "FAILED_PRECONDITION");
    assert.equal(codeOf(book.migrate("parquet", true)), "INVALID_ARGUMENT");
    value(book.refund({ charge: "ent_1", amountCents: 1n, currency: "EUR" }));
  }
  using book = new Book(file);
  assert.equal(book.size, 3);
  assert.equal(value(book.migrate("plain", false)), 3);
});

test("a chained book that somebody edited is not opened", () => {
  const file = newFile();
  {
    using book = new Book(file);
    value(book.charge([eur("acme", 5n), eur("acme", 6n)]));
    value(book.migrate("chained", false));
  }
  const database = new DatabaseSync(file);
  database.exec("UPDATE entries SET amount_cents = 500 WHERE position = 1");
  database.close();
  assert.throws(() => new Book(file), /the book is damaged: the hash of ent_1/);
});

test("a book is open in one place at a time", () => {
  const file = newFile();
  using first = new Book(file);
  assert.throws(() => new Book(file), /locked/);
  assert.equal(first.size, 0);
});
