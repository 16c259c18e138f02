import assert from "node:assert/strict";
import { test } from "node:test";
import { cents, readCharges, readRows } from "./statement.ts";

test("charges are read whatever the order of the columns, and empty lines are none", () => {
  assert.deepEqual(readCharges("currency,account,amount_cents\r\nEUR, acme ,1250\r\n\r\n"), [
    { account: "acme", amountCents: 1250n, currency: "EUR" },
  ]);
});

test("what is wrong with a file is said with its line", () => {
  assert.throws(() => readCharges("account,currency\nacme,EUR"), /missing: amount_cents/);
  assert.throws(() => readRows("id,amount_cents\nent_1,5\nent_2", ["id"]), /line 3 has 1 fields, not 2/);
  for (const text of ["12.50", "", "1e3", "0x10", "١٢"]) assert.throws(() => cents(text), /not a whole number of cents/);
});
