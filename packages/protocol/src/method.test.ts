import assert from "node:assert/strict";
import { test } from "node:test";
import { isMethodName, methodMatches, methodOfPath, parseMethodName } from "./method.ts";

test("a method is package.Service/Method in literal characters", () => {
  for (const name of ["payments.v1.Ledger/Refund", "Ledger/Refund", "a_b.C9/_d"]) assert.equal(isMethodName(name), true, name);
  const wrong = [
    "",
    "/",
    "Refund",
    "/payments.v1.Ledger/Refund",
    "payments.v1.Ledger/*",
    "payments.v1.Ledger/Refund/",
    "payments..Ledger/Refund",
    ".Ledger/Refund",
    "payments.v1.Ledger/Ref%75nd",
    "payments.v1.Ledger/Refund\n",
    "payments.v1.Ledger/Refund?x",
    "payments.v1.Ledger/Réfund",
    "../Ledger/Refund",
    "9a.B/C",
    `${"a".repeat(200)}/B`,
  ];
  for (const name of wrong) assert.equal(isMethodName(name), false, JSON.stringify(name));
});

test("a name of 200 bytes is the longest", () => {
  assert.equal(isMethodName(`${"a".repeat(198)}/B`), true);
  assert.equal(isMethodName(`${"a".repeat(199)}/B`), false);
});

test("a method splits at its slash", () => {
  assert.deepEqual(parseMethodName("payments.v1.Ledger/Refund"), { service: "payments.v1.Ledger", method: "Refund" });
  assert.equal(parseMethodName("payments.v1.Ledger"), undefined);
});

test("a path that is not literal has no method", () => {
  assert.equal(methodOfPath("/payments.v1.Ledger/Refund"), "payments.v1.Ledger/Refund");
  for (const path of [
    "payments.v1.Ledger/Refund",
    "//payments.v1.Ledger/Refund",
    "/payments.v1.Ledger/Refund?a=b",
    "/a/../b.C/D",
    "/*",
    "",
  ])
    assert.equal(methodOfPath(path), undefined, path);
});

test("a wildcard covers the methods of its service and no other's", () => {
  assert.equal(methodMatches("payments.v1.Ledger/*", "payments.v1.Ledger/Refund"), true);
  assert.equal(methodMatches("payments.v1.Ledger/*", "payments.v1.LedgerAdmin/Refund"), false);
  assert.equal(methodMatches("payments.v1.Ledger/*", "payments.v1.Ledger2/Refund"), false);
  assert.equal(methodMatches("payments.v1.Ledger/Refund", "payments.v1.Ledger/Refund"), true);
  assert.equal(methodMatches("payments.v1.Ledger/Refund", "payments.v1.Ledger/RefundAll"), false);
});
